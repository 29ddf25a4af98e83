/**
 * Resolves a tree id or the name of an image to the lowers of its tree.
 *
 * @module
 */
import { ifAny, look } from "../system/disk.ts";
import { InvalidValueError, MissingPermissionError, OverlayError } from "../core/errors.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { child } from "../core/path.ts";
import type { PodApp, PodRequest, RenderRequest } from "../request/options.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { withResolved } from "../request/resolved.ts";
import { hasUserxattr, withUserxattr } from "../request/mount_option.ts";
import { namesLowers } from "../request/request.ts";
import { defaults } from "../request/layout.ts";
import { storedTreeLayout, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import {
  asView,
  findByName,
  findByPrefix,
  findLostLinks,
  noTreeError,
  readLayer,
  readTree,
  readWholeTrees,
} from "./tree_manifest.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { errorWithin } from "../core/invalid.ts";

/** The part of a request that names a tree, an image or lowers. */
export type TreeRequest = Pick<
  RenderRequest,
  "pod" | "store" | "tree" | "image" | "lower" | "options" | "readOnly" | "overlay"
>;

function checkMayRead({ store }: StoreLayout, what: string): void {
  checkPermissions(`look ${what} up`, { read: [store], write: [], run: [] });
}

/** Finds the tree of an image. */
function findImageTree(store: StoreLayout, image: string): TreeManifest {
  checkMayRead(store, "an image");
  const all = readWholeTrees(store);
  const found = findByName(all, image);
  if (found !== undefined) return found;
  const names = all.flatMap(({ images }) => images.flatMap(({ name }) => name ?? []));
  const where = store.store === defaults().store ? "" : ` --store ${shellQuote(store.store)}`;
  const isUnnamed = all.some(({ images }) => images.every(({ name }) => name === null));
  const tag = isUnnamed
    ? `, or name a tree: overlay-render tree tag ID ${shellQuote(image)}${where}`
    : "";
  const others = names.length === 0 ? "" : `; there are ${names.map(quote).join(", ")}`;
  throw new OverlayError(
    "missing",
    `Cannot use image ${quote(image)}: there is none of that name in ${quote(store.store)}`,
    {
      path: store.store,
      hint: `pull it: overlay-render tree pull ${shellQuote(image)}${where}${tag}${others}`,
    },
  );
}

/**
 * Finds the lowers of a tree of the store, and the options that its render needs. A request that names lowers
 * is returned unchanged; so is one with a tree without a manifest, which is a directory
 * `<store>/tree/<tree id>/rootfs`.
 *
 * Requires `--allow-read` permission for the store. Without it, a tree id not made by an import is
 * taken for such a directory.
 *
 * @param request The request of a render.
 * @returns The request with its lowers.
 * @throws {InvalidValueError} If it names an image and a tree or lowers.
 * @throws {MissingPermissionError} If it names an image or a tree that was imported, and the store may not
 * be read.
 * @throws {OverlayError} If there is no such image, or the tree is incomplete.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { planRender } from "@overlay/render";
 * import { importTree, resolveTreeSync } from "@overlay/render/tree";
 *
 * const dir = await Deno.makeTempDir();
 * const store = `${dir}/store`;
 * await Deno.mkdir(`${dir}/image`);
 * await importTree({ source: `${dir}/image`, store, name: "mine" });
 *
 * const plan = planRender(resolveTreeSync({ image: "mine", store, pod: `${dir}/pod` }));
 * assert(plan.mounts[0].lower[0]?.startsWith(`${store}/tree/deps-sha512-`));
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read
 */
export function resolveTreeSync<T extends TreeRequest>(request: T): T {
  const { image, tree } = request;
  if (namesLowers(request)) return request;
  if (image !== undefined) refuseOther(image, request);
  const store = storeLayout(request.store);
  const found = image !== undefined
    ? findImageTree(store, image)
    : tree === undefined
    ? null
    : readManifest(store, tree);
  if (found !== null) return withTree(request, found, store);
  if (tree !== undefined) checkThere(tree, store);
  return request;
}

/** Checks that a tree exists that was made by hand, as a directory without a manifest. */
function checkThere(tree: string, store: StoreLayout): void {
  const { rootfs: path } = storedTreeLayout(store, tree);
  if (!isGranted({ name: "read", path }) || look(path) !== null) return;
  throw noTreeError(store, tree);
}

function refuseOther(image: string, { lower, tree }: TreeRequest): void {
  const isOther = namesLowers({ ...(lower === undefined ? {} : { lower }) });
  if (!isOther && tree === undefined) return;
  const other = isOther ? "a lower" : "a tree";
  throw new InvalidValueError(
    "usage",
    `Cannot use image ${quote(image)}: ${other} is given too`,
    { hint: "leave one of them out" },
  );
}

/** The tree ids that an import makes, and their begins; other trees are directories that were made by hand. */
const IMPORTED = /^deps-sha512-[0-9a-f]{4,64}$/;

function readManifest(store: StoreLayout, tree: string): TreeManifest | null {
  if (IMPORTED.test(tree)) checkMayRead(store, "a tree");
  if (!isGranted({ name: "read", path: store.store })) return null;
  const exact = storedTreeLayout(store, tree);
  const id = look(exact.tree) === null ? findByPrefix(store, tree) : undefined;
  const layout = id === undefined ? exact : storedTreeLayout(store, id);
  const manifest = ifAny(() => readTree(layout));
  if (manifest === null || look(layout.rendered) !== null) return manifest;
  throw new OverlayError("bad-store", `Cannot use tree ${quote(tree)}: its import did not finish`, {
    path: layout.tree,
    hint: "import the image again",
  });
}

/**
 * Checks the class of attributes: with `userxattr`, overlayfs ignores the trusted attributes of opaque
 * directories, so that hidden files would be visible.
 */
function checkMarks({ id, layers }: TreeManifest, store: StoreLayout): void {
  const marked = layers.some((key) => {
    const layer = ifAny(() => readLayer(store, key));
    return layer !== null && layer.opaque > 0 && layer.attributes === "trusted";
  });
  if (!marked) return;
  throw new InvalidValueError(
    "conflicting-options",
    `Cannot use tree ${
      quote(id)
    } with userxattr: it has directories that would not hide any more ` +
      "what is below them",
    { hint: "leave userxattr out, or import the image again with --userxattr" },
  );
}

/** Checks that the directories exist that a render of the tree needs; it makes no slower check. */
function checkLayers(tree: TreeManifest, store: StoreLayout): void {
  const { id, layers, lowers } = tree;
  // For a tree with one lower, the layer itself is mounted.
  const lost = lowers.length > 1 ? findLostLinks(tree, store) : [];
  for (const { path, what } of lost) throw unfitError(id, path, what);
  for (const key of layers) {
    const layer = child(store.layers, key);
    if (look(layer) === null) throw unfitError(id, layer, "is gone");
  }
}

function unfitError(id: string, path: string, what: string): OverlayError {
  const message = `Cannot use tree ${quote(id)}: ${quote(path)} ${what}`;
  return new OverlayError("bad-store", message, { path, hint: "import the image again" });
}

function withTree<T extends TreeRequest>(request: T, of: TreeManifest, store: StoreLayout): T {
  const tree = request.readOnly === true ? asView(of) : of;
  const { id, lowers, layers, rootLike, userxattr } = tree;
  const layout = storedTreeLayout(store, id);
  const [only] = layers;
  const lower = lowers.map((link) => child(store.links, link));
  const one = lowers.length === 1 && only !== undefined;
  if (hasUserxattr(request.options) && !userxattr) checkMarks(tree, store);
  checkLayers(tree, store);
  const found = {
    ...(userxattr ? withUserxattr(request, lowers.length) : request),
    tree: id,
    lower: layers.length === 0 ? [layout.rootfs] : one ? [child(store.layers, only)] : lower,
  };
  return withResolved(found, {
    stored: {
      ...(rootLike === null ? {} : { rootLike: child(store.links, rootLike) }),
      store: store.store,
      notes: store.pods,
      rendered: layout.rendered,
    },
  });
}

/** Finds the lowers for all apps of a pod that name none, see {@linkcode resolveTreeSync}. */
export function resolvePodSync(request: PodRequest): PodRequest {
  const { pod, store } = request;
  const common = { pod, ...(store === undefined ? {} : { store }) };
  const apps = request.apps.map((app, at): PodApp => {
    try {
      const { pod: _, store: __, ...resolved } = resolveTreeSync({ ...common, ...app });
      return resolved;
    } catch (error) {
      if (!(error instanceof OverlayError) || error instanceof MissingPermissionError) throw error;
      throw errorWithin(`use apps[${at}]`, error);
    }
  });
  return { ...request, apps };
}
