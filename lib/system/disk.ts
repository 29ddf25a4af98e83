/**
 * Looking at the disk, and saying what went wrong there.
 *
 * Everything here is synchronous: each call is one system call of a few microseconds, and the
 * asynchronous twin would spend ten times that on the way through the event loop.
 *
 * @module
 */
import { OverlayError, RefusedError } from "../core/errors.ts";
import { isGranted } from "./permissions.ts";
import { parent } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";

/** The code of an error of the operating system, such as `"ENOENT"`; `null` when it has none. */
export function errno(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const code = (error as Error & { code?: unknown }).code;
  return typeof code === "string" ? code : null;
}

/** As {@linkcode errno}, of the error of the operating system that is the cause of an {@linkcode OverlayError}. */
export function errnoOfCause(error: unknown): string | null {
  if (!(error instanceof OverlayError)) return null;
  return errno(error.cause) ?? errnoOfCause(error.cause);
}

/** Tells whether an action failed since there is no space on the disk, or none is left for the user. */
export function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes(errnoOfCause(error) ?? "");
}

/** Says why the operating system refused, without the path and the number that Deno adds. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/ \(os error \d+\).*$/s, "");
}

function hintFor(error: unknown, path: string): string | undefined {
  const above = shellQuote(parent(path));
  switch (errno(error)) {
    case "ENOENT":
      return `make the directory above it first: mkdir -p ${above}`;
    case "EACCES":
    case "EPERM":
      if (!isRoot()) return `run as a user who has access to ${above}, such as root`;
      return "root may not: it is immutable, see lsattr -d; or this is a user namespace, and it belongs " +
        "to a user outside of it, who can do it";
    case "EROFS":
      return "make its file system writable again, or choose another place";
    case "ENOSPC":
      return `free some space on the file system of ${above}`;
    default:
      return undefined;
  }
}

/** Tells whether we are root, as far as that may be asked. */
function isRoot(): boolean {
  return isGranted({ name: "sys", kind: "uid" }) && Deno.uid() === 0;
}

/**
 * Does something to a path, and turns the operating system's refusal into an error that names both.
 *
 * @param verb What is done, such as `make directory`.
 * @throws {OverlayError} If the operating system refuses; its error is the cause.
 */
export function attempt<T>(verb: string, path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw failure(verb, path, error);
  }
}

/** The error of what the operating system refused to do to a path, see {@linkcode attempt}. */
export function failure(verb: string, path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable || error instanceof OverlayError) return error;
  const message = `Cannot ${verb} ${quote(path)}: ${reasonOf(error)}`;
  return new OverlayError("failed", message, { path, cause: error, hint: hintFor(error, path) });
}

/** Nothing can be at a path that leads through a file, or through a link to itself. */
const NOTHING_THERE = ["ENOENT", "ENOTDIR", "ELOOP"];

/** Tells whether an error of the operating system says that nothing is at a path. */
export function isMissing(error: unknown): boolean {
  return NOTHING_THERE.includes(errno(error) ?? "");
}

/** Looks at a path without following a link; `null` when nothing is there. */
export function look(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isMissing(error)) return null;
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new OverlayError("failed", `Cannot look at ${quote(path)}: ${reasonOf(error)}`, {
      path,
      cause: error,
      hint: hintFor(error, path),
    });
  }
}

/** What a look through links brings; `null` where they lead nowhere, or nobody may look. */
export function ifAny<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (isMissing(error) || errno(error) === "EACCES" || error instanceof Deno.errors.NotCapable) {
      return null;
    }
    throw error;
  }
}

/** The device of what is at a path, behind a link if there is one; `null` when nothing is. */
export function deviceAt(path: string): number | null {
  return ifAny(() => Deno.statSync(path).dev);
}

