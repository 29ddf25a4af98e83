/**
 * Lists a directory before it is exported, and again afterwards, to see whether it was changed meanwhile.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { PROGRAMS } from "../system/programs.ts";
import { programError, run } from "../system/run.ts";
import { changedError } from "../layer/archive.ts";
import { loadHash } from "../system/hash.ts";
import { bytesToText } from "../tar/tar_entry.ts";

/** An entry of a directory. */
export interface Listed {
  /** The path in the directory, as bytes; empty for the directory itself. */
  readonly path: string;
  /** The type, by the letter of find(1). */
  readonly type: string;
  /** The size in bytes. */
  readonly size: number;
}

/** The entries of a directory at one moment. */
export interface Listing {
  /**
   * The entries: each directory before what is in it, and in it devices first, since whiteouts should precede
   * the other entries; names in the order of their bytes.
   */
  readonly entries: readonly Listed[];
  /** A digest of all that shows a change, such as inodes and times. */
  readonly stamp: string;
}

/**
 * Lists the entries of a directory, and not those of other file systems in it.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} If find cannot read a directory.
 */
export async function listDirectory(root: string, options: Reporter): Promise<Listing> {
  const { text, stamp } = await readListing(root, options);
  return { stamp, entries: sortEntries([...parseEntries(text)]) };
}

/** Reads the text of find(1), and hashes it: an unchanged directory is listed in the same order again. */
async function readListing(
  root: string,
  options: Reporter,
): Promise<{ readonly text: string; readonly stamp: string }> {
  const hash = (await loadHash())("sha256");
  const decode = (bytes: Uint8Array) => {
    hash.update(bytes);
    return bytesToText(bytes);
  };
  const args = [root, "-xdev", "-printf", "%y %s %C@ %i %m %U %G %P\\0"];
  const how = { ...programOptions(options), decode, buffered: true, cwd: "/" };
  const result = await run(PROGRAMS.find, args, how);
  if (result.status === 0) return { text: result.stdout, stamp: hash.digest("hex") };
  if (/No such file/.test(result.stderr)) throw changedError(root, result.stderr);
  const hint = "run as a user who may read all of it, such as root";
  throw programError(result, "read", root, { hint });
}

/** Parses the text one entry after the other: an array of all lines would take much memory. */
function* parseEntries(text: string): Generator<Listed> {
  const field = /(.) (\d+) \S+ \d+ \d+ \d+ \d+ ([^\0]*)\0/gys;
  for (const [, type = "", size, path = ""] of text.matchAll(field)) {
    yield { path, type, size: Number(size) };
  }
}

/** Sorts entries by keys in which each name follows a NUL and its rank. */
function sortEntries(entries: readonly Listed[]): readonly Listed[] {
  const keyed = entries.map((entry) => ({ entry, key: formatKey(entry) }));
  return keyed.sort((a, b) => a.key < b.key ? -1 : 1).map(({ entry }) => entry);
}

function formatKey({ path, type }: Listed): string {
  if (path === "") return "";
  const key = `\0\x02${path.replaceAll("/", "\0\x02")}`;
  const last = key.lastIndexOf("\0");
  return type === "c" ? `${key.slice(0, last)}\0\x01${key.slice(last + 2)}` : key;
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
  before: Listing,
  options: Reporter,
): Promise<void> {
  const { stamp } = await readListing(root, options);
  if (stamp !== before.stamp) throw changedError(root, "something in it is new, gone or other");
}
