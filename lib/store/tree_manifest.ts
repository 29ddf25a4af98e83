/**
 * The records of the layers and the trees of a store.
 *
 * @module
 */
import { attempt, entriesIn, look } from "../system/disk.ts";
import { readOwnFile } from "../system/own_file.ts";
import { InvalidValueError, OverlayError } from "../core/errors.ts";
import type { ImageSource } from "../image/image.ts";
import type { ImageManifest } from "../image/manifest.ts";
import type { AttributeClass, LayerSummary } from "../layer/layer_policy.ts";
import { child } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { defaults } from "../request/layout.ts";
import { expandName, splitReference } from "../image/reference.ts";
import type { ReferenceParts } from "../image/reference.ts";
import { formatLinkTarget, storedTreeLayout } from "./layout.ts";
import type { StoredTreeLayout, StoreLayout } from "./layout.ts";

/** The record of a layer. */
export interface LayerRecord extends LayerSummary {
  /** The version of the format. */
  readonly version: 1;
  /** The name of the layer's directory. */
  readonly key: string;
  /** The digest of its archive without compression. */
  readonly diffId: string;
  /** The short name of its symlink. */
  readonly link: string;
  /** The number of attributes that could not be set. @default {0} */
  readonly unset?: number;
  /** The class of attributes of its opaque directories. */
  readonly attributes: AttributeClass;
  /**
   * The hash of the layers below, if the layer inherits metadata from them or removes entries of them;
   * otherwise `null`: it fits on any layers.
   */
  readonly below: string | null;
  /** The archive it was unpacked from, which identifies the layer if its diff id is not given. */
  readonly archive: { readonly size: number; readonly digest: string };
  /** The SHA-256 of the lines of its entries. */
  readonly lines: string;
}

/** An image that a tree was imported from. */
export interface StoredImage {
  /** Its name for `--image`; `null` if it has none. */
  readonly name: string | null;
  /** The digest of its manifest, or of its config; `null` for a plain archive. */
  readonly digest: string | null;
  /** Its config with environment and command, as the original JSON; `null` for a plain archive. */
  readonly config: string | null;
  /** The registry it was pulled from. @default {none} */
  readonly source?: ImageSource;
  /** Its manifest. @default {none, for a directory, or an archive whose blobs are not kept} */
  readonly manifest?: ImageManifest;
  /** The digests of its blobs that are kept in the store. @default {none} */
  readonly blobs?: readonly string[];
  /** The repositories that it was pushed to, such as `ghcr.io/owner/name`. @default {none} */
  readonly pushed?: readonly string[];
}

/** The manifest of a tree. */
export interface TreeManifest {
  /** The version of the format. */
  readonly version: 1;
  /** The tree id. */
  readonly id: string;
  /** The keys of its layers, top first; empty for a tree of one directory. */
  readonly layers: readonly string[];
  /** The short names of the layers that a render needs, top first, without those below an opaque root. */
  readonly lowers: readonly string[];
  /** The short name of the layer with the metadata of the root; `null` for the first. */
  readonly rootLike: string | null;
  /**
   * The layer that holds only that root, which a view has on top of the layers of the image. @default {none,
   * as in trees of older versions}
   */
  readonly root?: { readonly key: string; readonly link: string };
  /** Set if it must be mounted with `userxattr`. */
  readonly userxattr: boolean;
  /** The size of its files, in bytes. */
  readonly bytes: number;
  /** The number of its entries. */
  readonly entries: number;
  /** The SHA-256 of the lines of the entries of a tree of one directory; otherwise `null`. */
  readonly lines: string | null;
  /** The images that have these layers. */
  readonly images: readonly StoredImage[];
}

