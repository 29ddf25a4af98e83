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
