/**
 * Looks up paths in the lowers of an app: in the records of the layers of a store, and in other directories
 * on the disk. The time depends on the number of paths.
 *
 * @module
 */
import { attempt, look } from "../system/disk.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { findBelow, isWhiteout, LayerLines } from "../layer/layer_lines.ts";
import { listQuickly } from "../layer/quick_listing.ts";
import type { Entries } from "../layer/quick_listing.ts";
import { listSome } from "../layer/some_listing.ts";
import { listWithContents } from "../layer/list_contents.ts";
import type { LowerView } from "../layer/upper_changes.ts";
import { mayBeSame } from "../layer/upper_entry.ts";
import { parseSomeLines } from "../tar/mtree.ts";
import type { WantedLines } from "../tar/mtree.ts";
import { directoryAbove } from "../tar/entry_name.ts";
import { basename, child, parent } from "../core/path.ts";
import { readLink } from "./tree_manifest.ts";

/** The paths that are looked up in lowers. */
export interface LowerQuery extends WantedLines {
  /** The records with which those of the lowers are compared. */
  readonly upper: Entries;
}

/** The tree ids that an import makes; other trees are directories that were made by hand. */
const IMPORTED = /^deps-sha512-[0-9a-f]{64}$/;

/** Returns the store that a lower of a tree lies in; `null` if the tree was not imported. */
function storeOf(lower: string, tree: string): string | null {
  if (!IMPORTED.test(tree)) return null;
  const above = parent(lower);
  if (basename(lower) === "rootfs") return parent(parent(above));
  return ["layer", "l"].includes(basename(above)) ? parent(above) : null;
}

/** Lists the directories that must be readable to look up paths in the lowers of a tree. */
export function lowerPaths(lowers: readonly string[], tree: string): readonly string[] {
  return [...new Set(lowers.map((lower) => storeOf(lower, tree) ?? lower))];
}

/** Finds the record of a lower that an import unpacked; `null` for another directory. */
function findRecord(lower: string, tree: string): string | null {
  const store = storeOf(lower, tree);
  if (store === null) return null;
  const key = basename(readLink(lower) ?? lower);
  const record = key === "rootfs"
    ? child(parent(lower), "mtree")
    : child(store, "record", `${key}.mtree`);
  return look(record)?.isFile ? record : null;
}

/** A lower, and the text of its record; `null` if it has none. */
interface ReadLower {
  readonly lower: string;
  readonly text: string | null;
}

/** The lowers of an app, top first, with their records. */
export type ReadLowers = readonly ReadLower[];

/** Reads the records of the lowers of an app, see {@linkcode viewLowers}. */
export function readLowers(
  { lower: lowers, tree }: { readonly lower: readonly string[]; readonly tree: string },
): ReadLowers {
  return lowers.map((lower) => {
    const record = findRecord(lower, tree);
    const read = (path: string) => attempt("read", path, () => Deno.readTextFileSync(path));
    return { lower, text: record === null ? null : read(record) };
  });
}

/**
 * Looks up paths in the lowers of an app.
 *
 * Requires `--allow-read` permission for `lowerPaths`, and `--allow-run` for tar and find, if a lower has no
 * record in a store.
 *
 * @param lowers The lowers, see {@linkcode readLowers}.
 * @throws {OverlayError} If one cannot be read.
 */
export async function viewLowers(
  lowers: ReadLowers,
  query: LowerQuery,
  options: Pick<ChangeOptions, "trace" | "signal">,
): Promise<LowerView> {
  const all: Entries[] = [];
  for (const { lower, text } of lowers) {
    all.push(
      text === null ? await readDirectory(lower, query, options) : parseSomeLines(text, query),
    );
  }
  return joinLowers(all, query);
}

function joinLowers(all: readonly Entries[], { parents = new Set() }: LowerQuery): LowerView {
  const layers = all.map((entries) => new LayerLines(() => entries));
  const inside = new Map([...parents].map((directory) => [directory, new Set<string>()]));
  for (const path of parents.size === 0 ? [] : all.flatMap((entries) => [...entries.keys()])) {
    if (path !== "") inside.get(directoryAbove(path))?.add(path);
  }
  return {
    get: (path) => {
      const found = findBelow(path, layers);
      return found === undefined || isWhiteout(found) ? undefined : found;
    },
    list: (directory) => [...inside.get(directory) ?? []],
  };
}

/**
 * Reads records from a directory. Only tar knows attributes and device numbers, and only the content of a file
 * that may equal that of the upper is read.
 */
async function readDirectory(
  lower: string,
  query: LowerQuery,
  options: Pick<ChangeOptions, "trace" | "signal">,
): Promise<Entries> {
  const seen = listSome(lower, query) ?? chooseLines(await listQuickly(lower, options), query);
  const only = [...seen].filter(([path, record]) => {
    const other = query.upper.get(path);
    const isSpecial = /^(dir|char|block)$/.test(record.get("type") ?? "");
    return isSpecial || (other !== undefined && mayBeSame(record, other));
  }).map(([path]) => path);
  if (only.length === 0) return seen;
  return new Map([...seen, ...await listWithContents(lower, { ...options, only })]);
}

/** Chooses the lines that are asked for. */
function chooseLines(all: Entries, { paths, parents = new Set() }: LowerQuery): Entries {
  return new Map([...all].filter(([path]) => {
    return paths.has(path) || (path !== "" && parents.has(directoryAbove(path)));
  }));
}