/** Formats a record as JSON. */
export function formatRecord(record: LayerRecord | TreeManifest): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${JSON.stringify(record, null, 2)}\n`);
}

function read<T extends LayerRecord | TreeManifest>(path: string): T | null {
  const content = readOwnFile(path);
  if (content === null) return null;
  try {
    const value = JSON.parse(new TextDecoder().decode(content));
    if (value?.version === 1 && Array.isArray(value.images ?? [])) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new OverlayError("bad-store", `Cannot read ${quote(path)}: it is not as it was written`, {
    path,
    hint: "import the image again",
  });
}

/** Reads the record of a layer; `null` if there is none. */
export function readLayer(store: StoreLayout, key: string): LayerRecord | null {
  return read(child(store.records, `${key}.json`));
}

/** Reads the manifest of a tree; `null` if there is no such tree, or it has no manifest. */
export function readTree(tree: StoredTreeLayout): TreeManifest | null {
  return read(tree.manifest);
}

/** Lists the names in a directory of the store; none if it does not exist. */
export function listNames(directory: string): readonly string[] {
  return entriesIn(directory).map(({ name }) => name).sort();
}

/** Reads the target of a symlink; `null` if there is none. */
export function readLink(path: string): string | null {
  return look(path)?.isSymlink ? attempt("read", path, () => Deno.readLinkSync(path)) : null;
}

/** Returns the tree for a read-only view, with all its layers and the root layer, if any, on top. */
export function asView(tree: TreeManifest): TreeManifest {
  const { root } = tree;
  if (root === undefined) return tree;
  // Overlayfs refuses a directory twice. If the image has the same layer, it holds no other entry.
  const layers = [root.key, ...tree.layers.filter((key) => key !== root.key)];
  return {
    ...tree,
    layers,
    lowers: [root.link, ...tree.lowers.filter((link) => link !== root.link)],
  };
}

/** A symlink of a tree that does not lead to its layer. */
export interface LostLink {
  /** The layer's key. */
  readonly layer: string;
  /** The link. */
  readonly path: string;
  /** The fault, as the predicate of a sentence. */
  readonly what: string;
}

/** Finds the symlinks of a tree, used by its renders, that do not lead to their layers. */
export function* findLostLinks(
  { layers, lowers, rootLike }: TreeManifest,
  store: StoreLayout,
): Generator<LostLink> {
  // An import makes one symlink for a layer, however often the tree has it.
  const keys = [...new Set(layers)];
  const wanted = lowers.map((link, at) => [link, keys.slice(at, at + 1)] as const);
  if (rootLike !== null) wanted.push([rootLike, keys]);
  for (const [link, of] of wanted) {
    const path = child(store.links, link);
    const to = readLink(path);
    if (to !== null && of.some((key) => to === formatLinkTarget(key))) continue;
    yield { layer: of[0] ?? "", path, what: to === null ? "is gone" : `leads to ${quote(to)}` };
  }
}

/** Reads a record; `null` if it is damaged, since an import writes it again. */
export function ifSound<T>(read: () => T | null): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof OverlayError && error.code === "bad-store") return null;
    throw error;
  }
}

/** Tells whether a tree has its `rendered` marker and is thus complete. */
export function isWhole(tree: StoredTreeLayout): boolean {
  return readOwnFile(tree.rendered) !== null;
}

/** Lists the ids of all trees with the `rendered` marker. */
export function listWholeTrees(store: StoreLayout): readonly string[] {
  return listNames(store.trees).filter((id) => isWhole(storedTreeLayout(store, id)));
}

/** Reads the manifests of all complete trees; damaged ones are left out. */
export function readWholeTrees(store: StoreLayout): readonly TreeManifest[] {
  return listWholeTrees(store).flatMap((id) => {
    return ifSound(() => readTree(storedTreeLayout(store, id))) ?? [];
  });
}

/** Tells whether a reference with a digest names an image; the digest decides, whatever the tag. */
function hasDigest({ name, digest, source }: StoredImage, wanted: ReferenceParts): boolean {
  if (wanted.digest === null) return false;
  if (wanted.digest !== digest && wanted.digest !== source?.digest) return false;
  return [name, source?.reference].some((one) => {
    const { registry, path } = splitReference(one ?? "");
    return registry === wanted.registry && path === wanted.path;
  });
}

/** Finds the tree of an image by its name or its reference; `undefined` if there is none. */
export function findByName(
  trees: readonly TreeManifest[],
  wanted: string,
): TreeManifest | undefined {
  const having = (is: (image: StoredImage) => boolean) =>
    trees.find(({ images }) => images.some(is));
  const reference = wanted.replace(/^docker:\/\//, "");
  const [full, parts] = [expandName(reference), splitReference(reference)];
  return having(({ name }) => name === wanted) ??
    having(({ name }) => name !== null && expandName(name) === full) ??
    having((image) => hasDigest(image, parts));
}

/** The begin of the id of each tree that was imported. */
const IMPORTED = "deps-sha512-";

/** The form of a part of an id that stands for all of it: its first digits, at least 4. */
const SHORT_ID = new RegExp(`^(?:${IMPORTED})?([0-9a-f]{4,64})$`);

/**
 * Finds the tree whose id begins in this way; `undefined` if there is none.
 *
 * @throws {InvalidValueError} If there are several.
 */
export function findByPrefix(store: StoreLayout, tree: string): string | undefined {
  const [, digits] = SHORT_ID.exec(tree) ?? [];
  if (digits === undefined) return undefined;
  const ids = listWholeTrees(store).filter((id) => id.startsWith(IMPORTED + digits));
  if (ids.length < 2) return ids[0];
  const message = `Cannot use tree ${quote(tree)}: ${ids.length} trees begin so`;
  throw new InvalidValueError("invalid-value", message, { hint: `they are ${ids.join(", ")}` });
}

/**
 * Finds a tree by its id, the name of its image, or the first digits of its id.
 *
 * @throws {InvalidValueError} If the ids of several trees begin in this way.
 * @throws {OverlayError} If there is none, or its manifest is damaged.
 */
export function findTree(store: StoreLayout, tree: string): TreeManifest {
  const all = readWholeTrees(store);
  const found = all.find(({ id }) => id === tree) ?? findByName(all, tree);
  if (found !== undefined) return found;
  const id = listWholeTrees(store).includes(tree) ? tree : findByPrefix(store, tree);
  // A damaged manifest is an error of its own.
  const read = id === undefined ? null : readTree(storedTreeLayout(store, id));
  if (read !== null) return read;
  throw noTreeError(store, tree);
}

/** Makes the error for a missing tree. */
export function noTreeError(store: StoreLayout, tree: string): OverlayError {
  const where = store.store === defaults().store ? "" : ` --store ${shellQuote(store.store)}`;
  return new OverlayError(
    "missing",
    `Cannot use tree ${quote(tree)}: there is none in ${quote(store.store)}`,
    { path: store.store, hint: `overlay-render tree list${where} says which there are` },
  );
}

/** Reads the records of all layers. */
export function readAllLayers(store: StoreLayout): readonly LayerRecord[] {
  return listNames(store.layers).flatMap((key) => ifSound(() => readLayer(store, key)) ?? []);
}

/** Returns the image of a tree that has a name; the first one of a tree that is named by its id. */
export function chooseImage({ images }: TreeManifest, wanted: string): StoredImage | undefined {
  const isCalled = ({ name }: StoredImage) => {
    return name !== null && (name === wanted || expandName(name) === expandName(wanted));
  };
  return images.find(isCalled) ?? images[0];
}
