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
import { ENTRY_FORMAT, SortedEntries } from "./sorted_entries.ts";

/** The entries of a directory at one moment. */
export interface Listing {
  /** The entries, in the order of a layer. */
  readonly entries: SortedEntries;
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
  let printed: Uint8Array = new Uint8Array();
  const stamp = await readStamp(root, options, (bytes) => printed = bytes);
  return { stamp, entries: new SortedEntries(printed) };
}

/** Hashes the entries that find(1) prints: an unchanged directory is listed in the same order again. */
async function readStamp(
  root: string,
  options: Reporter,
  take: (bytes: Uint8Array) => void = () => {},
): Promise<string> {
  const hash = (await loadHash())("sha256");
  const decode = (bytes: Uint8Array) => {
    hash.update(bytes);
    take(bytes);
    return "";
  };
  const how = { ...programOptions(options), decode, buffered: true, cwd: "/" };
  const result = await run(PROGRAMS.find, [root, "-xdev", "-printf", ENTRY_FORMAT], how);
  if (result.status === 0) return hash.digest("hex");
  if (/No such file/.test(result.stderr)) throw changedError(root, result.stderr);
  const hint = "run as a user who may read all of it, such as root";
  throw programError(result, "read", root, { hint });
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
  const stamp = await readStamp(root, options);
  if (stamp !== before.stamp) throw changedError(root, "something in it is new, gone or other");
}
