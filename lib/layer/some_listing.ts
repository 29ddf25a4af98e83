/**
 * Lists some entries of a directory by their paths, in the form of the records that an import writes.
 *
 * @module
 */
import { attempt, entriesIn, look } from "../system/disk.ts";
import { child } from "../core/path.ts";
import { decodeBytes } from "../core/quote.ts";
import { directoryAbove } from "../tar/entry_name.ts";
import { formatSeenLine } from "./quick_listing.ts";
import type { Entries } from "./quick_listing.ts";
import { parseLines } from "../tar/mtree.ts";
import type { WantedLines } from "../tar/mtree.ts";
import { bytesToText } from "../tar/tar_entry.ts";

/**
 * Lists some entries without reading a file, and the entries directly in some directories. No symlink is
 * followed, and no entry is found behind one.
 *
 * Requires `--allow-read` permission for the directory.
 *
 * @returns The records; `null` if a name is not UTF-8, which Deno cannot look up.
 */
export function listSome(
  root: string,
  { paths, parents = new Set() }: WantedLines,
): Entries | null {
  const lines = new Map<string, string>();
  const directories = new Set([""]);
  const add = (path: string, name: string): void => {
    if (path !== "" && !directories.has(directoryAbove(path))) return;
    const at = name === "" ? root : child(root, name);
    const info = look(at);
    if (info === null) return;
    if (info.isDirectory) directories.add(path);
    lines.set(path, formatInfo(path, at, info));
  };
  for (const path of [...paths].sort()) {
    const name = decodeBytes(path);
    if (name === null) return null;
    add(path, name);
    if (!parents.has(path) || !directories.has(path)) continue;
    for (const entry of entriesIn(child(root, name))) {
      if (entry.name.includes("\ufffd")) return null;
      const inside = name === "" ? entry.name : `${name}/${entry.name}`;
      add(encodeName(inside), inside);
    }
  }
  return parseLines([...lines.values()].join(""));
}

/** The types, by the properties that tell them. */
const TYPES = {
  isDirectory: "directory",
  isSymlink: "symlink",
  isFile: "file",
  isCharDevice: "char",
  isBlockDevice: "block",
  isFifo: "fifo",
  isSocket: "socket",
} as const;

function formatInfo(path: string, at: string, info: Deno.FileInfo): string {
  const [, type = "file"] = Object.entries(TYPES).find(([key]) => {
    return info[key as keyof typeof TYPES];
  }) ?? [];
  return formatSeenLine(path, {
    type,
    uid: info.uid ?? 0,
    gid: info.gid ?? 0,
    mode: (info.mode ?? 0) & 0o7777,
    mtime: "0",
    size: info.size,
    link: info.isSymlink ? encodeName(attempt("read", at, () => Deno.readLinkSync(at))) : "",
  });
}

/** Converts a name to text whose characters are its bytes. */
export function encodeName(name: string): string {
  return bytesToText(new TextEncoder().encode(name));
}
