/**
 * The trees of the store: what there is, where it is, and taking it away.
 *
 * @module
 */
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { attempt, look } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { checkPermissions, isGranted } from "./grants.ts";
import { mountTable } from "./mount_table.ts";
import { child, nameOf } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { quote } from "./quote.ts";
import { DEFAULT_STORE } from "./request.ts";
import { resolveTree } from "./resolve_tree.ts";
import type { TreeRequest } from "./resolve_tree.ts";
import { storedTreeLayout, storeLayout } from "./store.ts";
import type { StoreLayout } from "./store.ts";
import { clearAway, openStore, syncDirectory, tidy } from "./store_disk.ts";
import { namesIn, readTree, wholeTrees } from "./tree_manifest.ts";
import { isBusy, usersOf } from "./tree_use.ts";
import type { TreeUser } from "./tree_use.ts";

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

/** What went, or would go. */
export interface RemovedTrees {
  /** The ids of trees. */
  readonly trees: readonly string[];
  /** The keys of layers. */
  readonly layers: readonly string[];
}

/** What a command on a store needs; to change it, pods must be looked at, wherever they are. */
export function storePermissions(
  request: StoreRequest,
  change: boolean,
): RequiredPermissions {
  const { store } = storeLayout(request.store ?? DEFAULT_STORE);
  const { rm, findmnt } = PROGRAMS;
  return { read: [store], write: change ? [store] : [], run: change ? [findmnt, rm] : [] };
}

