/**
 * An image of the OCI image specification, in an OCI image layout or in a directory of skopeo (`dir:`): the
 * index, the manifest of the chosen image, its config, and its layers.
 *
 * Requires `--allow-read` permission for the files.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { findManifest, isIndex, parseDescriptor, readBlob } from "./find_manifest.ts";
import type { Blobs, Found } from "./find_manifest.ts";
import {
  asList,
  asObject,
  brief,
  hashLike,
  imageError,
  parseJson,
  readDiffIds,
  readDocument,
} from "./image.ts";
import type { Image, ImageChoice, ImageFiles, Json } from "./image.ts";
import { checkPlatform, choose, formatPlatform } from "./image_choice.ts";
import { OCI_TYPES } from "./manifest.ts";
import { chooseName } from "./reference.ts";

const INDEX = "index.json";
const MANIFEST = "manifest.json";

/** Tells whether the files are an OCI image layout; some writers leave out the marker file `oci-layout`. */
export async function isLayout(files: ImageFiles): Promise<boolean> {
  if (files.has("oci-layout")) return true;
  const index = files.has(INDEX) ? await readIfAny(() => readObject(files, INDEX)) : null;
  return index !== null && index.schemaVersion === 2 && "manifests" in index;
}

/** Tells whether the files are a directory image of skopeo. */
export async function isCopy(files: ImageFiles): Promise<boolean> {
  const document = files.has(MANIFEST) ? await readIfAny(() => readObject(files, MANIFEST)) : null;
  if (document === null) return false;
  if (document.schemaVersion === 1) return "fsLayers" in document;
  return document.schemaVersion === 2 && ("config" in document || "manifests" in document);
}

async function readObject(files: ImageFiles, name: string): Promise<Json> {
  return asObject(files, name, parseJson(files, name, await readDocument(files, name)).value);
}

/** Reads a document; `null` if it is invalid, since a root file system may have a file of the same name. */
async function readIfAny<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof OverlayError) return null;
    throw error;
  }
}

/**
 * Reads an image of an OCI image layout.
 *
 * @returns The image; `null` if the layout is empty.
 * @throws {OverlayError} If it is not as the specification says, or it is not clear which image is meant.
 */
export async function readLayout(files: ImageFiles, choice: ImageChoice): Promise<Image | null> {
  const blobs = { files, nameOf: (digest: string) => `blobs/${digest.replace(":", "/")}` };
  const found = await findManifest(blobs, await readObject(files, INDEX), choice);
  return found === null ? null : await describeImage(blobs, found, choice);
}

/**
 * Reads a directory image of skopeo. No digest of its manifest is known, so that only the files it names are
 * verified.
 *
 * @throws {OverlayError} If it is not as the specification says, or it is not clear which image is meant.
 */
export async function readCopy(files: ImageFiles, choice: ImageChoice): Promise<Image | null> {
  const nameOf = (digest: string, isManifest: boolean) => {
    return digest.replace(/^\w+:/, "") + (isManifest ? ".manifest.json" : "");
  };
  const content = await readDocument(files, MANIFEST);
  const { text, value } = parseJson(files, MANIFEST, content);
  const document = asObject(files, MANIFEST, value);
  const digest = await hashLike("sha256:", content);
  const blobs = { files, nameOf };
  if (isIndex(files, document, "")) {
    const found = await findManifest(blobs, document, choice);
    return found === null ? null : await describeImage(blobs, found, choice);
  }
  choose(files, [{ names: [], digest, platform: null }], choice);
  const found = { manifest: document, text, mediaType: "", digest, names: [] };
  return await describeImage(blobs, found, choice);
}

/**
 * Reads an image from one document: its manifest, or an index. Its files are `manifests/<digest>` and
 * `blobs/<digest>`.
 *
 * @returns The image; `null` if its manifest lacks layers that its config lists.
 * @throws {OverlayError} If it is not as the specification says, or it is not clear which image is meant.
 */
export async function readRemote(
  files: ImageFiles,
  document: { readonly digest: string; readonly size: number; readonly mediaType: string },
  choice: ImageChoice,
): Promise<Image | null> {
  const nameOf = (digest: string, isManifest: boolean) => {
    return `${isManifest ? "manifests" : "blobs"}/${digest}`;
  };
  const blobs = { files, nameOf };
  const found = await findManifest(blobs, { manifests: [document] }, choice);
  return found === null ? null : await describeImage(blobs, found, choice);
}

