/**
 * The image that an app was rendered from, as the base of one that is committed.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { layerType, readManifest } from "../image/manifest.ts";
import type { ComposedLayer } from "../image/compose_image.ts";
import type { Descriptor } from "../image/manifest.ts";
import { readLayer, readTree } from "../store/tree_manifest.ts";
import type { LayerRecord, StoredImage, TreeManifest } from "../store/tree_manifest.ts";
import { storedTreeLayout } from "../store/layout.ts";
import type { StoreLayout } from "../store/layout.ts";
import { ifAny } from "../system/disk.ts";

/** A layer of the base, which the store has. */
export interface BaseLayer extends ComposedLayer {
  /** Its record. */
  readonly record: LayerRecord;
}

/** The base of an image that is committed. */
export interface CommitBase {
  /** The image; `null` if the tree belongs to none. */
  readonly image: StoredImage | null;
  /** Set if the tree is mounted with `userxattr`. */
  readonly userxattr: boolean | undefined;
  /** Its layers, the lowest first. */
  readonly layers: readonly BaseLayer[];
}

/** A base without an image: an image that is committed on it must be squashed. */
const NO_BASE: CommitBase = { image: null, userxattr: undefined, layers: [] };

/**
 * Finds the image of a tree. Of several images with the same layers, the first one is taken.
 *
 * Requires `--allow-read` permission for the store.
 *
 * @param squash Set if its layers are not needed.
 * @throws {InvalidValueError} If they are needed, and the tree has none.
 */
export function findBase(store: StoreLayout, id: string, squash: boolean): CommitBase {
  const tree = ifAny(() => readTree(storedTreeLayout(store, id)));
  if (tree === null) return squash ? NO_BASE : refuse(id, store);
  const [image = null] = tree.images;
  if (squash) return { image, userxattr: tree.userxattr, layers: [] };
  const layers = readLayers(tree, image, store);
  if (layers === null) return refuse(id, store);
  return { image, userxattr: tree.userxattr, layers };
}

function refuse(id: string, { store }: StoreLayout): never {
  const message = `Cannot commit on tree ${quote(id)}: it is no image of the store ${quote(store)}`;
  throw new InvalidValueError("usage", message, {
    hint: "make an image of one layer: --squash; or name the store: --store DIR",
  });
}

function readLayers(
  tree: TreeManifest,
  image: StoredImage | null,
  store: StoreLayout,
): readonly BaseLayer[] | null {
  const records = tree.layers.toReversed().map((key) => readLayer(store, key));
  const whole = records.filter((record) => record !== null);
  if (whole.length === 0 || whole.length < records.length) return null;
  const described = image?.manifest === undefined ? null : readManifest(image.manifest).layers;
  // An image without layers is a tree of one empty layer.
  if (described?.length === 0) return [];
  return whole.map((record, at) => {
    const descriptor = described?.[at] ?? describe(record);
    return { record, descriptor, diffId: record.diffId, path: null };
  });
}

/** Describes the archive that a layer was unpacked from. Without a manifest, only its bytes would tell more. */
function describe({ archive, diffId }: LayerRecord): Descriptor {
  const { digest, size } = archive;
  return { mediaType: layerType(digest === diffId ? "none" : "gzip"), digest, size };
}
