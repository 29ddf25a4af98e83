/**
 * The tree store: images as trees that can be rendered. A tree is a stack of layers, each unpacked once,
 * verified by its digests, and stored in the form of overlayfs.
 *
 * @example Import an image, render it, and take it away again
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay } from "@overlay/render";
 * import { importTree, removeTree } from "@overlay/render/tree";
 *
 * const dir = await Deno.makeTempDir();
 * const store = `${dir}/store`;
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the image");
 * await importTree({ source: `${dir}/image`, store, name: "mine" });
 * {
 *   await using app = await renderOverlay({
 *     image: "mine",
 *     store,
 *     pod: `${dir}/pod`,
 *     options: ["userxattr"], // works without root too, in a user namespace
 *   });
 *   assert(await Deno.readTextFile(`${app.rootfs}/hello`) === "from the image");
 * }
 * await Deno.remove(`${dir}/pod`, { recursive: true });
 * await removeTree({ tree: "mine", store });
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @module
 */
export { importPermissions, importTree } from "./import_tree.ts";
export type { ImportedTree, ImportOptions } from "./import_options.ts";
export type { ImportRequest, Strippable } from "./import_request.ts";
export type { SourceOptions } from "./import_source.ts";
export type { ImportProgress } from "./stage_layer.ts";
export type { Blob } from "../image/blob.ts";
export type { Unpacked } from "../layer/unpack.ts";
export type { LayerNeeds } from "../layer/layer_paths.ts";
export type { LayerSummary } from "../layer/layer_policy.ts";
export { pullPermissions, pullTree } from "./pull_tree.ts";
export type { PullOptions, PullRequest } from "./pull_tree.ts";
export { pushPermissions, pushTree } from "./push_tree.ts";
export type {
  PushedImage,
  PushedLayer,
  PushOptions,
  PushProgress,
  PushRequest,
} from "./push_tree.ts";
export type { AccessOptions, RegistryRequest } from "./registry_access.ts";
export type { Fetch } from "../registry/http.ts";
export { resolvePodSync, resolveTreeSync } from "./resolve_tree.ts";
export type { TreeRequest } from "./resolve_tree.ts";
export { listTreesSync, storePermissions, treePathSync } from "./list.ts";
export type { ListedTree, StoreRequest, TreeChoice } from "./list.ts";
export { collectTrees, planTreeCollection } from "./collect_trees.ts";
export { planTreePruning, pruneTrees } from "./prune_trees.ts";
export { planTreeRemoval, removeTree } from "./remove_tree.ts";
export type { CollectTreesRequest } from "./collect_trees.ts";
export type { RemovedTrees, TreeRemovalPlan } from "./removal.ts";
export { checkTreePermissions, checkTrees } from "./tree_check.ts";
export type { CheckedTree, CheckRequest, TreeDifference } from "./tree_check.ts";
export { inspectTreeSync } from "./inspect_tree.ts";
export type { InspectedLayer, InspectedTree } from "./inspect_tree.ts";
export { tagPermissions, tagTree, untagTree } from "./tag_tree.ts";
export type { TaggedTree, TagRequest, UntagRequest } from "./tag_tree.ts";
