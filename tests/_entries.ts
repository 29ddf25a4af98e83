/**
 * A directory entry by entry, with all that an image can say of one, so that what two programs made of
 * the same image can be compared.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { archiveDirectory } from "../lib/layer/archive.ts";
import { pathInLayer } from "../lib/tar/entry_name.ts";
import { showPath } from "../lib/tar/mtree.ts";
import { textToBytes } from "../lib/tar/tar_entry.ts";
import type { TarEntry } from "../lib/tar/tar_entry.ts";
import { TarReader } from "../lib/tar/tar_reader.ts";

/** Attributes that say how a directory is mounted or where it lies, and not what is in it. */
const NOT_CONTENT = /^(trusted\.overlay\.|security\.selinux$)/;

function wordsOf(path: string, entry: TarEntry, digest: string): string {
  const { type, mode, uid, gid, size, mtime, link, device, attributes } = entry;
  const kept = [...attributes].filter(([name]) => !NOT_CONTENT.test(name));
  const words = [
    type,
    // The mode of a link means nothing.
    ...(type === "symlink" ? [] : [`mode=${mode.toString(8).padStart(4, "0")}`]),
    `owner=${uid}:${gid}`,
    // Each way of mounting has a root of its own, made when it was mounted.
    ...(path === "" ? [] : [`mtime=${mtime}`]),
    ...(type === "file" ? [`size=${size}`, `sha256=${digest}`] : []),
    ...(type === "symlink" ? [`link=${showPath(link)}`] : []),
    ...(type === "char" || type === "block" ? [`device=${device.join(":")}`] : []),
    ...kept.map(([name, value]) => `${name}=0x${textToBytes(value).toHex()}`).sort(),
  ];
  return words.join(" ");
}

/**
 * What is in a directory: by path, type, mode, owner, time to the nanosecond, size and digest of the
 * content, where a link leads, device numbers, extended attributes, and the other names of the same file.
 */
export async function entriesOf(directory: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const groups = new Map<string, string[]>();
  let end = () => {};
  let hash = createHash("sha256");
  const reader = new TarReader({
    entry: (entry) => {
      const path = pathInLayer(entry.name);
      end = () => {};
      if (entry.type === "hardlink") {
        const first = pathInLayer(entry.link);
        groups.set(first, [...groups.get(first) ?? [first], path]);
        return;
      }
      hash = createHash("sha256");
      end = () => void found.set(path, wordsOf(path, entry, hash.digest("hex")));
    },
    data: (bytes) => void hash.update(bytes),
    end: () => end(),
  });
  for await (const piece of archiveDirectory(directory)) reader.push(piece);
  reader.end();
  for (const [first, names] of groups) {
    const words = `${found.get(first)} names=${names.map(showPath).sort().join(" ")}`;
    for (const name of names) found.set(name, words);
  }
  return new Map([...found].map(([path, words]) => [showPath(path), words] as const).sort());
}

/** Where two listings differ, a line for each side. */
export function entryDifferences(
  is: ReadonlyMap<string, string>,
  must: ReadonlyMap<string, string>,
): string[] {
  const paths = [...new Set([...is.keys(), ...must.keys()])].sort();
  return paths.filter((path) => is.get(path) !== must.get(path)).flatMap((path) => {
    return [`is   ${path} ${is.get(path) ?? "-"}`, `must ${path} ${must.get(path) ?? "-"}`];
  });
}
