/**
 * Keeps the original blobs of an image in the store: `blob/<algorithm>/<hexadecimal>`.
 *
 * A blob is written into the scratch directory, verified, synced and renamed into place.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { child, parent } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { readBeginning } from "../image/blob.ts";
import type { Blob } from "../image/blob.ts";
import { readFile } from "../image/file_part.ts";
import { detectCompression } from "../image/compression.ts";
import type { Compression } from "../image/compression.ts";
import type { Image } from "../image/image.ts";
import { describeBytes, formatManifest, layerType, OCI_TYPES } from "../image/manifest.ts";
import type { Descriptor, ImageManifest } from "../image/manifest.ts";
import { getOwnPlatform } from "../image/platform.ts";
import { makeDirectory } from "../system/directory.ts";
import { attempt, look } from "../system/disk.ts";
import { hashFileLike } from "../system/hash_file.ts";
import { createNew, writeAll, writeScratch } from "../system/own_file.ts";
import type { ImportOptions } from "./import_options.ts";
import { blobPath } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import { STORE_MODE, syncDirectory } from "./open.ts";

/**
 * Makes a keeper of the blobs of an image; `null`, with a warning, if no registry accepts its layers.
 */
export async function keepBlobs(
  image: Image,
  store: StoreLayout,
  options: ImportOptions,
): Promise<BlobKeeper | null> {
  const [first] = image.layers;
  if (image.manifest === undefined && first !== undefined && await detectBlob(first) === "xz") {
    options.warn?.("no blobs are kept: registries accept no layer that is compressed by xz");
    return null;
  }
  return new BlobKeeper(image, store, options);
}

/** The size of each read, in bytes. */
const READ = 1 << 20;

async function detectBlob(blob: Blob): Promise<Compression> {
  return detectCompression(await readBeginning(blob, {}));
}

/** Keeps the blobs of one image. */
export class BlobKeeper {
  /** The image, whose layers are copied into the scratch directory before they are read. */
  readonly image: Image;
  /** The options of the import, which note the digests that it verifies. */
  readonly options: ImportOptions;
  readonly #store: StoreLayout;
  readonly #verified = new Map<string, string>();

  constructor(image: Image, store: StoreLayout, options: ImportOptions) {
    this.#store = store;
    const layers = image.layers.map((blob, at) =>
      copyFirst(blob, child(store.scratch, `blob-${at}`), options.signal)
    );
    this.image = { ...image, layers };
    this.options = {
      ...options,
      onUnpacked: (layer, blob, unpacked) => {
        this.#verified.set(blob.path, unpacked.archive.digest);
        options.onUnpacked?.(layer, blob, unpacked);
      },
    };
  }

  /**
   * Puts the blobs in place.
   *
   * @param records The records of the layers.
   * @returns The manifest of the image, made if it has none.
   * @throws {OverlayError} If a digest differs, or a blob cannot be obtained.
   */
  async place(records: readonly LayerRecord[]): Promise<ImageManifest> {
    const layers: Descriptor[] = [];
    for (const blob of this.image.layers) layers.push(await this.#placeLayer(blob));
    const config = new TextEncoder().encode(this.image.config ?? makeConfig(records));
    const described = await describeBytes(OCI_TYPES.config, config);
    const path = child(this.#store.scratch, "config");
    writeScratch(path, config);
    placeBlob(path, described.digest, this.#store);
    this.options.checkpoint?.("blobs");
    return this.image.manifest ?? formatManifest({ config: described, layers });
  }

  async #placeLayer(blob: Blob): Promise<Descriptor> {
    const { path, digest: must, size, isAbsent } = blob;
    const known = { mediaType: "", digest: must ?? "", size };
    if (isAbsent || (must !== null && look(blobPath(this.#store, must)) !== null)) return known;
    this.options.signal?.throwIfAborted();
    await blob.obtain?.();
    const digest = this.#verified.get(path) ?? await hashFileLike(path, must);
    if (must !== null && digest !== must) {
      const reason = `its digest is ${digest}, and must be ${must}`;
      throw new OverlayError("bad-digest", `Cannot keep blob ${quote(blob.name)}: ${reason}`, {
        hint: "get the image again",
      });
    }
    const mediaType = layerType(await detectBlob(blob));
    placeBlob(path, digest, this.#store);
    return { mediaType, digest, size };
  }
}

/** Lets a layer be copied to a private file before it is read, unless it is fetched into one. */
function copyFirst(
  { release: _, ...blob }: Blob,
  to: string,
  signal: AbortSignal | undefined,
): Blob {
  if (blob.obtain !== undefined || blob.isAbsent) return blob;
  let copied: Promise<void> | undefined;
  return { ...blob, path: to, offset: 0, obtain: () => copied ??= copyPart(blob, to, signal) };
}

async function copyPart(blob: Blob, to: string, signal: AbortSignal | undefined): Promise<void> {
  using file = attempt("write", to, () => createNew(to));
  for await (const piece of readFile({ ...blob, reads: READ }, signal)) {
    attempt("write", to, () => writeAll(file, piece));
  }
}

/** Makes the config of an archive of a root file system. */
function makeConfig(records: readonly LayerRecord[]): string {
  const [os, architecture, variant] = getOwnPlatform().split("/");
  const rootfs = { type: "layers", diff_ids: records.map(({ diffId }) => diffId) };
  return JSON.stringify({ architecture, os, variant, config: {}, rootfs });
}

/** Renames a file of the scratch directory to its place among the blobs, after syncing it. */
function placeBlob(path: string, digest: string, store: StoreLayout): void {
  const place = blobPath(store, digest);
  if (look(place) !== null) return;
  for (const directory of [store.blobs, parent(place)]) {
    if (makeDirectory(directory, STORE_MODE).made) syncDirectory(parent(directory));
  }
  attempt("write", path, () => {
    using file = Deno.openSync(path, { read: true, write: true });
    file.syncSync();
  });
  attempt("put in place", place, () => Deno.renameSync(path, place));
  syncDirectory(parent(place));
}
