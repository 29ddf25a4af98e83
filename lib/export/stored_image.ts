/**
 * Writes images of the store, whose blobs are kept, into OCI image layouts.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { OverlayError } from "../core/errors.ts";
import type { Image } from "../image/image.ts";
import type { Descriptor } from "../image/manifest.ts";
import { blobPath } from "../store/layout.ts";
import type { StoreLayout } from "../store/layout.ts";
import { chooseImage, findTree } from "../store/tree_manifest.ts";
import { look } from "../system/disk.ts";
import { openLayout, writeLayout } from "./oci_layout.ts";
import type { FindBlob, LayoutImage, LayoutTarget } from "./oci_layout.ts";

/** Makes a function that finds the blobs which a store keeps. */
export function findIn(store: StoreLayout): FindBlob {
  return (digest) => {
    const path = blobPath(store, digest);
    return look(path)?.isFile ? path : null;
  };
}

/**
 * Returns the documents of an image.
 *
 * @throws {OverlayError} If it has no manifest.
 */
export function documents(
  { manifest, config }: Pick<Image, "manifest" | "config">,
): LayoutImage {
  if (manifest !== undefined && config !== null) return { manifest, config };
  throw new OverlayError("failed", "Cannot write the image: it has no manifest", {
    hint: "import it again with --keep-blobs",
  });
}

/**
 * Writes an image of the store, whose blobs are kept, into a layout.
 *
 * @throws {OverlayError} If there is no such image, or a layer is not at hand.
 */
export async function writeStoredImage(
  name: string,
  store: StoreLayout,
  target: LayoutTarget,
  options: ChangeOptions,
): Promise<Descriptor> {
  using _lock = await openLayout(target, options);
  const { manifest, config = null } = chooseImage(findTree(store, name), name) ?? {};
  return await writeLayout(
    target,
    documents({ ...(manifest === undefined ? {} : { manifest }), config }),
    findIn(store),
  );
}
