/**
 * Removes trees from the store.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { Operation } from "../plan/operation.ts";
import { listTreeBlobs, listUnnamedBlobs } from "./kept_blobs.ts";
import { blobPath, storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { openStore } from "./open.ts";
import { asView, findTree, readWholeTrees } from "./tree_manifest.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { storePermissions } from "./list.ts";
import type { TreeChoice } from "./list.ts";
import {
  noteError,
  planRemoval,
  refuseMounted,
  takeAway,
  unknownError,
  usedError,
} from "./removal.ts";
import type { Removal, RemovedTrees, TreeRemovalPlan } from "./removal.ts";
import { findUnreadable, isKnown, listCheckedUsers, readPresentUse } from "./tree_use.ts";
import type { KnownUser, TreeUser } from "./tree_use.ts";

/** Refuses a tree that a pod uses, or may use. With `dryRun`, no pod is locked to check it. */
async function refuseUsed(id: string, store: StoreLayout, dryRun = false): Promise<void> {
  const what = `tree ${quote(id)}`;
  const users = await listCheckedUsers(store);
  for (const user of users) {
    if (!isKnown(user)) throw noteError(what, user);
    await refuseUsedBy(user, { id, store, users, dryRun });
  }
}

async function refuseUsedBy(
  user: KnownUser,
  { id, store, users, dryRun }: {
    readonly id: string;
    readonly store: StoreLayout;
    readonly users: readonly TreeUser[];
    readonly dryRun: boolean;
  },
): Promise<void> {
  const what = `tree ${quote(id)}`;
  const path = user.pod;
  const mayLock = dryRun || isGranted({ name: "write", path });
  const isOpen = mayLock && findUnreadable(user) === null;
  if (!isOpen) throw unknownError(what, user, { users });
  const use = await readPresentUse(user, store, dryRun).catch((error: unknown) => {
    if (!(error instanceof OverlayError)) throw error;
    throw unknownError(what, user, { users, cause: error });
  });
  if (use.trees.includes(id)) {
    const hint = `collect it first: overlay-render gc --pod ${shellQuote(path)}`;
    throw usedError(what, `pod ${quote(path)} uses it`, hint);
  }
  if (!use.busy) return;
  const by = `a command that is just rendering pod ${quote(path)} may use it`;
  throw usedError(what, by, "try again later");
}

/** Lists the names under which a tree or its layers can be part of a mount. */
function namesOf(tree: TreeManifest): readonly string[] {
  const { id, layers, lowers } = asView(tree);
  return [id, ...layers, ...lowers];
}

/** Makes the removal of a tree, with the blobs of its images alone. Layers stay, since other trees may share them. */
function removalOf(tree: TreeManifest, store: StoreLayout): Removal {
  const others = readWholeTrees(store).filter(({ id }) => id !== tree.id);
  const shared = new Set(others.flatMap(namesOf));
  const own = listTreeBlobs(tree);
  const blobs = listUnnamedBlobs(store, new Set([tree.id])).filter((digest) =>
    own.includes(digest)
  );
  return {
    what: `tree ${quote(tree.id)}`,
    trees: [tree.id],
    layers: [],
    blobs,
    paths: [
      storedTreeLayout(store, tree.id).tree,
      ...blobs.map((digest) => blobPath(store, digest)),
    ],
    names: new Set(namesOf(tree).filter((name) => !shared.has(name))),
  };
}

/**
 * Plans the removal of a tree, see {@linkcode removeTree}, and changes nothing.
 *
 * Requires `--allow-read` permission for the store and for the pods that were rendered from it,
 * `--allow-run` for findmnt and find, and `--allow-sys=uid`.
 *
 * @throws {RefusedError} If a pod uses it, or it is part of a mount.
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function planTreeRemoval(
  request: TreeChoice,
  options: ChangeOptions = {},
): Promise<TreeRemovalPlan> {
  checkPermissions("remove a tree", { ...storePermissions(request, true), write: [] });
  const store = storeLayout(request.store);
  const removal = removalOf(findTree(store, request.tree), store);
  await refuseUsed(removal.trees.join(), store, true);
  await refuseMounted(removal, store, options);
  const plan = planRemoval(removal, store);
  const pods = (await listCheckedUsers(store)).filter(isKnown);
  const unused = pods.map(({ pod }): Operation => ({ kind: "unused", path: pod }));
  const at = plan.operations.findIndex(({ kind }) => kind === "free");
  return { ...plan, operations: plan.operations.toSpliced(at, 0, ...unused) };
}

/**
 * Removes a tree, and the blobs that only its images have. Its layers stay until {@linkcode collectTrees} removes
 * those that no tree has.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store and for the pods that were
 * rendered from it, `--allow-run` for findmnt, find and rm, and `--allow-sys=uid`.
 *
 * @returns The tree that was removed.
 * @throws {RefusedError} If a pod uses it, it is part of a mount, or another user could change the store.
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function removeTree(
  request: TreeChoice,
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  checkPermissions("remove a tree", storePermissions(request, true));
  const store = storeLayout(request.store);
  // Fails before a missing store would be made.
  findTree(store, request.tree);
  using _lock = await openStore(store, options);
  const removal = removalOf(findTree(store, request.tree), store);
  const { trees, layers, blobs, paths } = removal;
  const id = trees.join();
  const { rendered, removing } = storedTreeLayout(store, id);
  // Checked again under the lock, since pods may have been rendered meanwhile.
  await refuseUsed(id, store);
  // A render notes its pod and then checks this marker, so that one of the two sees the other.
  attempt("take away", rendered, () => Deno.renameSync(rendered, removing));
  try {
    await refuseUsed(id, store);
    await refuseMounted(removal, store, options);
    options.signal?.throwIfAborted();
  } catch (error) {
    attempt("put back", rendered, () => Deno.renameSync(removing, rendered));
    throw error;
  }
  await takeAway(paths, store, options);
  return { trees, layers, blobs };
}
