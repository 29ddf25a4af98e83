/**
 * Plans removals from the store, and the steps that removing a tree and collecting a store share. A removal is
 * planned first, and applied by renames under the lock of the store: the tree store has its own small
 * interpreter.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt } from "../system/disk.ts";
import { RefusedError } from "../core/errors.ts";
import type { OverlayError } from "../core/errors.ts";
import { isGranted, permissionFlags } from "../system/permissions.ts";
import { child, isWithin } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { Operation } from "../plan/operation.ts";
import type { StoreLayout } from "./layout.ts";
import { clearAway, listScratch, STORE_MODE, syncDirectory } from "./open.ts";
import { findMount, findUnreadable, isKnown } from "./tree_use.ts";
import type { KnownUser, TreeUser } from "./tree_use.ts";

/** The trees and layers that are removed. */
export interface RemovedTrees {
  /** The ids of trees. */
  readonly trees: readonly string[];
  /** The keys of layers. */
  readonly layers: readonly string[];
  /** The digests of blobs. */
  readonly blobs: readonly string[];
}

/** The plan of a removal from the store. Safe as JSON. */
export interface TreeRemovalPlan extends RemovedTrees {
  /** The operations, in the order in which they are applied. */
  readonly operations: readonly Operation[];
}

/** A removal from the store. */
export interface Removal extends RemovedTrees {
  /** A description for messages. */
  readonly what: string;
  /** The directories, and the files of the blobs. */
  readonly paths: readonly string[];
  /** The names under which its directories can be part of a mount. */
  readonly names: ReadonlySet<string>;
}

/** Plans a removal. */
export function planRemoval(
  { trees, layers, blobs, paths }: Removal,
  store: StoreLayout,
): TreeRemovalPlan {
  const removed = [...listScratch(store), ...paths];
  const operations: Operation[] = [
    { kind: "trust", path: store.store },
    {
      kind: "directory",
      path: store.store,
      mode: STORE_MODE,
      ownerLike: null,
      force: false,
      guarded: true,
    },
    { kind: "lock", path: store.lock },
    ...paths.filter((path) => !isWithin(path, store.blobs))
      .map((path): Operation => ({ kind: "free", path })),
    ...removed.map((path): Operation => ({ kind: "remove", path })),
  ];
  return { operations, trees, layers, blobs };
}

/** Makes the error for a tree or layer in use. */
export function usedError(what: string, by: string, hint: string): RefusedError {
  return new RefusedError("in-use", `Cannot remove ${what}: ${by}`, { hint });
}

/** Makes the error for a note that may be that of any pod. */
export function noteError(what: string, { note }: TreeUser): RefusedError {
  const by = `${
    quote(note)
  } is no note of a pod as a render writes it, and may be of one that uses it`;
  return usedError(what, by, `when no pod uses it: rm ${shellQuote(note)}`);
}

/** Makes the error for a pod that may use any tree. */
export function unknownError(
  what: string,
  { pod }: KnownUser,
  { users, cause }: { readonly users: readonly TreeUser[]; readonly cause?: OverlayError },
): RefusedError {
  const known = users.filter(isKnown);
  const read = known.flatMap((user) => findUnreadable(user) ?? []);
  const write = known.map((user) => user.pod).filter((path) => !isGranted({ name: "write", path }));
  const flags = permissionFlags({ read, write, run: [] }).map(shellQuote);
  const hint = flags.length === 0
    ? `see what is wrong with it: overlay-render status --pod ${shellQuote(pod)}`
    : `add ${flags.join(" ")} to the flags of deno run`;
  const why = cause === undefined ? "" : ` (${cause.message})`;
  return usedError(what, `it is not known whether pod ${quote(pod)} uses it${why}`, hint);
}

/** Refuses a removal if one of its directories is part of a mount, whoever made the mount. */
export async function refuseMounted(
  { what, names }: Removal,
  store: StoreLayout,
  options: ChangeOptions,
): Promise<void> {
  if (names.size === 0) return;
  const target = await findMount(names, store, programOptions(options));
  if (target === null) return;
  throw usedError(what, `the mount on ${quote(target)} uses it`, "unmount it first");
}

/** Renames directories and files into the scratch directory of the store, and removes them there. */
export async function takeAway(
  paths: readonly string[],
  store: StoreLayout,
  options: ChangeOptions,
): Promise<void> {
  const aside = paths.map((path, at) => {
    const to = child(store.scratch, `gone-${at}`);
    attempt("remove", path, () => Deno.renameSync(path, to));
    return to;
  });
  // After a power cut, a partly removed directory must not be back in its place.
  for (const path of [store.trees, store.layers]) syncDirectory(path);
  await clearAway(aside, options);
}
