/**
 * Lists the trees of the store and their paths.
 *
 * @module
 */
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { resolveTreeSync } from "./resolve_tree.ts";
import type { TreeRequest } from "./resolve_tree.ts";
import { storeLayout } from "./layout.ts";
import { findTree, readWholeTrees } from "./tree_manifest.ts";
import { isKnown, listUsers, tryReadUse } from "./tree_use.ts";

/** The choice of a store. */
export interface StoreRequest {
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
}

/** The choice of a tree in a store. */
export interface TreeChoice extends StoreRequest {
  /** The tree id, its first digits, at least 4, or the name of an image. */
  readonly tree: string;
}

/** A tree of the store. */
export interface ListedTree {
  /** The tree id. */
  readonly id: string;
  /** The names of the images that have its layers. */
  readonly images: readonly string[];
  /** The number of its layers. */
  readonly layers: number;
  /** The size of its files in bytes; shared layers count in each tree. */
  readonly bytes: number;
  /** The number of its entries. */
  readonly entries: number;
  /** The pods that use it, mounted or not. */
  readonly pods: readonly string[];
}

/** Computes the permissions of a command on a store. A command that changes it also reads pods, anywhere. */
export function storePermissions(
  request: StoreRequest,
  change: boolean,
): RequiredPermissions {
  const { store } = storeLayout(request.store);
  const { rm, findmnt } = PROGRAMS;
  return {
    read: [store],
    write: change ? [store] : [],
    ...(change ? { run: [findmnt, rm, ...TRUST.run], sys: TRUST.sys } : { run: [] }),
  };
}

/**
 * Lists the complete trees of a store.
 *
 * Requires `--allow-read` permission for the store, and for the pods that use it. Pods that may not be read
 * are not listed with their trees.
 *
 * @throws {MissingPermissionError} If the store may not be read.
 * @throws {OverlayError} If a manifest in it is damaged.
 *
 * @tags allow-read
 */
export function listTreesSync(request: StoreRequest = {}): readonly ListedTree[] {
  checkPermissions("list trees", storePermissions(request, false));
  const store = storeLayout(request.store);
  const uses = listUsers(store).filter(isKnown).map((user) => ({
    pod: user.pod,
    use: tryReadUse(user, store),
  }));
  return readWholeTrees(store).map(({ id, images, layers, bytes, entries }) => ({
    id,
    images: images.flatMap(({ name }) => name ?? []),
    layers: Math.max(layers.length, 1),
    bytes,
    entries,
    pods: uses.filter(({ use }) => use?.trees.includes(id)).map(({ pod }) => pod),
  }));
}

/**
 * Returns the lowers of a tree, top first, as for `--lower`. The first may be a layer that holds only the root
 * directory, if the top layer of the image has no entry for it.
 *
 * Requires `--allow-read` permission for the store.
 *
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read
 */
export function treePathSync(request: TreeChoice): readonly string[] {
  checkPermissions("find a tree", storePermissions(request, false));
  const store = storeLayout(request.store);
  const { id } = findTree(store, request.tree);
  const named: TreeRequest = { pod: "/", store: store.store, tree: id, readOnly: true };
  return [resolveTreeSync(named).lower ?? []].flat();
}
