/**
 * An image in a registry. Documents are fetched when they are read, layers when they are unpacked.
 *
 * @module
 */
import { isDigest } from "../core/digest.ts";
import { OverlayError } from "../core/errors.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { hashLike, imageError } from "../image/image.ts";
import type { Image, ImageChoice, ImageFiles } from "../image/image.ts";
import { readRemote } from "../image/oci_image.ts";
import { look } from "../system/disk.ts";
import { writeScratch } from "../system/own_file.ts";
import { fetchBlob } from "./fetch_blob.ts";
import { formatImageReference } from "./image_reference.ts";
import type { ImageReference } from "./image_reference.ts";
import { MANIFEST_MAX } from "./registry.ts";
import type { Manifest, Repository } from "./registry.ts";
import { parseObject } from "./json.ts";

/** The options of fetching an image. */
export interface FetchOptions {
  /** The options of the request that change the tree of an image, as recorded in the tree. */
  readonly how: string;
  /** A private directory for fetched files. */
  readonly scratch: string;
  /** Called with the number of bytes of a layer that were received, repeatedly. */
  readonly onFetch?: ((digest: string, bytes: number) => void) | undefined;
}

/**
 * Opens the image of a reference: fetches and verifies its documents.
 *
 * Requires `--allow-net` permission for the registry, and `--allow-write` for the directory.
 *
 * @throws {OverlayError} If there is no such image, or it violates its specification.
 */
export async function openRemoteImage(
  repository: Repository,
  choice: Pick<ImageChoice, "platform">,
  options: FetchOptions,
): Promise<Image> {
  const { reference } = repository;
  const manifest = await repository.manifest(reference.digest ?? reference.tag ?? "");
  const digest = await checkManifest(repository, manifest);
  const files = filesOf(repository, options);
  writeScratch(files.place(digest), manifest.bytes);
  const { mediaType, bytes } = manifest;
  const image = await readRemote(files, { digest, size: bytes.length, mediaType }, choice);
  if (image === null) {
    throw imageError(files.path, "its manifest has no layers, and its config has");
  }
  const source = { reference: formatImageReference(reference), digest, how: options.how };
  return { ...image, name: nameOf(reference), source };
}

/** Makes the name of an image; a tag is kept even if a digest is given. */
export function nameOf(reference: ImageReference): string {
  const { tag, digest } = reference;
  return formatImageReference(
    tag === null ? { ...reference, digest } : { ...reference, digest: null },
  );
}

/** Checks a document of a registry; its header and its content must give the same media type. */
async function checkManifest(
  { reference, what }: Repository,
  { bytes, mediaType }: Manifest,
): Promise<string> {
  const digest = await hashLike(reference.digest ?? "sha256:", bytes);
  if (reference.digest !== null && digest !== reference.digest) {
    const reason = `the registry sends a manifest with the digest ${quote(digest)}`;
    throw new OverlayError("bad-digest", `Cannot ${what}: ${reason}`, {
      hint: "the registry, or what answers in its place, is not to be trusted",
    });
  }
  const { mediaType: own } = parseObject(bytes);
  if (typeof own !== "string" || mediaType === "" || own === mediaType) return digest;
  const said = `the registry calls it ${quote(mediaType)}, and it calls itself ${quote(own)}`;
  throw imageError(formatImageReference(reference), said, "push it again");
}

/** The fetched files of an image in a registry. */
interface RemoteFiles extends ImageFiles {
  /** Returns the path for the blob of a digest. */
  readonly place: (digest: string) => string;
}

/** Makes the files of an image. Names are `manifests/<digest>` and `blobs/<digest>`, as in the registry. */
function filesOf(repository: Repository, { scratch, onFetch }: FetchOptions): RemoteFiles {
  const place = (digest: string) => child(scratch, digest.replace(":", "-"));
  const path = formatImageReference(repository.reference);
  const digestIn = (name: string) => {
    const digest = name.replace(/^\w+\//, "");
    if (isDigest(digest)) return digest;
    throw imageError(path, `${quote(digest)} is no digest`);
  };
  // Two layers of an image may be the same blob.
  const fetched = new Map<string, Promise<void>>();
  const fetch = async (digest: string, size: number) => {
    if (look(place(digest)) !== null && !fetched.has(digest)) return;
    const note = (bytes: number) => onFetch?.(digest, bytes);
    const begun = fetched.get(digest) ??
      fetchBlob(repository, { digest, size }, place(digest), note);
    fetched.set(digest, begun);
    await begun;
  };
  return {
    path,
    place,
    has: () => true,
    locate: (name, size) => {
      const digest = digestIn(name);
      const file = place(digest);
      const known = size ?? look(file)?.size ?? 0;
      return { path: file, offset: 0, size: known, obtain: () => fetch(digest, known) };
    },
    obtain: async (name, size) => {
      const digest = digestIn(name);
      if (look(place(digest)) !== null) return;
      if (!name.startsWith("manifests/")) {
        if (size > MANIFEST_MAX) throw imageError(path, `its ${quote(name)} has ${size} bytes`);
        return await fetch(digest, size);
      }
      writeScratch(place(digest), (await repository.manifest(digest)).bytes);
    },
  };
}