/** The media types of image configs; others belong to artifacts. */
const CONFIG = /^application\/vnd\.(oci\.image\.config\.v1|docker\.container\.image\.v1)\+json$/;

/** Makes the image of a manifest; `null` if the manifest lacks layers that its config lists. */
async function describeImage(
  blobs: Blobs,
  { manifest, text: own, mediaType: called, digest, names }: Found,
  choice: ImageChoice,
): Promise<Image | null> {
  const { files } = blobs;
  if (manifest.schemaVersion === 1) {
    const hint = "copy it from its registry again, which converts it: skopeo copy --format=oci";
    throw imageError(files.path, "its manifest is of schema 1, which is not supported", hint);
  }
  const described = parseDescriptor(files, "manifest's config", manifest.config);
  const { mediaType } = described;
  if (mediaType !== "" && !CONFIG.test(mediaType)) throw artifactError(files, mediaType);
  const { text, value: config } = await readBlob(blobs, described, false);
  const platform = formatPlatform(asObject(files, "config", config));
  const note = checkPlatform(files, platform, choice);
  const layers = asList(files, "manifest's layers", manifest.layers);
  if (layers.length === 0 && listsLayers(config)) return null;
  const diffIds = readDiffIds(files, config, layers.length);
  return {
    name: chooseName(names, choice.ref),
    digest,
    config: text,
    manifest: { mediaType: chooseType(manifest, called), text: own },
    layers: layers.map((layer, at) =>
      describeLayer(blobs, { layer, at, diffId: diffIds[at] ?? "" })
    ),
    note,
  };
}

/** The media types of the manifests of images. */
const MANIFEST_TYPE =
  /^application\/vnd\.(oci\.image\.manifest\.v1|docker\.distribution\.manifest\.v2)\+json$/;

/** Returns the media type of a manifest: its own, or that of its descriptor. */
function chooseType({ mediaType }: Json, called: string): string {
  const types = [mediaType, called].filter((type) => typeof type === "string");
  return types.find((type) => MANIFEST_TYPE.test(type)) ?? OCI_TYPES.manifest;
}

function listsLayers(config: unknown): boolean {
  const ids = (config as { rootfs?: { diff_ids?: unknown } | null }).rootfs?.diff_ids;
  return Array.isArray(ids) && ids.length > 0;
}

function artifactError(files: ImageFiles, type: string): OverlayError {
  const reason = `it is no image, but an artifact of the type ${brief(type)}`;
  return imageError(files.path, reason, "choose an image; artifacts have no root file system");
}

/** The media types of image layers; a layer without one is detected by its content. */
const LAYER = /^application\/vnd\.(oci\.image\.layer|docker\.image\.rootfs)\.|[.+/]tar\b|^$/;

function readUrls(files: ImageFiles, layer: unknown): readonly string[] {
  const { urls } = asObject(files, "layer", layer);
  return asList(files, "layer's urls", urls).filter((url) => typeof url === "string");
}

function describeLayer(
  { files, nameOf }: Blobs,
  { layer, at, diffId }: { readonly layer: unknown; readonly at: number; readonly diffId: string },
): Image["layers"][number] {
  const where = `manifest's layers[${at}]`;
  const { digest, size, mediaType } = parseDescriptor(files, where, layer);
  if (/encrypted/.test(mediaType)) {
    const hint = "decrypt it first, such as by skopeo copy --decryption-key";
    throw imageError(files.path, `its ${where} is encrypted`, hint);
  }
  if (!LAYER.test(mediaType)) throw artifactError(files, mediaType);
  const name = nameOf(digest, false);
  const isForeign = /foreign|nondistributable/.test(mediaType);
  if (isForeign && !files.has(name)) throw foreignLayerError(files, where);
  const { like: _, ...place } = files.locate(name, size, isForeign ? readUrls(files, layer) : []);
  if (place.size !== size) {
    const reason = `its blob ${quote(digest)} has ${place.size} bytes, and must have ${size}`;
    throw imageError(files.path, reason);
  }
  return { name: digest, ...place, digest, diffId };
}

/** Makes the error for a foreign layer, which must not be distributed with its image. */
export function foreignLayerError(files: ImageFiles, where: string): OverlayError {
  const reason = `its ${where} is a foreign layer, which lies elsewhere and is not in it`;
  return imageError(files.path, reason, "get an image that has all of its layers");
}
