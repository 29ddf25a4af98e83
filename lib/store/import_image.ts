/**
 * Imports an image as a tree of layers.
 *
 * @module
 */
import type { Blob } from "../image/blob.ts";
import { makeManifest, withRoot, writeTree } from "./write_tree.ts";
import type { LayerRecord, StoredImage } from "./tree_manifest.ts";
import { listBlobs } from "../image/manifest.ts";
import type { ImageManifest } from "../image/manifest.ts";
import type { BlobKeeper } from "./keep_blobs.ts";
import { findImage, refuseChoice } from "./import_source.ts";
import { basename, child, parent } from "../core/path.ts";
import { readAllLayers, readLayer } from "./tree_manifest.ts";
import type { WantedLayers } from "./layer_key.ts";
import { mendLinks } from "./open.ts";
import { brief } from "../image/image.ts";
import type { Image } from "../image/image.ts";
import { limitPolicy, tellLeftOut } from "./import_policy.ts";
import type { Staged } from "./stage_layer.ts";
import type { ImportedTree, ImportOptions } from "./import_options.ts";
import type { ParsedImport } from "./import_request.ts";
import { attempt, look } from "../system/disk.ts";
import { findLayers } from "./layer_key.ts";
import type { LayerPolicy } from "../layer/layer_policy.ts";
import { makeRootLayer, onlyPiece } from "./root_layer.ts";
import { isName } from "./import_request.ts";
import { hexDigest } from "../core/digest.ts";
import { blobPath } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";

/** Imports an image as a tree of layers. */
export async function importImage(
  image: Image,
  parsed: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  if (!parsed.keepBlobs) return await importLayersOf(image, parsed, options, null);
  const { keepBlobs } = await import("./keep_blobs.ts");
  const keeper = await keepBlobs(image, parsed.store, options);
  return await importLayersOf(keeper?.image ?? image, parsed, keeper?.options ?? options, keeper);
}

async function importLayersOf(
  image: Image,
  parsed: ParsedImport,
  options: ImportOptions,
  keeper: BlobKeeper | null,
): Promise<ImportedTree> {
  const { store, name, choice } = parsed;
  if (typeof image.note === "string") options.warn?.(image.note);
  const blobs = image.layers.length === 0 ? [await emptyLayer(parsed)] : image.layers;
  const diffIds = await Promise.all(blobs.map((blob) => findDiffId(blob, store)));
  const { found: usable, policy } = await findUsableLayers(diffIds, parsed, options);
  const found = usable.map((record, at) => readKnown(blobs[at], store) ?? record);
  const ready = new Map<number, Staged>();
  if (image.digest === null) {
    const inner = found[0] === null
      ? await stageArchive(blobs, { ...parsed, policy }, options)
      : null;
    if (inner !== null && "layers" in inner) return await importImage(inner, parsed, options);
    refuseChoice(blobs[0]?.name ?? "", choice);
    if (inner !== null) ready.set(0, inner);
  }
  const { layers, changed } = await completeLayers(blobs, found, { store, policy, options, ready });
  const plain = await makeManifest(layers);
  const root = await makeRootLayer(plain, layers, { store, policy, options });
  await mendLinks(root === null ? layers : [...layers, root], store, options);
  const manifest = root === null ? plain : withRoot(plain, root);
  const stored = describeImage(image, {
    name: name ?? chooseImageName(image, options),
    manifest: keeper === null ? image.manifest : await keeper.place(layers),
    store,
  });
  await writeTree(store, manifest, { image: stored, options });
  tellLeftOut(layers, parsed.policy, options);
  const { id, bytes, entries } = manifest;
  const { name: called, digest } = stored;
  return { id, image: called, digest, layers: image.layers.length, bytes, entries, changed };
}

/** Reads the record of a layer that is named by its key. */
function readKnown(blob: Blob | undefined, store: StoreLayout): LayerRecord | null {
  return blob?.key === undefined ? null : readLayer(store, blob.key);
}

