/**
 * The records of the store: of its layers, and of its trees.
 *
 * @module
 */
import { attempt, entriesIn, look } from "../system/disk.ts";
import { readOwnFile } from "../system/own_file.ts";
import { OverlayError } from "../core/errors.ts";
import type { ImageSource } from "../image/image.ts";
import type { AttributeClass, LayerSummary } from "../layer/layer_policy.ts";
import { child } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { DEFAULT_STORE } from "../request/layout.ts";
import { expandName } from "../image/reference.ts";
import { formatLinkTarget, storedTreeLayout } from "./layout.ts";
import type { StoredTreeLayout, StoreLayout } from "./layout.ts";

/** The record of a layer. */
export interface LayerRecord extends LayerSummary {
  /** The form of this record. */
  readonly version: 1;
  /** The name of the layer's directory. */
  readonly key: string;
  /** The digest of its archive without compression. */
  readonly diffId: string;
  /** The short name. */
  readonly link: string;
  /** How many attributes could not be set. @default {0} */
  readonly unset?: number;
  /** In which attributes its opaque directories are marked. */
  readonly attributes: AttributeClass;
  /**
   * What stands for the layers below, where its directories take after theirs or it removes something;
   * otherwise `null`: then it can lie on any.
   */
  readonly below: string | null;
  /** The archive it was unpacked from, by which it is known again when nobody says its diff id. */
  readonly archive: { readonly size: number; readonly digest: string };
  /** The SHA-256 of the lines of its entries. */
  readonly lines: string;
}

/** An image that a tree was imported from. */
export interface StoredImage {
  /** Its name, by which `--image` finds it; `null` when it has none. */
  readonly name: string | null;
  /** The digest of its manifest, or of its config; `null` of a mere archive. */
  readonly digest: string | null;
  /** Its config: environment, command and so on, the JSON as it came; `null` of a mere archive. */
  readonly config: string | null;
  /** Where it was pulled from. @default {not from a registry} */
  readonly source?: ImageSource;
}

/** The parts of a tree. */
export interface TreeManifest {
  /** The form of this manifest. */
  readonly version: 1;
  /** The tree id. */
  readonly id: string;
  /** The keys of its layers, top first; empty of a tree of one directory. */
  readonly layers: readonly string[];
  /** The short names of the layers that a render needs, top first: none below one that hides all. */
  readonly lowers: readonly string[];
  /** The short name of the layer that says what the root is like; `null` when it is the first. */
  readonly rootLike: string | null;
  /**
   * The layer that holds nothing but that root, which a view has on top of the others. It is none of the
   * image's. @default {none, as in trees of older versions}
   */
  readonly root?: { readonly key: string; readonly link: string };
  /** Set if it must be mounted with `userxattr`. */
  readonly userxattr: boolean;
  /** The bytes that its files have together. */
  readonly bytes: number;
  /** How many entries it has. */
  readonly entries: number;
  /** Of a tree of one directory, the SHA-256 of the lines of its entries; otherwise `null`. */
  readonly lines: string | null;
  /** The images that have these layers. */
  readonly images: readonly StoredImage[];
}

/** Writes something down. */
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

/** Reads what is known of a layer; `null` when nothing is. */
export function readLayer(store: StoreLayout, key: string): LayerRecord | null {
  return read(child(store.records, `${key}.json`));
}

/** Reads what a tree consists of; `null` when there is no such tree, or it has no manifest. */
export function readTree(tree: StoredTreeLayout): TreeManifest | null {
  return read(tree.manifest);
}

/** The names in a directory of the store; none when it is not there. */
export function listNames(directory: string): readonly string[] {
  return entriesIn(directory).map(({ name }) => name).sort();
}

/** Where a link leads, as it is written in it; `null` when there is none. */
export function readLink(path: string): string | null {
  return look(path)?.isSymlink ? attempt("read", path, () => Deno.readLinkSync(path)) : null;
}

/** The tree as a read-only view has it, with all its layers: the one with the root on top, if there is one. */
export function asView(tree: TreeManifest): TreeManifest {
  const { root } = tree;
  if (root === undefined) return tree;
  // Overlayfs takes no directory twice. Such a layer of the image holds nothing that could hide another one.
  const layers = [root.key, ...tree.layers.filter((key) => key !== root.key)];
  return {
    ...tree,
    layers,
    lowers: [root.link, ...tree.lowers.filter((link) => link !== root.link)],
  };
}

/** A link of a tree that does not lead to its layer. */
export interface LostLink {
  /** The layer's key. */
  readonly layer: string;
  /** The link. */
  readonly path: string;
  /** The fault, as the predicate of a sentence. */
  readonly what: string;
}

/** The links that the renders of a tree name its layers by, as far as they do not lead there. */
export function* findLostLinks(
  { layers, lowers, rootLike }: TreeManifest,
  store: StoreLayout,
): Generator<LostLink> {
  // An import makes one link for all places of a layer.
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

/** Reads a record; `null` where it is damaged: an import writes it again, and must not fail of it. */
export function ifSound<T>(read: () => T | null): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof OverlayError && error.code === "bad-store") return null;
    throw error;
  }
}

/** Tells whether a tree has its `rendered` marker, and so is whole. */
export function isWhole(tree: StoredTreeLayout): boolean {
  return readOwnFile(tree.rendered) !== null;
}

/** The ids of all trees that have the mark that they are whole. */
export function listWholeTrees(store: StoreLayout): readonly string[] {
  return listNames(store.trees).filter((id) => isWhole(storedTreeLayout(store, id)));
}

/** The manifests of all trees that are whole; what is damaged is not. */
export function readWholeTrees(store: StoreLayout): readonly TreeManifest[] {
  return listWholeTrees(store).flatMap((id) => {
    return ifSound(() => readTree(storedTreeLayout(store, id))) ?? [];
  });
}

/** The tree of an image's name, be it written in short or in full; `undefined` when there is none. */
export function findByName(
  trees: readonly TreeManifest[],
  wanted: string,
): TreeManifest | undefined {
  const having = (has: (name: string) => boolean) => {
    return trees.find(({ images }) => images.some(({ name }) => name !== null && has(name)));
  };
  return having((name) => name === wanted) ??
    having((name) => expandName(name) === expandName(wanted));
}

/**
 * The tree of an id, or of the name of an image.
 *
 * @throws {OverlayError} If there is none, or what was written down of it is damaged.
 */
export function findTree(store: StoreLayout, tree: string): TreeManifest {
  const all = readWholeTrees(store);
  const found = all.find(({ id }) => id === tree) ?? findByName(all, tree);
  if (found !== undefined) return found;
  // Says what is wrong with it.
  if (listWholeTrees(store).includes(tree)) readTree(storedTreeLayout(store, tree));
  throw noTreeError(store, tree);
}

/** The error of a tree that is not there. */
export function noTreeError(store: StoreLayout, tree: string): OverlayError {
  const where = store.store === DEFAULT_STORE ? "" : ` --store ${shellQuote(store.store)}`;
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
