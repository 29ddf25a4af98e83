/**
 * The trees of the store: what there is, and where it is.
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

/** Which store. */
export interface StoreRequest {
  /** The tree store. @default {"/var/lib/overlay-render"} */
  readonly store?: string;
}

/** Which tree of a store. */
export interface TreeChoice extends StoreRequest {
  /** The tree id, or the name of an image. */
  readonly tree: string;
}

/** A tree of the store. */
export interface ListedTree {
  /** The tree id. */
  readonly id: string;
  /** The names of the images that have its layers. */
  readonly images: readonly string[];
  /** How many layers it has. */
  readonly layers: number;
  /** How many bytes its files have together; layers that are shared count in each tree. */
  readonly bytes: number;
  /** How many entries it has. */
  readonly entries: number;
  /** The pods that use it, be they mounted or not. */
  readonly pods: readonly string[];
}

/** The permissions of a command on a store; one that changes it looks at pods, wherever they are. */
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
 * Lists the trees of a store that are whole.
 *
 * Requires `--allow-read` permission for the store, and for the pods that use it: of others it is not
 * known which tree they use.
 *
 * @throws {MissingPermissionError} If the store may not be read.
 * @throws {OverlayError} If something in it is not as it was written.
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
 * The lowers of a tree, top first: what `--lower` would be given. The first may be a layer that holds
 * nothing but the root, where no layer on top says what that is like.
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
