/**
 * The manifests of images: their media types and descriptors.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { hexDigest, isDigest } from "../core/digest.ts";
import type { Compression } from "./compression.ts";

/** The manifest of an image. */
export interface ImageManifest {
  /** Its media type. */
  readonly mediaType: string;
  /** Its original text. */
  readonly text: string;
}

/** The description of a blob in a manifest. */
export interface Descriptor {
  /** Its media type. */
  readonly mediaType: string;
  /** Its digest, `<algorithm>:<hexadecimal>`. */
  readonly digest: string;
  /** Its size, in bytes. */
  readonly size: number;
}

/** The blobs of a manifest. */
export interface ManifestBlobs {
  /** The config. */
  readonly config: Descriptor;
  /** The layers, the lowest first. */
  readonly layers: readonly Descriptor[];
}

/** The media types of the OCI image specification. */
export const OCI_TYPES = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
} as const;

/** The media types of Docker (schema 2), and those of the OCI that mean the same. */
const DOCKER_TYPES: ReadonlyMap<string, string> = new Map([
  ["application/vnd.docker.container.image.v1+json", OCI_TYPES.config],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", layerType("gzip")],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", layerType("zstd")],
  ["application/vnd.docker.image.rootfs.diff.tar", layerType("none")],
]);

/** Returns the media type of a layer of the OCI; there is none for xz. */
export function layerType(compression: Compression): string {
  const suffix = compression === "none" ? "" : `+${compression}`;
  return `application/vnd.oci.image.layer.v1.tar${suffix}`;
}

/** Returns the media type of the OCI for one of Docker; others stay. Manifests must not mix the two. */
export function toOciType(mediaType: string): string {
  return DOCKER_TYPES.get(mediaType) ?? mediaType;
}

/**
 * Reads the descriptors of a manifest that was checked before.
 *
 * @throws {OverlayError} If it was changed since.
 */
export function readManifest({ text }: ImageManifest): ManifestBlobs {
  const fault = () => {
    return new OverlayError("bad-store", "Cannot read a manifest: it is not as it was written", {
      hint: "import the image again",
    });
  };
  const parse = ({ mediaType, digest, size }: Descriptor): Descriptor => {
    if (!isDigest(digest) || !Number.isSafeInteger(size)) throw fault();
    return { mediaType: String(mediaType ?? ""), digest, size };
  };
  try {
    const { config, layers } = JSON.parse(text);
    return { config: parse(config), layers: (layers ?? []).map(parse) };
  } catch (error) {
    if (error instanceof OverlayError) throw error;
    throw fault();
  }
}

/** Lists the digests of a manifest's blobs, each once. */
export function listBlobs(manifest: ImageManifest): readonly string[] {
  const { config, layers } = readManifest(manifest);
  return [...new Set([config, ...layers].map(({ digest }) => digest))];
}

/** Describes a blob in memory. */
export async function describeBytes(
  mediaType: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<Descriptor> {
  return {
    mediaType,
    digest: `sha256:${await hexDigest("SHA-256", content)}`,
    size: content.length,
  };
}

/** Makes a manifest of the OCI. Descriptors with media types of Docker get those of the OCI. */
export function formatManifest(
  { config, layers }: ManifestBlobs,
  annotations: Readonly<Record<string, string>> = {},
): ImageManifest {
  const convert = (one: Descriptor) => ({ ...one, mediaType: toOciType(one.mediaType) });
  const text = JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_TYPES.manifest,
    config: convert(config),
    layers: layers.map(convert),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  });
  return { mediaType: OCI_TYPES.manifest, text };
}
