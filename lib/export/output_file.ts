/**
 * Writes a file that is made piece by piece: beside its place, and renamed when it is complete.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { attempt, describeType, failure, look } from "../system/disk.ts";
import { createNew, isOpened } from "../system/own_file.ts";
import { quote } from "../core/quote.ts";

/**
 * Checks that a file can be put at a path, which must be free or a regular file.
 *
 * @throws {OverlayError} If something else is there.
 */
export function checkOutput(path: string): void {
  const info = look(path);
  if (info === null || info.isFile) return;
  throw new OverlayError("failed", `Cannot write ${quote(path)}: it is ${describeType(info)}`, {
    path,
    hint: "name a new file, or - for stdout",
  });
}

/** Writes all of a piece to an open file. */
export async function writeAll(file: Deno.FsFile, piece: Uint8Array): Promise<void> {
  for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
}

/**
 * Writes a file; if that fails, nothing is left of it. What a killed run left beside its place is replaced.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the path and its directory.
 *
 * @param write Makes the content: at the path that it is given, or in the open file.
 * @throws {OverlayError} If it cannot be written.
 */
export async function writeOutput<T>(
  path: string,
  write: (file: Deno.FsFile, beside: string) => Promise<T>,
): Promise<T> {
  checkOutput(path);
  const beside = `${path}.new`;
  using file = attempt("write", path, () => createNew(beside));
  try {
    const result = await write(file, beside);
    await file.sync().catch((error) => Promise.reject(failure("write", path, error)));
    if (!isOurs(file, beside)) throw replacedError(path);
    attempt("write", path, () => Deno.renameSync(beside, path));
    return result;
  } catch (error) {
    if (isOurs(file, beside)) await Deno.remove(beside);
    throw error;
  }
}

/** Tells whether a name is still that of an open file, and not of one that another command has begun. */
function isOurs(file: Deno.FsFile, path: string): boolean {
  const info = look(path);
  return info !== null && isOpened(file, info);
}

function replacedError(path: string): OverlayError {
  return new OverlayError("failed", `Cannot write ${quote(path)}: another command writes it, too`, {
    path,
    hint: "wait until it has finished, or name another file",
  });
}
