/**
 * Collects a store: removes layers and trees that no tree and no pod needs, and blobs that no image names.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { basename, child } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { quote } from "../core/quote.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { listUnnamedBlobs } from "./kept_blobs.ts";
import { blobPath, storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { openStore, tidy } from "./open.ts";
import { asView, listNames, listWholeTrees, readLink, readWholeTrees } from "./tree_manifest.ts";
import { storePermissions } from "./list.ts";
import type { StoreRequest } from "./list.ts";
import { noteError, planRemoval, refuseMounted, takeAway, unknownError } from "./removal.ts";
import type { Removal, RemovedTrees, TreeRemovalPlan } from "./removal.ts";
import { forgetPods, isKnown, listCheckedUsers, tryReadUse } from "./tree_use.ts";

/** The request of a collection. */
export interface CollectTreesRequest extends StoreRequest {
  /** Set if nothing is removed, and the result shows what would be. @default {false} */
  readonly dryRun?: boolean;
}

/** Finds the names that pods use, which keep a layer even if the manifest of its tree is damaged. */
async function usedNames(store: StoreLayout): Promise<ReadonlySet<string>> {
  const used = new Set<string>();
  const whole = new Set(readWholeTrees(store).map(({ id }) => id));
  const damaged = listWholeTrees(store).find((id) => !whole.has(id));
  const users = await listCheckedUsers(store);
  for (const user of users) {
    const use = isKnown(user) ? tryReadUse(user, store) : null;
    if (use === null && damaged !== undefined) {
      const what = `tree ${quote(damaged)}, whose manifest is damaged`;
      throw isKnown(user) ? unknownError(what, user, { users }) : noteError(what, user);
    }
    for (const id of use?.trees ?? []) used.add(id);
    for (const lower of use?.lowers ?? []) used.add(basename(lower));
  }
  for (const link of linksIn(store)) if (used.has(link.name)) used.add(link.key);
  return used;
}

function linksIn(
  { links }: StoreLayout,
): readonly { readonly name: string; readonly key: string }[] {
  return listNames(links).flatMap((name) => {
    const to = readLink(child(links, name));
    return to === null ? [] : [{ name, key: basename(to) }];
  });
}

/**
 * Finds trees whose import did not finish, layers that no tree has, and blobs that no image names.
 *
 * @param without The ids of trees that are not needed either.
 */
export async function findUnneeded(
  store: StoreLayout,
  without: ReadonlySet<string> = new Set(),
): Promise<Removal> {
  const whole = readWholeTrees(store).filter(({ id }) => !without.has(id));
  const used = await usedNames(store);
  const ids = new Set(whole.map(({ id }) => id));
  const needed = new Set(whole.flatMap((tree) => asView(tree).layers));
  // A tree without a manifest was not imported, or is unfinished and has no marker.
  const trees = listNames(store.trees).filter((id) => {
    const isOurs = look(storedTreeLayout(store, id).manifest) !== null;
    return !ids.has(id) && !used.has(id) && isOurs;
  });
  const layers = listNames(store.layers).filter((key) => !needed.has(key) && !used.has(key));
  const gone = new Set([...trees, ...layers]);
  const links = linksIn(store).filter(({ key }) => gone.has(key)).map(({ name }) => name);
  const blobs = listUnnamedBlobs(store, without);
  const paths = [
    ...trees.map((id) => storedTreeLayout(store, id).tree),
    ...layers.map((key) => child(store.layers, key)),
    ...blobs.map((digest) => blobPath(store, digest)),
  ];
  const names = new Set([...gone, ...links]);
  return { what: "what no tree has", trees, layers, blobs, paths, names };
}

/**
 * Plans the collection of a store, see {@linkcode collectTrees}, and changes nothing. The collection also removes
 * the notes of pods that no longer use a tree, if the pods may be read.
 *
 * Requires `--allow-read` permission for the store. With `--allow-run` for findmnt, it also
 * refuses layers that are part of a mount.
 *
 * @throws {RefusedError} If an unneeded layer is part of a mount, or a damaged tree may be in use.
 *
 * @tags allow-read
 */
export async function planTreeCollection(
  request: StoreRequest = {},
  options: ChangeOptions = {},
): Promise<TreeRemovalPlan> {
  checkPermissions("collect trees", storePermissions(request, false));
  const store = storeLayout(request.store);
  const removal = await findUnneeded(store);
  if (look(store.store) === null) return { operations: [], trees: [], layers: [], blobs: [] };
  // A dry run works with read permission for the store alone.
  if (isGranted({ name: "run", command: PROGRAMS.findmnt })) {
    await refuseMounted(removal, store, options);
  }
  return planRemoval(removal, store);
}

/**
 * Removes the layers that no tree has, the blobs that no image names, the remains of unfinished imports, and the notes of pods that are
 * gone. Layers that a pod uses stay, even if the manifest of its tree is damaged.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store, `--allow-run` for find,
 * `--allow-sys=uid`, and if anything is removed, `--allow-run` for findmnt and rm: the permissions that
 * {@linkcode planTreeCollection} needs. Without `--allow-read` permission for a pod, a damaged tree that it
 * may use is an error.
 *
 * @returns The trees, layers and blobs that were removed, or would be.
 * @throws {RefusedError} If an unneeded layer is part of a mount, or another user could change the store.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function collectTrees(
  request: CollectTreesRequest = {},
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  const plan = await planTreeCollection(request, options);
  const { operations, trees, layers, blobs } = plan;
  if (request.dryRun || operations.length === 0) return { trees, layers, blobs };
  checkPermissions("collect trees", requiredPermissions(plan));
  const store = storeLayout(request.store);
  using _lock = await openStore(store, options);
  return await collect(store, options);
}

/** Collects a store that is locked. The plan is made again, since the store may have changed before the lock. */
async function collect(store: StoreLayout, options: ChangeOptions): Promise<RemovedTrees> {
  const removal = await findUnneeded(store);
  await refuseMounted(removal, store, options);
  await takeAway(removal.paths, store, options);
  tidy(store);
  for (const user of await listCheckedUsers(store)) {
    if (isKnown(user)) continue;
    options.warn?.(
      `${quote(user.note)} is no note of a pod as a render writes it; it keeps all trees`,
    );
  }
  await forgetPods(store);
  const { trees, layers, blobs } = removal;
  return { trees, layers, blobs };
}
