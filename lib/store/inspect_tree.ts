/**
 * Describes an image of the store: its config, its layers and its history.
 *
 * @module
 */
import { checkPermissions } from "../system/permissions.ts";
import { storeLayout } from "./layout.ts";
import { storePermissions } from "./list.ts";
import type { TreeChoice } from "./list.ts";
import { chooseImage, findTree, readLayer } from "./tree_manifest.ts";
import type { StoredImage } from "./tree_manifest.ts";

/** A layer of an image. */
export interface InspectedLayer {
  /** Its key in the store. */
  readonly key: string;
  /** The digest of its archive without compression. */
  readonly diffId: string;
  /** The digest of its blob. */
  readonly digest: string;
  /** The size of its blob, in bytes. */
  readonly size: number;
  /** The number of its entries. */
  readonly entries: number;
}

/** An image of the store. */
export interface InspectedTree {
  /** The tree id. */
  readonly id: string;
  /** All names of its images. */
  readonly images: readonly string[];
  /** The digest of the manifest of this image; `null` if it has none. */
  readonly digest: string | null;
  /** The full reference that it was pulled from; `null` for other images. */
  readonly source: string | null;
  /** Its config (OCI image specification, "Image Configuration"); `null` if it has none. */
  readonly config: Readonly<Record<string, unknown>> | null;
  /** Its layers, the lowest first; none for a tree of one directory. */
  readonly layers: readonly InspectedLayer[];
}

/**
 * Describes an image.
 *
 * Requires `--allow-read` permission for the store.
 *
 * @throws {OverlayError} If there is no such tree.
 *
 * @tags allow-read
 */
export function inspectTreeSync(request: TreeChoice): InspectedTree {
  checkPermissions("inspect an image", storePermissions(request, false));
  const store = storeLayout(request.store);
  const tree = findTree(store, request.tree);
  const image = chooseImage(tree, request.tree);
  const layers = tree.layers.toReversed().flatMap((key) => readLayer(store, key) ?? []);
  return {
    id: tree.id,
    images: tree.images.flatMap(({ name }) => name ?? []),
    digest: image?.digest ?? null,
    source: image?.source?.reference ?? null,
    config: parseConfig(image),
    layers: layers.map(({ key, diffId, archive, entries }) => ({
      key,
      diffId,
      ...archive,
      entries,
    })),
  };
}

/** Parses a config, which was checked when it was imported. */
function parseConfig(image: StoredImage | undefined): InspectedTree["config"] {
  const config = image?.config ?? null;
  return config === null ? null : JSON.parse(config);
}
