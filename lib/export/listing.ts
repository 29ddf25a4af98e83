/**
 * Lists a directory before it is exported, and again afterwards, to see whether it was changed meanwhile.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { findPrinted } from "../system/find.ts";
import { programError } from "../system/run.ts";
import { changedError } from "../layer/archive.ts";
import { directoryAbove } from "../tar/entry_name.ts";
import { bytesToText } from "../tar/tar_entry.ts";

/** An entry of a directory. */
export interface Listed {
  /** The path in the directory, as bytes; empty for the directory itself. */
  readonly path: string;
  /** The type, by the letter of find(1). */
  readonly type: string;
  /** The size in bytes. */
  readonly size: number;
  /** The time of the last change, and the inode: equal as long as nothing has touched the entry. */
  readonly stamp: string;
}

/**
 * Lists the entries of a directory, and not those of other file systems in it.
 *
 * Requires `--allow-run` permission for find.
 *
 * @returns The entries, by the order of {@linkcode compareListed}.
 * @throws {OverlayError} If find cannot read a directory.
 */
export async function listDirectory(root: string, options: Reporter): Promise<readonly Listed[]> {
  const how = { ...programOptions(options), decode: bytesToText, buffered: true };
  const fields = ["%P", "%y", "%s", "%C@ %i %m %U %G"];
  const { records, result } = await findPrinted([root, "-xdev"], fields, how);
  if (result.status !== 0) {
    if (/No such file/.test(result.stderr)) throw changedError(root, result.stderr);
    const hint = "run as a user who may read all of it, such as root";
    throw programError(result, "read", root, { hint });
  }
  return records.map(([path = "", type = "", size, stamp = ""]) => {
    return { path, type, size: Number(size), stamp };
  }).sort(compareListed);
}

/** Devices come first, since whiteouts should precede the other entries of their directory. */
function rank({ type }: Listed): number {
  return type === "c" ? 0 : 1;
}

/**
 * Compares two entries: those of one directory stand together, the directory itself stands before them, and
 * names are in the order of their bytes.
 */
function compareListed(a: Listed, b: Listed): number {
  const [above, other] = [directoryAbove(a.path), directoryAbove(b.path)];
  if (a.path === "" || b.path === "") return a.path.length - b.path.length;
  if (above !== other) return above < other ? -1 : 1;
  return rank(a) - rank(b) || (a.path < b.path ? -1 : 1);
}

/**
 * Checks that a directory is as it was when it was listed.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} With the code `changed`, if it is not.
 */
export async function checkUnchanged(
  root: string,
  before: readonly Listed[],
  options: Reporter,
): Promise<void> {
  const after = await listDirectory(root, options);
  const isSame = after.length === before.length && after.every(({ path, stamp }, at) => {
    return path === before[at]?.path && stamp === before[at]?.stamp;
  });
  if (!isSame) throw changedError(root, "something in it is new, gone or other");
}
