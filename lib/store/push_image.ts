/**
 * The image that a push sends: its blobs, and where their bytes come from.
 *
 * @module
 */
import { InvalidValueError, OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { hashLike } from "../image/image.ts";
import { listBlobs, readManifest } from "../image/manifest.ts";
import type { Descriptor, ImageManifest } from "../image/manifest.ts";
import { expandName } from "../image/reference.ts";
import { formatImageReference, parseImageReference } from "../registry/image_reference.ts";
import type { ImageReference } from "../registry/image_reference.ts";
import type { OpenBlob } from "../registry/push_blob.ts";
import { attempt, look } from "../system/disk.ts";
import { openRegular } from "../system/regular_file.ts";
import { blobPath, storeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import type { TreeChoice } from "./list.ts";
import { findTree, readWholeTrees } from "./tree_manifest.ts";
import type { StoredImage } from "./tree_manifest.ts";

/** The size of each read, in bytes. */
const READ = 1 << 18;

/** An image with its manifest. */
export type ManifestImage = StoredImage & { readonly manifest: ImageManifest };

/** A blob of an image. */
export interface PushedBlob extends Descriptor {
  /** Its position among the layers; `null` for the config. */
  readonly layer: number | null;
  /** The repositories that may have it. */
  readonly places: readonly ImageReference[];
  /** The repository that the image was pulled from, if it was. */
  readonly source: ImageReference | null;
  /** Opens its bytes in the store; `null` if they are not kept. */
  readonly open: OpenBlob | null;
}

/** An image that can be pushed. */
export interface PushableImage {
  /** The id of its tree. */
  readonly id: string;
  /** Its manifest. */
  readonly manifest: ImageManifest;
  /** The bytes of its manifest. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The digest of its manifest. */
  readonly digest: string;
  /** Its layers, each blob once, and then its config. */
  readonly blobs: readonly PushedBlob[];
}

/**
 * Finds an image with its blobs.
 *
 * Requires `--allow-read` permission for the store.
 *
 * @throws {InvalidValueError} If a tree has several images, and it is not clear which is meant.
 * @throws {OverlayError} If there is no such image, or its manifest is not kept.
 */
export async function findPushable(request: TreeChoice): Promise<PushableImage> {
  const store = storeLayout(request.store);
  const { id, images } = findTree(store, request.tree);
  const image = chooseImage(images, request.tree);
  const { manifest } = image;
  const { config, layers } = readManifest(manifest);
  const bytes = new TextEncoder().encode(manifest.text);
  const digest = await hashLike(image.digest ?? "sha256:", bytes);
  // The image's own source comes first.
  const found = [...findLayers(store, layers, [image]), ...findBlobs(store, [config], [image])];
  const blobs = found.map((blob) => blob.layer === null ? withConfig(blob, image) : blob);
  return { id, manifest, bytes, digest, blobs };
}

/** Finds layers, each blob once, see {@linkcode findBlobs}. */
export function findLayers(
  store: StoreLayout,
  layers: readonly Descriptor[],
  first: readonly ManifestImage[] = [],
): readonly PushedBlob[] {
  const positions = new Map(layers.map(({ digest }, at) => [digest, at]));
  const unique = [...new Map(layers.map((layer) => [layer.digest, layer])).values()];
  return findBlobs(store, unique, first).map((blob) => {
    return { ...blob, layer: positions.get(blob.digest) ?? null };
  });
}

/** Finds where the bytes of blobs come from, and the repositories that may have them. */
function findBlobs(
  store: StoreLayout,
  wanted: readonly Descriptor[],
  first: readonly ManifestImage[],
): readonly PushedBlob[] {
  const stored = readWholeTrees(store).flatMap((tree) => tree.images).filter(hasManifest);
  const images = [...first, ...stored];
  return wanted.map((one) => {
    const having = images.filter(({ manifest }) => listBlobs(manifest).includes(one.digest));
    const sources = having.flatMap(({ source }) => source?.reference ?? []);
    const places = [...sources, ...having.flatMap(({ pushed = [] }) => pushed)];
    return {
      ...one,
      layer: null,
      places: places.map(parseImageReference),
      source: sources[0] === undefined ? null : parseImageReference(sources[0]),
      open: openKept(store, one.digest),
    };
  });
}

function hasManifest(image: StoredImage): image is ManifestImage {
  return image.manifest !== undefined;
}

function chooseImage(images: readonly StoredImage[], wanted: string): ManifestImage {
  const named = images.filter(({ name }) =>
    name !== null && expandName(name) === expandName(wanted)
  );
  const found = (named.length > 0 ? named : images).filter(hasManifest);
  const [first, second] = new Map(found.map((image) => [image.manifest.text, image])).values();
  if (first === undefined) {
    throw new OverlayError("missing", `Cannot push ${quote(wanted)}: its blobs are not kept`, {
      hint: "import the image again with --keep-blobs; a directory is no image",
    });
  }
  if (second === undefined) return first;
  const names = found.map(({ name, digest }) => quote(name ?? digest ?? "")).join(", ");
  throw new InvalidValueError(
    "usage",
    `Cannot push ${quote(wanted)}: several images have its layers`,
    { hint: `name one of ${names}` },
  );
}

/** The record of an image has the text of its config. */
function withConfig(blob: PushedBlob, { config }: StoredImage): PushedBlob {
  if (blob.open !== null || config === null) return blob;
  const bytes = new TextEncoder().encode(config);
  if (bytes.length !== blob.size) return blob;
  return { ...blob, open: () => yieldOnce(bytes) };
}

async function* yieldOnce(bytes: Uint8Array<ArrayBuffer>): ReturnType<OpenBlob> {
  yield bytes;
}

function openKept(store: StoreLayout, digest: string): OpenBlob | null {
  const path = blobPath(store, digest);
  return look(path)?.isFile ? () => readKept(path) : null;
}

/** Reads a kept blob. Each piece has its own bytes, since it is sent later. */
async function* readKept(path: string): ReturnType<OpenBlob> {
  using file = await openRegular(path);
  for (;;) {
    const buffer = new Uint8Array(READ);
    const read = attempt("read", path, () => file.readSync(buffer));
    if (read === null) return;
    yield buffer.subarray(0, read);
  }
}

/** Formats the repository of a reference: its registry and path. */
export function formatPlace(reference: ImageReference): string {
  return formatImageReference({ ...reference, tag: null, digest: null });
}
