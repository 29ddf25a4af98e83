/**
 * Reads and atomically replaces the files of this project.
 *
 * @module
 */
import { attempt, describeType, errno, failure, isSame, look } from "./disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { isGranted } from "./permissions.ts";

/**
 * Replaces a file atomically: the new file is written beside it, synced, given its mode and renamed.
 *
 * @throws {OverlayError} If any of that fails; the file is then unchanged.
 */
export function replaceFile(path: string, content: Uint8Array, mode: number): void {
  using file = writeBeside(path, content);
  putInPlace(path, mode, () => file.syncSync());
}

/**
 * Makes a file at a free path. It is in place at once, and synced when the result settles. The caller may
 * continue meanwhile: the file replaces nothing that a power cut could destroy.
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

/** Writes a file, and removes it when it cannot be written completely. */
function writeNew(path: string, content: Uint8Array): Deno.FsFile {
  const file = createNew(path);
  try {
    writeAll(file, content);
    return file;
  } catch (error) {
    file.close();
    Deno.removeSync(path);
    throw error;
  }
}

/** Writes all bytes of a piece to an open file. */
export function writeAll(file: Deno.FsFile, piece: Uint8Array): void {
  for (let at = 0; at < piece.length;) at += file.writeSync(piece.subarray(at));
}

/**
 * Writes a temporary file without syncing it. A file that a killed run left at the path is removed first, and
 * a link is never followed.
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

/** Makes a new file; one that a killed run left is removed first, and a link is never followed. */
export function createNew(path: string): Deno.FsFile {
  const options = { write: true, createNew: true, mode: 0o600 };
  try {
    return Deno.openSync(path, options);
  } catch (error) {
    if (errno(error) !== "EEXIST") throw error;
    Deno.removeSync(path);
    return Deno.openSync(path, options);
  }
}

/** The size limit for our files, in bytes; some ten thousand lines of apps are smaller. */
const OWN_MAX = 64 << 20;

/**
 * Reads a file that must not be a symlink; `null` when it does not exist.
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

/** Reads the file that was checked before, and no file that has replaced it since. */
function readSame(path: string, again: boolean): Uint8Array<ArrayBuffer> | null | "replaced" {
  const info = look(path);
  if (info === null) return null;
  if (!info.isFile) throw notOwn(path, again ? REPLACED : `it is ${describeType(info)}`);
  return attempt("read", path, () => {
    // Another process has removed it, or its directory, meanwhile.
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

/** Opens a file for writing too, if possible: then open(2) does not wait for the other end of a FIFO. */
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
 * Tells whether the opened file is the one that was checked: the path can be given to another file in
 * between. In a trusted pod nobody else can do that.
 */
export function isOpened(file: Deno.FsFile, seen: Deno.FileInfo): boolean {
  try {
    return isSame(file.statSync(), seen);
  } catch (error) {
    // Under path-scoped permissions Deno refuses to stat an open file whose path leads through a symlink.
    if (error instanceof Deno.errors.NotCapable) return true;
    throw error;
  }
}

const READ = 1 << 16;

/** Reads the content of an open file; `null` when it has more than `max` bytes. */
export function readAll(file: Deno.FsFile, max: number): Uint8Array<ArrayBuffer> | null {
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

/** Refuses a file that is too large for its kind. */
export function tooLarge(verb: string, path: string, max: number): never {
  const message = `Cannot ${verb} ${quote(path)}: it has more than ${max} bytes`;
  throw new OverlayError("too-large", message, { path, hint: "see whether it is the right file" });
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
