/**
 * The changes of an app: the entries of its upper, compared with its lowers.
 *
 * Pure. A path is bytes: each character is one byte.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { AttributeClass } from "./layer_policy.ts";
import { isWhiteout } from "./layer_lines.ts";
import { isFuseMark, isFuseOpaque, isOpaque, isSameEntry } from "./upper_entry.ts";
import type { Entries } from "./quick_listing.ts";
import type { Keywords } from "../tar/mtree.ts";
import { directoryAbove } from "../tar/entry_name.ts";

/** The kind of a change: added, changed or deleted. */
export type ChangeKind = "A" | "C" | "D";

/** A change of one path. */
export interface EntryChange {
  /** The kind. */
  readonly kind: ChangeKind;
  /** The path, as bytes, without a slash at its start. */
  readonly path: string;
  /** The record of the entry; for one that was deleted, that of the lowers. */
  readonly record: Keywords;
}

/** The lowers of an app, seen as one. */
export interface LowerView {
  /** Finds the record of a path; `undefined` if the lowers have none. */
  readonly get: (path: string) => Keywords | undefined;
  /** Lists the paths directly in a directory; known for the directories that were asked for. */
  readonly list: (directory: string) => readonly string[];
}

/**
 * Lists the directories of an upper that do not merge with those of the lowers, since they are opaque or lie
 * in an opaque directory.
 */
export function listHidden(upper: Entries, attributes: AttributeClass): ReadonlySet<string> {
  const hidden = new Set<string>();
  const directories = [...upper].filter(([, record]) => record.get("type") === "dir");
  for (const [path, record] of directories.sort(([a], [b]) => a < b ? -1 : 1)) {
    const isIn = path !== "" && hidden.has(directoryAbove(path));
    if (isIn || isOpaque(record, attributes)) hidden.add(path);
  }
  return hidden;
}

/**
 * Compares an upper with the lowers. The root itself is left out: a render gives it mode and owner.
 *
 * @returns The changes, in the order of the bytes of their paths.
 */
export function compareUpper(
  upper: Entries,
  lower: LowerView,
  attributes: AttributeClass,
): readonly EntryChange[] {
  const changes = [...upper].flatMap(([path, record]): EntryChange[] => {
    if (isFuseMark(path) && isFuseOpaque(upper.get(directoryAbove(path)))) return [];
    const below = path === "" ? record : lower.get(path);
    if (isWhiteout(record)) return below === undefined ? [] : [{ kind: "D", path, record: below }];
    if (below === undefined) return [{ kind: "A", path, record }];
    return isSameEntry(record, below, attributes) ? [] : [{ kind: "C", path, record }];
  });
  for (const directory of listHidden(upper, attributes)) {
    if (lower.get(directory)?.get("type") !== "dir") continue;
    for (const path of lower.list(directory)) {
      const record = upper.has(path) ? undefined : lower.get(path);
      if (record !== undefined) changes.push({ kind: "D", path, record });
    }
  }
  return sortByPath(changes);
}

/** Adds the directories above changes, as changed, which did not change themselves. */
export function withParents(
  changes: readonly EntryChange[],
  upper: Entries,
): readonly EntryChange[] {
  const known = new Map(changes.map((change) => [change.path, change]));
  for (const { path } of changes) {
    for (let at = directoryAbove(path); at !== "" && !known.has(at); at = directoryAbove(at)) {
      const record = upper.get(at);
      if (record !== undefined) known.set(at, { kind: "C", path: at, record });
    }
  }
  return sortByPath([...known.values()]);
}

function sortByPath(changes: readonly EntryChange[]): readonly EntryChange[] {
  return changes.toSorted((a, b) => a.path < b.path ? -1 : 1);
}
