/**
 * The class of the marks of an upper, by which overlayfs finds opaque directories.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { appWords } from "../core/quote.ts";
import type { AttributeClass } from "../layer/layer_policy.ts";

/**
 * Finds the class of the marks in the upper of an app, which this user must be able to read. Without them a directory
 * that was removed and made again would show what it had in the lowers.
 *
 * Requires `--allow-sys=uid` permission.
 *
 * @param options The mount options of the app.
 * @throws {OverlayError} If only root can read them.
 */
export function findMarks(app: string, options: readonly string[]): AttributeClass {
  if (options.includes("userxattr")) return "user";
  if (Deno.uid() === 0) return "trusted";
  const message = `Cannot tell what ${appWords(app)} wrote: only root can read the marks of its ` +
    "upper, which are attributes trusted.overlay.*";
  throw new OverlayError("failed", message, {
    hint: "run as root, or render the app with -o userxattr",
  });
}