function layoutOf(request: StoreRequest): StoreLayout {
  return storeLayout(request.store ?? DEFAULT_STORE);
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
export function listTrees(request: StoreRequest = {}): readonly ListedTree[] {
  checkPermissions("list trees", storePermissions(request, false));
  const store = layoutOf(request);
  const users = usersOf(store);
  return wholeTrees(store).map(({ id, images, layers, bytes, entries }) => ({
    id,
    images: images.flatMap(({ name }) => name ?? []),
    layers: Math.max(layers.length, 1),
    bytes,
    entries,
    pods: users.filter(({ trees }) => trees?.includes(id)).map(({ pod }) => pod),
  }));
}

/**
 * The lowers of a tree, top first: what `--lower` would be given.
 *
 * Requires `--allow-read` permission for the store.
 *
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read
 */
export function treePath(request: TreeChoice): readonly string[] {
  checkPermissions("look up a tree", storePermissions(request, false));
  const store = layoutOf(request);
  const { tree } = request;
  const common = { pod: "/", store: store.store };
  const known = wholeTrees(store).some(({ id }) => id === tree);
  const named: TreeRequest = known ? { ...common, tree } : { ...common, image: tree };
  const { lower } = resolveTree(named);
  return [lower ?? []].flat();
}

/** The id of a tree that is named by it, or by one of its images. */
function idOf({ tree }: TreeChoice, store: StoreLayout): string {
  const all = wholeTrees(store);
  const found = all.find(({ id }) => id === tree) ??
    all.find(({ images }) => images.some(({ name }) => name === tree));
  if (found !== undefined) return found.id;
  throw new OverlayError(
    "missing",
    `Cannot use tree ${quote(tree)}: there is none in ${quote(store.store)}`,
    { path: store.store, hint: "overlay-render tree list says which there are" },
  );
}

function usedError(id: string, by: string, how: string): RefusedError {
  return new RefusedError("in-use", `Cannot remove tree ${quote(id)}: ${by} uses it`, {
    path: id,
    hint: how,
  });
}

/** Refuses what a pod uses, or might. */
async function refuseUsed(id: string, users: readonly TreeUser[]): Promise<void> {
  for (const { pod, trees } of users) {
    if (trees === null || !isGranted({ name: "write", path: pod })) {
      const flags = `--allow-read=${pod} --allow-write=${pod}`;
      throw usedError(id, `it is not known whether pod ${quote(pod)}`, `add ${flags}`);
    }
    if (trees.includes(id)) {
      throw usedError(
        id,
        `pod ${quote(pod)}`,
        `collect it first: overlay-render gc --pod ${pod}`,
      );
    }
    if (await isBusy(pod)) {
      throw usedError(id, `a command that is just rendering pod ${quote(pod)}`, "try again later");
    }
  }
}

/** Refuses what is a part of a mount, whoever has made it. */
async function refuseMounted(
  id: string,
  paths: readonly string[],
  options: ChangeOptions,
): Promise<void> {
  for (const { target, options: text } of await mountTable(programOptions(options), "overlay")) {
    if (!paths.some((path) => text.includes(path))) continue;
    throw usedError(id, `the mount on ${quote(target)}`, "unmount it first");
  }
}

/** The paths by which the layers of a tree, or its directory, can be a part of a mount. */
function pathsOf(store: StoreLayout, id: string): readonly string[] {
  const layout = storedTreeLayout(store, id);
  const { layers = [], lowers = [] } = readTree(layout) ?? {};
  return [
    ...(layers.length === 0 ? [layout.rootfs] : []),
    ...layers.map((key) => child(store.layers, key)),
    ...lowers.map((link) => child(store.links, link)),
  ];
}

/**
 * Removes a tree. Its layers stay, until {@linkcode collectTrees} takes those that no tree has.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store and for the pods that were
 * rendered from it, and `--allow-run` for findmnt and rm.
 *
 * @returns The tree that is gone.
 * @throws {RefusedError} If a pod uses it, or it is a part of a mount.
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read, allow-write, allow-run
 */
export async function removeTree(
  request: TreeChoice,
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  checkPermissions("remove a tree", storePermissions(request, true));
  const store = layoutOf(request);
  using _lock = await openStore(store, options);
  const id = idOf(request, store);
  const { tree, rendered } = storedTreeLayout(store, id);
  const hidden = `${rendered}.removing`;
  const paths = pathsOf(store, id);
  // Who renders notes the pod, and then looks for this; so one of the two sees the other.
  attempt("take away", rendered, () => Deno.renameSync(rendered, hidden));
  try {
    const users = usersOf(store);
    await refuseUsed(id, users);
    const shared = new Set(wholeTrees(store).flatMap((other) => pathsOf(store, other.id)));
    await refuseMounted(id, paths.filter((path) => !shared.has(path)), options);
    options.signal?.throwIfAborted();
  } catch (error) {
    attempt("put back", rendered, () => Deno.renameSync(hidden, rendered));
    throw error;
  }
  const aside = child(store.scratch, `tree-${nameOf(tree)}`.slice(0, 255));
  attempt("remove", tree, () => Deno.renameSync(tree, aside));
  syncDirectory(store.trees);
  await clearAway([aside], options);
  return { trees: [id], layers: [] };
}

/** How the store is collected. */
export interface CollectTreesRequest extends StoreRequest {
  /** Whether it is only said what would go. @default {false} */
  readonly dryRun?: boolean;
}

/** Trees whose import did not finish, and layers that no tree has. */
function unneeded(store: StoreLayout): RemovedTrees {
  const whole = wholeTrees(store);
  const ids = new Set(whole.map(({ id }) => id));
  const needed = new Set(whole.flatMap(({ layers }) => layers));
  return {
    // One without a manifest was not made by an import, or is not finished and without its mark.
    trees: namesIn(store.trees).filter((id) => {
      return !ids.has(id) && look(storedTreeLayout(store, id).manifest) !== null;
    }),
    layers: namesIn(store.layers).filter((key) => !needed.has(key)),
  };
}

/**
 * Removes the layers that no tree has, what is left of imports that did not finish, and the notes of pods
 * that are gone.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store, and `--allow-run` for findmnt
 * and rm.
 *
 * @returns What went, or would go.
 * @throws {RefusedError} If a layer that no tree has is a part of a mount.
 *
 * @tags allow-read, allow-write, allow-run
 */
export async function collectTrees(
  request: CollectTreesRequest = {},
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  const dryRun = request.dryRun ?? false;
  checkPermissions("collect trees", storePermissions(request, !dryRun));
  const store = layoutOf(request);
  if (dryRun) return unneeded(store);
  using _lock = await openStore(store, options);
  const { trees, layers } = unneeded(store);
  const paths = [
    ...trees.map((id) => storedTreeLayout(store, id).tree),
    ...layers.map((key) => child(store.layers, key)),
  ];
  const links = linksTo(layers, store);
  await refuseMounted("that is left", [...paths, ...links], options);
  const aside = paths.map((path, at) => {
    const to = child(store.scratch, `gone-${at}`);
    attempt("remove", path, () => Deno.renameSync(path, to));
    return to;
  });
  await clearAway(aside, options);
  tidy(store);
  await forgetPods(store);
  return { trees, layers };
}

function linksTo(keys: readonly string[], { links }: StoreLayout): readonly string[] {
  const gone = new Set(keys);
  return namesIn(links).map((name) => child(links, name)).filter((path) => {
    return look(path)?.isSymlink && gone.has(nameOf(Deno.readLinkSync(path)));
  });
}

async function forgetPods(store: StoreLayout): Promise<void> {
  for (const { pod, note, trees } of usersOf(store)) {
    if (trees === null || trees.length > 0 || !isGranted({ name: "write", path: pod })) continue;
    if (!await isBusy(pod)) attempt("remove", note, () => Deno.removeSync(note));
  }
}