/** Makes the record of an image. It names the blobs that the store has, whichever import kept them. */
function describeImage(
  { digest, config, source }: Image,
  { name, manifest, store }: {
    readonly name: string | null;
    readonly manifest: ImageManifest | undefined;
    readonly store: StoreLayout;
  },
): StoredImage {
  const blobs = manifest === undefined
    ? []
    : listBlobs(manifest).filter((one) => look(blobPath(store, one)) !== null);
  return {
    ...{ name, digest, config },
    ...(source === undefined ? {} : { source }),
    ...(manifest === undefined ? {} : { manifest }),
    ...(blobs.length === 0 ? {} : { blobs }),
  };
}

/** Returns the name in an image; `null` if `--name` would not accept it. */
function chooseImageName({ name }: Image, { warn }: ImportOptions): string | null {
  if (name === null || isName(name)) return name;
  warn?.(`the image's own name ${brief(name)} is left out: --name gives it another one`);
  return null;
}

/** Makes the empty layer of an image without layers, since overlayfs needs one. */
async function emptyLayer({ source }: ParsedImport): Promise<Blob> {
  const archive = new Uint8Array(1024);
  const diffId = `sha256:${await hexDigest("SHA-256", archive)}`;
  const at = { path: source, offset: 0, size: archive.length };
  return { name: "no layers", ...at, digest: null, diffId, read: () => onlyPiece(archive) };
}

/** Unpacks a plain archive, which may turn out to hold a compressed image. */
async function stageArchive(
  [blob]: readonly Blob[],
  { store, policy, choice }: ParsedImport,
  options: ImportOptions,
): Promise<Staged | Image | null> {
  if (blob === undefined) return null;
  const { stageLayer } = await import("./stage_layer.ts");
  const { openDirectory } = await import("../image/image_files.ts");
  const staged = await stageLayer(blob, 0, { store, policy, options });
  const image = await findImage(openDirectory(staged.root, blob.name), choice, false);
  if (image === null) return staged;
  // Its own layers are unpacked beside it.
  const place = child(store.scratch, "image");
  attempt("put aside", place, () => Deno.renameSync(parent(staged.root), place));
  return await findImage(
    openDirectory(child(place, basename(staged.root)), blob.name),
    choice,
    false,
  );
}

/** Returns the records of all layers, and imports the missing ones. If none is missing, no module is loaded. */
async function completeLayers(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
  how: WantedLayers & {
    readonly options: ImportOptions;
    readonly ready: ReadonlyMap<number, Staged>;
  },
): Promise<{ readonly layers: readonly LayerRecord[]; readonly changed: boolean }> {
  blobs.forEach((blob, at) => found[at] !== null && how.options.onHave?.(at, blob));
  const layers = found.filter((record) => record !== null);
  if (layers.length === blobs.length) return { layers, changed: false };
  const { importLayers } = await import("./import_layers.ts");
  return { layers: await importLayers(blobs, found, how), changed: true };
}

/**
 * Finds the layers that are in the store, and the policy for the others. If no devices can be made, stored
 * layers without them are accepted.
 */
async function findUsableLayers(
  diffIds: readonly (string | null)[],
  { store, policy }: ParsedImport,
  options: ImportOptions,
): Promise<{ readonly found: readonly (LayerRecord | null)[]; readonly policy: LayerPolicy }> {
  const found = await findLayers(diffIds, { store, policy });
  if (!found.includes(null)) return { found, policy };
  const possible = await limitPolicy({ store, policy }, options);
  if (possible.devices === policy.devices) return { found, policy };
  return { found: await findLayers(diffIds, { store, policy: possible }), policy: possible };
}

/** Finds the diff id of an archive by an earlier import of the same archive. */
async function findDiffId(blob: Blob, store: StoreLayout): Promise<string | null> {
  if (blob.diffId !== null) return blob.diffId;
  await blob.obtain?.();
  const alike = readAllLayers(store).filter(({ archive }) => archive.size === blob.size);
  if (alike.length === 0) return null;
  const { hashFileLike } = await import("../system/hash_file.ts");
  const digest = await hashFileLike(blob.path);
  return alike.find(({ archive }) => archive.digest === digest)?.diffId ?? null;
}
