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
import { attempt, look } from "../system/disk.ts";
import { writeScratch } from "../system/own_file.ts";
import { fetchBlob } from "./fetch_blob.ts";
import type { RemoteBlob } from "./fetch_blob.ts";
import { formatImageReference } from "./image_reference.ts";
import type { ImageReference } from "./image_reference.ts";
import { MANIFEST_MAX } from "./registry.ts";
import type { Manifest, Repository } from "./registry.ts";
import { parseObject } from "./json.ts";

/** The options of fetching an image. */
export interface FetchOptions {
  /** The options of the request that change the tree of an image, as recorded in the tree. */
  readonly how: string;
  /** The reference of the image, which the repository may mirror. */
  readonly reference: ImageReference;
  /** Set if foreign layers that the registry does not have are fetched from their URLs. */
  readonly allowForeign: boolean;
  /** Receives each fetch of a blob when it begins. */
  readonly begun: (fetch: Promise<void>) => void;
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
  const { reference } = options;
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

/** A blob, and the URLs of a foreign layer. */
interface Wanted extends RemoteBlob {
  readonly urls: readonly string[];
}

/** Makes the error for a foreign layer that is not in its registry. */
function foreignError(error: OverlayError): OverlayError {
  const hint = "it is a foreign layer: --allow-foreign fetches it from the URLs in its image";
  return error.with({ hint });
}

/** Fetches a blob; a foreign layer that the registry does not have, from its URLs. */
async function fetchAny(
  repository: Repository,
  { urls, ...blob }: Wanted,
  path: string,
  { allowForeign, onFetch }: FetchOptions,
): Promise<void> {
  const note = (bytes: number) => onFetch?.(blob.digest, bytes);
  const places: readonly RemoteBlob[] = [blob, ...urls.map((url) => ({ ...blob, url }))];
  for (const [at, place] of places.entries()) {
    try {
      return await fetchBlob(repository, place, path, note);
    } catch (error) {
      if (!(error instanceof OverlayError) || error.code !== "missing") throw error;
      if (urls.length > 0 && !allowForeign) throw foreignError(error);
      if (at + 1 === places.length) throw error;
    }
  }
}

/** The blobs of an image, in files of a private directory. Two layers of an image may be the same blob. */
class BlobFiles {
  readonly #repository: Repository;
  readonly #options: FetchOptions;
  readonly #fetched = new Map<string, Promise<void>>();
  readonly #uses = new Map<string, number>();

  constructor(repository: Repository, options: FetchOptions) {
    this.#repository = repository;
    this.#options = options;
  }

  /** Returns the path of the file of a blob. */
  place(digest: string): string {
    return child(this.#options.scratch, digest.replace(":", "-"));
  }

  /** Fetches a blob, unless that was begun. */
  async fetch(blob: Wanted): Promise<void> {
    const path = this.place(blob.digest);
    let begun = this.#fetched.get(blob.digest);
    if (begun === undefined) {
      if (look(path) !== null) return;
      begun = fetchAny(this.#repository, blob, path, this.#options);
      this.#options.begun(begun);
      this.#fetched.set(blob.digest, begun);
    }
    await begun;
  }

  /** Notes that a layer is going to read a blob. */
  use(digest: string): void {
    this.#uses.set(digest, (this.#uses.get(digest) ?? 0) + 1);
  }

  /** Removes the file of a blob that no further layer is going to read. */
  release(digest: string): void {
    const left = (this.#uses.get(digest) ?? 0) - 1;
    this.#uses.set(digest, left);
    if (left > 0) return;
    this.#fetched.delete(digest);
    const file = this.place(digest);
    attempt("remove", file, () => Deno.removeSync(file));
  }
}

/** Makes the files of an image. Names are `manifests/<digest>` and `blobs/<digest>`, as in the registry. */
function filesOf(repository: Repository, options: FetchOptions): RemoteFiles {
  const files = new BlobFiles(repository, options);
  const path = formatImageReference(options.reference);
  const digestIn = (name: string) => {
    const digest = name.replace(/^\w+\//, "");
    if (isDigest(digest)) return digest;
    throw imageError(path, `${quote(digest)} is no digest`);
  };
  return {
    path,
    place: (digest) => files.place(digest),
    has: () => true,
    locate: (name, known, urls = []) => {
      const digest = digestIn(name);
      const file = files.place(digest);
      const size = known ?? look(file)?.size ?? 0;
      const obtain = () => files.fetch({ digest, size, urls });
      files.use(digest);
      const release = () => files.release(digest);
      return { path: file, offset: 0, size, isRemote: true, obtain, release };
    },
    obtain: async (name, size) => {
      const digest = digestIn(name);
      const file = files.place(digest);
      if (look(file) !== null) return;
      if (!name.startsWith("manifests/")) {
        if (size > MANIFEST_MAX) throw imageError(path, `its ${quote(name)} has ${size} bytes`);
        return await files.fetch({ digest, size, urls: [] });
      }
      writeScratch(file, (await repository.manifest(digest)).bytes);
    },
  };
}
