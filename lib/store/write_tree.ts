/**
 * Writes the manifest of a tree whose layers or directory are in the store.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { hexDigest } from "../core/digest.ts";
import { makeDirectory } from "../system/directory.ts";
import { makeFile, readOwnFile, replaceFile } from "../system/own_file.ts";
import { quote } from "../core/quote.ts";
import { expandName } from "../image/reference.ts";
import { storedTreeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { syncDirectory } from "./open.ts";
import { formatRecord, ifSound, isWhole, readTree, readWholeTrees } from "./tree_manifest.ts";
import type { LayerRecord, StoredImage, TreeManifest } from "./tree_manifest.ts";

/** Computes the tree id of layers, top first, by rkt's rule for the dependencies of an image. */
export async function computeTreeId(keys: readonly string[]): Promise<string> {
  const content = new TextEncoder().encode(keys.join(","));
  const digest = await hexDigest("SHA-512", content);
  return `deps-sha512-${digest.slice(0, digest.length / 2)}`;
}

/** Makes the manifest of a tree of layers. */
export async function makeManifest(lowestFirst: readonly LayerRecord[]): Promise<TreeManifest> {
  const all = lowestFirst.toReversed();
  const hidden = all.findIndex(({ opaqueRoot }) => opaqueRoot);
  const seen = hidden < 0 ? all : all.slice(0, hidden + 1);
  const layers = all.map(({ key }) => key);
  const unique = [...new Map(all.map((record) => [record.key, record])).values()];
  // An opaque root has no effect on the metadata of the root itself.
  const like = all.find(({ hasRoot }) => hasRoot) ?? seen[0];
  return {
    version: 1,
    id: await computeTreeId(layers),
    layers,
    lowers: seen.map(({ link }) => link).filter((link, at, links) => links.indexOf(link) === at),
    rootLike: like === seen[0] ? null : like?.link ?? null,
    userxattr: all.some(({ attributes }) => attributes === "user"),
    bytes: sum(unique.map(({ bytes }) => bytes)),
    entries: sum(unique.map(({ entries }) => entries)),
    lines: null,
    images: [],
  };
}

/** Adds the root layer to the manifest of a tree. */
export function withRoot(manifest: TreeManifest, { key, link }: LayerRecord): TreeManifest {
  return { ...manifest, root: { key, link } };
}

/**
 * Makes the manifest of a tree of one directory.
 *
 * @param lines The SHA-256 of the lines of its entries.
 */
export function directoryManifest(
  tree: Pick<TreeManifest, "id" | "userxattr" | "bytes" | "entries">,
  lines: string,
): TreeManifest {
  const none = { layers: [], lowers: [], rootLike: null };
  return { version: 1, ...none, ...tree, lines, images: [] };
}

/** Adds up numbers. */
export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** Takes a name from the trees of images that had it before, with a warning, since a name is unique. */
function takeName(
  store: StoreLayout,
  { id }: TreeManifest,
  name: string,
  { warn }: Pick<ChangeOptions, "warn">,
): void {
  for (const tree of readWholeTrees(store)) {
    const images = tree.images.filter((image) => !isCalled(image, name));
    if (tree.id === id || images.length === tree.images.length) continue;
    const { manifest } = storedTreeLayout(store, tree.id);
    replaceFile(manifest, formatRecord({ ...tree, images }), 0o600);
    warn?.(`the name ${quote(name)} was that of the tree ${tree.id}, which has lost it`);
  }
}

/** Tells whether an image has a name, in its short or full form. */
function isCalled({ name: is }: StoredImage, name: string): boolean {
  return is !== null && expandName(is) === expandName(name);
}

/**
 * Writes the manifest of a tree whose layers or directory are in place; the `rendered` marker is written
 * last.
 */
export async function writeTree(
  store: StoreLayout,
  manifest: TreeManifest,
  { image, options }: { readonly image: StoredImage; readonly options: ChangeOptions },
): Promise<void> {
  const tree = storedTreeLayout(store, manifest.id);
  const before = isWhole(tree) ? ifSound(() => readTree(tree))?.images ?? [] : [];
  const others = before.filter((one) => {
    if (one.name === null) return one.digest !== image.digest;
    return image.name === null || !isCalled(one, image.name);
  });
  const images = [...others, image];
  makeDirectory(tree.tree, 0o700);
  const content = formatRecord({ ...manifest, images });
  if (!sameBytes(readOwnFile(tree.manifest), content)) replaceFile(tree.manifest, content, 0o600);
  options.checkpoint?.("manifest");
  if (!isWhole(tree)) {
    // Also the files that a killed import has put in place.
    const { layers, links, records, trees } = store;
    for (const path of [layers, links, records, tree.tree, trees]) syncDirectory(path);
    await makeFile(tree.rendered, new Uint8Array(), 0o600);
    options.checkpoint?.("rendered");
    syncDirectory(tree.tree);
  }
  // Last, so that the name can be found at any time.
  if (image.name !== null) takeName(store, manifest, image.name, options);
}

function sameBytes(a: Uint8Array | null, b: Uint8Array): boolean {
  return a?.length === b.length && a.every((byte, at) => byte === b[at]);
}
