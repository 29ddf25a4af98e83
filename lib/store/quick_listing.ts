/**
 * What is in a directory, as find(1) sees it, in the words of what was written down at the import.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { entryLine, parseLines } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";
import { textOfBytes } from "../tar/tar_entry.ts";
import { programError } from "../system/run.ts";
import { findPrinted } from "../system/find.ts";

/** What is said of each path. */
export type Entries = ReadonlyMap<string, Keywords>;

/** What find(1) calls the types. */
const TYPES: Readonly<Record<string, string>> = {
  f: "file",
  d: "dir",
  l: "link",
  c: "char",
  b: "block",
  p: "fifo",
  s: "socket",
};

/**
 * What is in a directory, as far as it can be seen without reading a file.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} If find cannot read something of it.
 */
export async function outlineOf(root: string, options: ChangeOptions): Promise<Entries> {
  const fields = ["%P", "%y", "%U", "%G", "%m", "%T@", "%s", "%l"];
  const how = { ...programOptions(options), decode: textOfBytes };
  const { records, result } = await findPrinted([root, "-xdev"], fields, how);
  if (result.status !== 0) {
    const hint = "run as a user who may read all of it, such as root";
    throw programError(result, "read", root, { hint });
  }
  return parseLines(records.map(outlineLine).join(""));
}

/** find(1) writes a time as seconds and what is added to them, so that 1.5 seconds before 1970 are -2.5. */
function timeOf(text: string): string {
  const [seconds = "0", fraction = ""] = text.split(".");
  const added = Number(fraction.slice(0, 9).padEnd(9, "0"));
  if (!seconds.startsWith("-") || added === 0) return text;
  return `-${-Number(seconds) - 1}.${String(1e9 - added).padStart(9, "0")}`;
}

function outlineLine(words: readonly string[]): string {
  const [path = "", type = "", uid, gid, mode = "0", time = "0", size, link = ""] = words;
  const name = TYPES[type] ?? type;
  return entryLine(path, {
    type: ({ dir: "directory", link: "symlink" }[name] ?? name) as "file",
    uid: Number(uid),
    gid: Number(gid),
    mode: Number.parseInt(mode, 8),
    mtime: timeOf(time),
    size: Number(size),
    link,
    device: [0, 0],
    attributes: new Map(),
  });
}
