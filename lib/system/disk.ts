/**
 * Reads the state of the disk, and turns errors of the operating system into messages.
 *
 * All functions are synchronous: each call is one system call of a few microseconds, and an asynchronous
 * call would spend ten times that in the event loop.
 *
 * @module
 */
import { OverlayError, RefusedError } from "../core/errors.ts";
import { isGranted } from "./permissions.ts";
import { parent } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { AppLine } from "../overlay/app_line.ts";

/** Returns the code of an error of the operating system, such as `"ENOENT"`; `null` when it has none. */
export function errno(error: unknown): string | null {
  if (!(error instanceof Error)) return null;
  const code = (error as Error & { code?: unknown }).code;
  return typeof code === "string" ? code : null;
}

/** Like {@linkcode errno}, for the cause of an {@linkcode OverlayError}. */
export function errnoOfCause(error: unknown): string | null {
  if (!(error instanceof OverlayError)) return null;
  return errno(error.cause) ?? errnoOfCause(error.cause);
}

/** Tells whether an action failed because the disk or the user's quota is full. */
export function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes(errnoOfCause(error) ?? "");
}

/** Returns the reason of an error of the operating system, without the path and number that Deno adds. */
export function describeError(error: unknown): string {
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

/** Tells whether this process runs as root, if the permissions allow to ask. */
function isRoot(): boolean {
  return isGranted({ name: "sys", kind: "uid" }) && Deno.uid() === 0;
}

/**
 * Runs an action on a path, and turns an error of the operating system into one that names both.
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

/** Makes the error of an action that the operating system refused, see {@linkcode attempt}. */
export function failure(verb: string, path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable || error instanceof OverlayError) return error;
  const message = `Cannot ${verb} ${quote(path)}: ${describeError(error)}`;
  return new OverlayError("failed", message, { path, cause: error, hint: hintFor(error, path) });
}

/** The errors of a path without a file. It may lead through a file, or through a link to itself. */
const NOTHING_THERE = ["ENOENT", "ENOTDIR", "ELOOP"];

/** Tells whether an error of the operating system means that a path does not exist. */
export function isMissing(error: unknown): boolean {
  return NOTHING_THERE.includes(errno(error) ?? "");
}

/** Reads the metadata of a path without following a link; `null` when the path does not exist. */
export function look(path: string): Deno.FileInfo | null {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (isMissing(error)) return null;
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new OverlayError("failed", `Cannot look at ${quote(path)}: ${describeError(error)}`, {
      path,
      cause: error,
      hint: hintFor(error, path),
    });
  }
}

/** Returns the result of a call that follows links; `null` when the target is missing or unreadable. */
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

/** Returns the device of a path, behind links; `null` when nothing is there. */
export function deviceAt(path: string): number | null {
  return ifAny(() => Deno.statSync(path).dev);
}

/** Writes the device and inode, which identify a file or a directory whatever its name. */
export function formatIdentity({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}

/**
 * Writes the inode and the time it was made, as far as the file system knows it. Together they identify a directory
 * also after a reboot, when devices may have other numbers.
 */
export function formatLasting({ ino, birthtime }: Deno.FileInfo): string {
  return `${ino ?? 0}.${birthtime?.getTime() ?? 0}`;
}

/**
 * Identifies the directories that the lowers of a line are, see {@linkcode formatLasting}.
 *
 * @param lowers The lowers, by paths that may be read.
 * @returns `undefined` for a copy, for lowers behind a link of the pod, whose names belong to their content, and
 * where a lower cannot be looked at.
 */
export function identifyLowers(
  { copy, lowers: link }: Pick<AppLine, "copy" | "lowers">,
  lowers: readonly string[],
): string | undefined {
  if (copy || link !== undefined) return undefined;
  const infos = lowers.map((path) => ifAny(() => Deno.statSync(path)));
  const ids = infos.flatMap((info) => info === null ? [] : [formatLasting(info)]);
  return ids.length === infos.length ? ids.join("+") : undefined;
}

/** Tells whether something seems to be mounted on a directory: it is on another device than the one above it. */
export function isOnOtherDevice(path: string): boolean {
  return look(path)?.dev !== look(parent(path))?.dev;
}

/** Tells whether two results are of the same file or directory; `false` if one of them is `null`. */
export function isSame(one: Deno.FileInfo | null, other: Deno.FileInfo | null): boolean {
  return one !== null && other !== null && formatIdentity(one) === formatIdentity(other);
}

/** Lists the entries of a directory; none if it does not exist, as when another process has removed it. */
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

/** Tells whether a path is an empty directory. */
export function isEmptyDirectory(path: string): boolean {
  return look(path)?.isDirectory === true &&
    Deno.readDirSync(path)[Symbol.iterator]().next().done === true;
}

/** Names the type of a file for a message. */
export function describeType(info: Deno.FileInfo): string {
  if (info.isSymlink) return "a symlink";
  if (info.isDirectory) return "a directory";
  return info.isFile ? "a file" : "neither a file nor a directory";
}

/**
 * Checks that a path is a directory, if it exists.
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
    throw new OverlayError(
      "not-a-directory",
      `Cannot use ${quote(path)}: it is ${describeType(info)}`,
      {
        path,
        hint: "a directory must be there, or nothing",
      },
    );
  }
  return info;
}

/** Returns the major number of a device, see makedev(3); it is 0 for file systems without their own disk. */
export function decodeMajor(device: number): number {
  // Twelve bits from the ninth on; the bits above 32 belong to it, too.
  return Math.floor(device / 256) % 4096 + Math.floor(device / 2 ** 44) * 4096;
}

/** Returns the twelve mode bits. */
export function readMode(info: Deno.FileInfo): number {
  return (info.mode ?? 0) & 0o7777;
}