/** Device and inode: they tell a file or a directory from every other one, whatever its name. */
export function identityOf({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}

/** Tells whether two looks saw the same file or directory; not if one of them saw nothing. */
export function isSame(one: Deno.FileInfo | null, other: Deno.FileInfo | null): boolean {
  return one !== null && other !== null && identityOf(one) === identityOf(other);
}

/** The entries of a directory; none if it is not there, as when another process has removed it. */
export function entriesIn(path: string): readonly Deno.DirEntry[] {
  return attempt("read directory", path, () => {
    try {
      return [...Deno.readDirSync(path)];
    } catch (error) {
      if (errno(error) === "ENOENT") return [];
      throw error;
    }
  });
}

/** Tells whether a path is a directory that holds nothing. */
export function isEmptyDirectory(path: string): boolean {
  return look(path)?.isDirectory === true &&
    Deno.readDirSync(path)[Symbol.iterator]().next().done === true;
}

/** What a path is, in a word. */
export function typeOf(info: Deno.FileInfo): string {
  if (info.isSymlink) return "a symlink";
  if (info.isDirectory) return "a directory";
  return info.isFile ? "a file" : "neither a file nor a directory";
}

/**
 * Checks that what is at a path, if anything, is a directory.
 *
 * @throws {RefusedError} If it is a symlink: following it could lead anywhere.
 * @throws {OverlayError} If it is something else.
 */
export function lookForDirectory(path: string): Deno.FileInfo | null {
  const info = look(path);
  if (info?.isSymlink) {
    throw new RefusedError("symlink", `Cannot use ${quote(path)}: it is a symlink`, {
      path,
      hint: "name the directory that it leads to, or remove it",
    });
  }
  if (info !== null && !info.isDirectory) {
    throw new OverlayError("not-a-directory", `Cannot use ${quote(path)}: it is ${typeOf(info)}`, {
      path,
      hint: "a directory must be there, or nothing",
    });
  }
  return info;
}

/** The major number of a device, see makedev(3); 0 is that of file systems without a disk of their own. */
export function majorOf(device: number): number {
  // Twelve bits from the ninth on; what is above 32 bits is more of them, and is never all there is.
  return Math.floor(device / 256) % 4096 + Math.floor(device / 2 ** 44) * 4096;
}

/** The twelve mode bits of what was looked at. */
export function modeOf(info: Deno.FileInfo): number {
  return (info.mode ?? 0) & 0o7777;
}

/**
 * Replaces a file as a whole: written beside, synced, given its mode whatever the umask, renamed.
 *
 * @throws {OverlayError} If any of that fails; the file is then as it was.
 */
export function replaceFile(path: string, content: Uint8Array, mode: number): void {
  using file = writeBeside(path, content);
  putInPlace(path, mode, () => file.syncSync());
}

/**
 * Makes a file where there is none. It is in place at once, and on the disk when the result settles: it
 * replaces nothing that a power cut could take, so the caller may go on meanwhile.
 *
 * @throws {OverlayError} If it cannot be written.
 */
export function makeFile(path: string, content: Uint8Array, mode: number): Promise<void> {
  const file = writeBeside(path, content);
  try {
    putInPlace(path, mode, () => {});
  } catch (error) {
    file.close();
    throw error;
  }
  return file.sync()
    .catch((error) => Promise.reject(failure("write", path, error)))
    .finally(() => file.close());
}

function writeBeside(path: string, content: Uint8Array): Deno.FsFile {
  return attempt("write", path, () => writeNew(`${path}.new`, content));
}

/** Writes a file that goes again when it cannot be written as a whole. */
function writeNew(path: string, content: Uint8Array): Deno.FsFile {
  const file = createNew(path);
  try {
    for (let at = 0; at < content.length;) at += file.writeSync(content.subarray(at));
    return file;
  } catch (error) {
    file.close();
    Deno.removeSync(path);
    throw error;
  }
}

/**
 * Writes a file that is gone again soon, and need not be on the disk. What a killed run left at the path
 * is removed first, never followed.
 *
 * @throws {OverlayError} If it cannot be written.
 */
export function writeScratch(path: string, content: Uint8Array): void {
  attempt("write", path, () => writeNew(path, content).close());
}

function putInPlace(path: string, mode: number, sync: () => void): void {
  const beside = `${path}.new`;
  attempt("write", path, () => {
    try {
      sync();
      Deno.chmodSync(beside, mode);
      Deno.renameSync(beside, path);
    } catch (error) {
      if (look(beside) !== null) Deno.removeSync(beside);
      throw error;
    }
  });
}

/** Makes a file that is not there; one that a killed run left is removed first, never followed. */
function createNew(path: string): Deno.FsFile {
  const options = { write: true, createNew: true, mode: 0o600 };
  try {
    return Deno.openSync(path, options);
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error;
    Deno.removeSync(path);
    return Deno.openSync(path, options);
  }
}

/** The most bytes of a file of ours: some ten thousand lines of apps have fewer. */
const OWN_MAX = 64 << 20;

/**
 * Reads a file that must not be a symlink; `null` when nothing is there.
 *
 * @throws {RefusedError} If it is something else, or was replaced each time while it was opened.
 * @throws {OverlayError} If it cannot be read, or is too large to be one of ours.
 */
export function readOwnFile(path: string): Uint8Array<ArrayBuffer> | null {
  // A command can replace its file while another one, which takes no lock, is about to read it.
  for (let attempts = 0; attempts < READ_ATTEMPTS; attempts++) {
    const content = readSame(path, attempts > 0);
    if (content !== "replaced") return content;
  }
  throw notOwn(path, REPLACED);
}

const READ_ATTEMPTS = 100;

const REPLACED = "it was replaced meanwhile";

/** Reads what was looked at, and nothing that has taken its place since. */
function readSame(path: string, again: boolean): Uint8Array<ArrayBuffer> | null | "replaced" {
  const info = look(path);
  if (info === null) return null;
  if (!info.isFile) throw notOwn(path, again ? REPLACED : `it is ${typeOf(info)}`);
  return attempt("read", path, () => {
    // Another process has removed it, or what it is in, since it was looked at.
    using file = openOwn(path);
    if (file === null) return null;
    if (!isOpened(file, info)) return "replaced";
    return readAll(file, OWN_MAX) ?? tooLarge("read", path, OWN_MAX);
  });
}

function notOwn(path: string, reason: string): RefusedError {
  return new RefusedError("symlink", `Cannot read ${quote(path)}: ${reason}`, {
    path,
    hint: "a file must be there, or nothing",
  });
}

/** For writing too where that can be: so open(2) does not wait for the other end of a FIFO. */
function openOwn(path: string): Deno.FsFile | null {
  const write = isGranted({ name: "write", path });
  for (const options of write ? [{ read: true, write }, { read: true }] : [{ read: true }]) {
    try {
      return Deno.openSync(path, options);
    } catch (error) {
      const code = errno(error) ?? "";
      if (code === "ENOENT") return null;
      if (!options.write || !["EACCES", "EPERM", "EROFS"].includes(code)) throw error;
    }
  }
  return null;
}

/**
 * Tells whether the file that was opened is the one that was looked at: a name can be given to another file
 * in between. In a trusted pod nobody else can do that.
 */
export function isOpened(file: Deno.FsFile, seen: Deno.FileInfo): boolean {
  try {
    return isSame(file.statSync(), seen);
  } catch (error) {
    // Under path-scoped permissions Deno looks at no open file whose path leads through a symlink.
    if (error instanceof Deno.errors.NotCapable) return true;
    throw error;
  }
}

/** How a file is opened that somebody else may have put there. */
export interface OpenOptions {
  /** The verb of messages. @default {"read"} */
  readonly verb?: string;
  /** Ends the waiting. */
  readonly signal?: AbortSignal | undefined;
  /** The file that was looked at before: another one is refused. */
  readonly like?: Deno.FileInfo;
}

/** How often, in milliseconds, a path is looked at again while it is being opened, and for how long. */
const OPENING = { every: 100, longest: 10_000 };

/**
 * Opens a regular file for reading; a symlink is followed. To open a FIFO would mean to wait for its writer:
 * the path is looked at before, what was opened is looked at after, and the waiting ends when a FIFO takes
 * the file's place in between. The thread that opens it then still waits, unless the path may be written;
 * a program that is to end all the same calls `Deno.exit`.
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
  const file = await opened(path, verb, signal);
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
 * Looks at an open file. Under path-scoped permissions Deno does not, if its path leads through a symlink;
 * then the file at the path is looked at.
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
  const is = info === null ? "not there any more" : typeOf(info);
  throw new OverlayError("failed", `Cannot ${verb} ${quote(path)}: it is ${is}`, {
    path,
    hint: "a regular file must be there",
  });
}

/** Opens a path, which may never end. */
async function opened(path: string, verb: string, signal?: AbortSignal): Promise<Deno.FsFile> {
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

/** Closes a file as soon as it is open. A thread that waits for the writer of a FIFO is given one. */
function giveUp(path: string, opening: Promise<Deno.FsFile>): void {
  const close = (file: Deno.FsFile) => file.close();
  opening.then(close, () => {/* Told already. */});
  if (Deno.permissions.querySync({ name: "write", path }).state !== "granted") return;
  if (!look(path)?.isFifo) return;
  Deno.open(path, { read: true, write: true }).then(close, () => {/* It is gone. */});
}

/**
 * Reads a regular file of a bounded size.
 *
 * Requires `--allow-read` permission for the path.
 *
 * @param max The most bytes that it may have.
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

const READ = 1 << 16;

/** All that is in an open file; `null` when that is more than `max` bytes. */
function readAll(file: Deno.FsFile, max: number): Uint8Array<ArrayBuffer> | null {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let left = max + 1; left > 0;) {
    const part = new Uint8Array(Math.min(left, READ));
    const read = file.readSync(part);
    if (read === null) return joined(parts);
    parts.push(part.subarray(0, read));
    left -= read;
  }
  return null;
}

function tooLarge(verb: string, path: string, max: number): never {
  const message = `Cannot ${verb} ${quote(path)}: it has more than ${max} bytes`;
  throw new OverlayError("too-large", message, { path });
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
