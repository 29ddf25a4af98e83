/**
 * The error of an archive that is damaged, hostile, or not understood.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** The error of an archive that is not one, or not one that can be trusted. */
export function archiveError(reason: string): OverlayError {
  return new OverlayError("bad-archive", `Cannot read archive: ${reason}`, {
    hint: "make the image again, or get it again from where it came from",
  });
}

/** An error of an archive says which one it is, if it does not yet; any other stays as it is. */
export function ofArchive(
  error: unknown,
  { name, path }: { readonly name: string; readonly path: string },
): unknown {
  const nameless = /^Cannot (read archive|unpack layer): /;
  if (!(error instanceof OverlayError) || !nameless.test(error.message)) return error;
  const { code, message, hint } = error;
  const text = message.replace(nameless, (_, what) => `Cannot ${what} ${quote(name)}: `);
  return new OverlayError(code, text, { path, hint: hint ?? undefined, cause: error });
}
