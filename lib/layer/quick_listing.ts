/**
 * Lists the entries of a directory by find(1), in the form of the records that an import writes.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { formatEntryLine, parseLines } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";
import { bytesToText, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import { programError } from "../system/run.ts";
import { findPrinted } from "../system/find.ts";
import type { EntryType, TarEntry } from "../tar/tar_entry.ts";

/** The record of each path. */
export type Entries = ReadonlyMap<string, Keywords>;

/** The types by the letters of find(1), including some that no archive has. */
const TYPES: Readonly<Record<string, string>> = {
  f: "file",
  d: "directory",
  l: "symlink",
  c: "char",
  b: "block",
  p: "fifo",
  s: "socket",
};

/**
 * Lists the entries of a directory without reading a file.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} If find cannot read an entry.
 */
export async function listQuickly(root: string, options: ChangeOptions): Promise<Entries> {
  const fields = ["%P", "%y", "%U", "%G", "%m", "%T@", "%s", "%l"];
  const how = { ...programOptions(options), decode: bytesToText };
  const { records, result } = await findPrinted([root, "-xdev"], fields, how);
  if (result.status !== 0) {
    const hint = "run as a user who may read all of it, such as root";
    throw programError(result, "read", root, { hint });
  }
  return parseLines(records.map(formatQuickLine).join(""));
}

/** Converts a time. find(1) adds the fraction to the seconds, so it prints 1.5 seconds before 1970 as -2.5. */
function normalizeTime(text: string): string {
  const [seconds = "0", fraction = ""] = text.split(".");
  const added = Number(fraction.slice(0, 9).padEnd(9, "0"));
  if (!seconds.startsWith("-") || added === 0) return text;
  return `-${-Number(seconds) - 1}.${String(1e9 - added).padStart(9, "0")}`;
}

function formatQuickLine(words: readonly string[]): string {
  const [path = "", type = "", uid, gid, mode = "0", time = "0", size, link = ""] = words;
  return formatSeenLine(path, {
    type: TYPES[type] ?? type,
    uid: Number(uid),
    gid: Number(gid),
    mode: Number.parseInt(mode, 8),
    mtime: normalizeTime(time),
    size: Number(size),
    link,
  });
}

/** The properties of an entry that are seen without reading it. */
type Seen = Pick<TarEntry, "uid" | "gid" | "mode" | "mtime" | "size" | "link"> & {
  /** The type, which may be one that no archive has. */
  readonly type: string;
};

/** Formats the line of an entry that was not read. */
export function formatSeenLine(path: string, seen: Seen): string {
  return formatEntryLine(path, { ...PLAIN_DIRECTORY, ...seen, type: seen.type as EntryType });
}
