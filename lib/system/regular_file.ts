/**
 * Opens and reads regular files of other users, without waiting for a FIFO and up to a size limit.
 *
 * @module
 */
import { attempt, describeType, errno, failure, ifAny, isSame, look } from "./disk.ts";
import { readAll, tooLarge } from "./own_file.ts";
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { isGranted } from "./permissions.ts";

/** The options for opening a file of another user. */
export interface OpenOptions {
  /** The verb of messages. @default {"read"} */
  readonly verb?: string;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
  /** The metadata of the file that was checked before: another file is refused. */
  readonly like?: Deno.FileInfo;
}

/** The interval and the limit, in milliseconds, of the checks of a path while it is being opened. */
const OPENING = { every: 100, longest: 10_000 };

/**
 * Opens a regular file for reading; a symlink is followed. Opening a FIFO would wait for its writer, so the
 * path is checked before and the opened file after, and the call fails when a FIFO replaces the file in
 * between. The thread that opens the FIFO then keeps waiting, unless the path may be written; the program
 * can end with `Deno.exit`.
 *
 * Requires `--allow-read` permission for the path.
 *
 * @throws {OverlayError} If it cannot be opened, or is no regular file.
 * @throws {unknown} The reason of the signal.
 */
export async function openRegular(path: string, options: OpenOptions = {}): Promise<Deno.FsFile> {
  const { verb = "read", signal, like } = options;
  signal?.throwIfAborted();
  checkRegular(path, verb, statOf(path, verb));
  const file = await openWaiting(path, verb, signal);
  try {
    const info = attempt(verb, path, () => statOpen(file, path));
    checkRegular(path, verb, info);
    if (like === undefined || isSame(info, like)) return file;
    throw new OverlayError("failed", `Cannot ${verb} ${quote(path)}: it was replaced meanwhile`, {
      path,
      hint: "run it again when nobody changes it",
    });
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Reads the metadata of an open file. Deno refuses that under path-scoped permissions if the path leads
 * through a symlink; then the metadata of the path is read.
 */
export function statOpen(file: Deno.FsFile, path: string): Deno.FileInfo {
  try {
    return file.statSync();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return Deno.statSync(path);
    throw error;
  }
}

function statOf(path: string, verb: string): Deno.FileInfo {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (errno(error) !== "ENOENT") throw failure(verb, path, error);
    throw new OverlayError("missing", `Cannot ${verb} ${quote(path)}: it does not exist`, {
      path,
      cause: error,
      hint: "check the path that was given",
    });
  }
}

function checkRegular(path: string, verb: string, info: Deno.FileInfo | null): void {
  if (info?.isFile) return;
  const is = info === null ? "not there any more" : describeType(info);
  throw new OverlayError("failed", `Cannot ${verb} ${quote(path)}: it is ${is}`, {
    path,
    hint: "a regular file must be there",
  });
}

/** Opens a path. The call may never return. */
async function openWaiting(path: string, verb: string, signal?: AbortSignal): Promise<Deno.FsFile> {
  const opening = Deno.open(path);
  const { promise: given, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal?.reason);
  let waited = 0;
  const timer = setInterval(() => {
    try {
      checkRegular(path, verb, ifAny(() => Deno.statSync(path)));
      if ((waited += OPENING.every) < OPENING.longest) return;
      throw new OverlayError("failed", `Cannot ${verb} ${quote(path)}: it cannot be opened`, {
        path,
        hint: "see whether its file system answers",
      });
    } catch (error) {
      reject(error);
    }
  }, OPENING.every);
  signal?.addEventListener("abort", abort);
  let file: Deno.FsFile | null = null;
  try {
    return file = await Promise.race([opening, given]);
  } catch (error) {
    throw error === signal?.reason ? error : failure(verb, path, error);
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", abort);
    if (file === null) giveUp(path, opening);
  }
}

/** Closes a file as soon as it is open. A thread that waits for the writer of a FIFO gets one. */
function giveUp(path: string, opening: Promise<Deno.FsFile>): void {
  const close = (file: Deno.FsFile) => file.close();
  opening.then(close, () => {/* Told already. */});
  if (!isGranted({ name: "write", path })) return;
  if (!look(path)?.isFifo) return;
  Deno.open(path, { read: true, write: true }).then(close, () => {/* It is gone. */});
}

/**
 * Reads a regular file of a bounded size.
 *
 * Requires `--allow-read` permission for the path.
 *
 * @param max The size limit in bytes.
 * @throws {OverlayError} If it cannot be read, has more bytes, or is no regular file.
 */
export async function readRegular(
  path: string,
  max: number,
  options: OpenOptions = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { verb = "read" } = options;
  using file = await openRegular(path, options);
  return attempt(verb, path, () => readAll(file, max) ?? tooLarge(verb, path, max));
}
