/**
 * Prunes a store: removes trees that have no name and that no pod uses, and then what no tree has.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import type { Operation } from "../plan/operation.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { checkPermissions } from "../system/permissions.ts";
import { collectTrees, findUnneeded } from "./collect_trees.ts";
import { storeLayout } from "./layout.ts";
import { listTreesSync } from "./list.ts";
import type { StoreRequest } from "./list.ts";
import { planRemoval } from "./removal.ts";
import type { RemovedTrees, TreeRemovalPlan } from "./removal.ts";
import { removeTree } from "./remove_tree.ts";
import { isKnown, listCheckedUsers } from "./tree_use.ts";

/** Lists the trees that have no name and that no pod uses. */
function listNameless(request: StoreRequest): readonly string[] {
  return listTreesSync(request)
    .filter(({ images, pods }) => images.length === 0 && pods.length === 0)
    .map(({ id }) => id);
}

/**
 * Plans a pruning, see {@linkcode pruneTrees}, and changes nothing.
 *
 * Requires `--allow-read` permission for the store, and for the pods that were rendered from it.
 *
 * @throws {RefusedError} If a damaged tree may be in use.
 *
 * @tags allow-read
 */
export async function planTreePruning(request: StoreRequest = {}): Promise<TreeRemovalPlan> {
  const nameless = new Set(listNameless(request));
  const store = storeLayout(request.store);
  const removal = await findUnneeded(store, nameless);
  if (removal.paths.length === 0) return { operations: [], trees: [], layers: [], blobs: [] };
  const plan = planRemoval(removal, store);
  const pods = nameless.size === 0 ? [] : (await listCheckedUsers(store)).filter(isKnown);
  const unused = pods.map(({ pod }): Operation => ({ kind: "unused", path: pod }));
  const at = plan.operations.findIndex(({ kind }) => kind === "free");
  return { ...plan, operations: plan.operations.toSpliced(at, 0, ...unused) };
}

/**
 * Removes the trees that have no name and that no pod uses, one by one, and then all that no tree has, as
 * `collectTrees` does. A tree that turns out to be in use stays, with a warning.
 *
 * Requires the permissions that the plan of {@linkcode planTreePruning} needs.
 *
 * @returns The trees, layers and blobs that were removed.
 * @throws {RefusedError} If another user could change the store.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function pruneTrees(
  request: StoreRequest = {},
  options: ChangeOptions = {},
): Promise<RemovedTrees> {
  const plan = await planTreePruning(request);
  if (plan.operations.length === 0) return { trees: [], layers: [], blobs: [] };
  checkPermissions("prune trees", requiredPermissions(plan));
  const done: RemovedTrees[] = [];
  for (const tree of listNameless(request)) {
    try {
      done.push(await removeTree({ ...request, tree }, options));
    } catch (error) {
      if (!(error instanceof RefusedError) || error.code !== "in-use") throw error;
      options.warn?.(error.message);
    }
  }
  done.push(await collectTrees(request, options));
  return {
    trees: done.flatMap(({ trees }) => trees),
    layers: done.flatMap(({ layers }) => layers),
    blobs: done.flatMap(({ blobs }) => blobs),
  };
}
