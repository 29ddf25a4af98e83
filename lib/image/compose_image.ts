/**
 * Composes an image of a config and layers.
 *
 * Requires no permissions.
 *
 * @module
 */
import { hexDigest } from "../core/digest.ts";
import type { Blob } from "./blob.ts";
import type { Image } from "./image.ts";
import { describeBytes, formatManifest, OCI_TYPES } from "./manifest.ts";
import type { Descriptor } from "./manifest.ts";

/** A layer of a composed image. */
export interface ComposedLayer {
  /** Its descriptor. */
  readonly descriptor: Descriptor;
  /** The digest of its decompressed content. */
  readonly diffId: string;
  /** The private file with its bytes; `null` if the store has the layer. */
  readonly path: string | null;
}

/** The parts of a composed image. */
export interface ImageParts {
  /** Its name; `null` if it has none. */
  readonly name: string | null;
  /** Its config, as JSON, which lists the diff ids of the layers. */
  readonly config: string;
  /** Its layers, the lowest first. */
  readonly layers: readonly ComposedLayer[];
  /** The annotations of its manifest. @default {none} */
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Composes an image with a manifest of the OCI. */
export async function composeImage(parts: ImageParts): Promise<Image> {
  const { name, config, layers, annotations } = parts;
  const described = await describeBytes(OCI_TYPES.config, new TextEncoder().encode(config));
  const descriptors = layers.map(({ descriptor }) => descriptor);
  const manifest = formatManifest({ config: described, layers: descriptors }, annotations);
  const digest = await hexDigest("SHA-256", new TextEncoder().encode(manifest.text));
  return { name, digest: `sha256:${digest}`, config, manifest, layers: layers.map(makeBlob) };
}

function makeBlob({ descriptor, diffId, path }: ComposedLayer): Blob {
  const { digest, size } = descriptor;
  return {
    ...{ name: digest, path: path ?? "", offset: 0, size, digest, diffId },
    ...(path === null ? { isAbsent: true } : { obtain: () => Promise.resolve() }),
  };
}
