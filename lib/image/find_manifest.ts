/**
 * Finds the chosen manifest of an image, through its indexes (OCI image specification, "Image Index").
 *
 * Requires `--allow-read` permission for the files.
 *
 * @module
 */
import { quote } from "../core/quote.ts";
import {
  asDigest,
  asList,
  asObject,
  hashLike,
  imageError,
  parseJson,
  readDocument,
} from "./image.ts";
import type { ImageChoice, ImageFiles, Json, Parsed } from "./image.ts";
import { choose, formatPlatform } from "./image_choice.ts";
import type { Candidate } from "./image_choice.ts";

/** The annotations with the name of an image: that of the specification, and that of containerd. */
const REF = "org.opencontainers.image.ref.name";
const FULL_NAME = "io.containerd.image.name";

/** The annotation of data about an image, such as its provenance. */
const REFERENCE = "vnd.docker.reference.type";

/** The deepest nesting of indexes, which the specification does not limit. */
const DEPTH_MAX = 4;

/** A valid descriptor. */
interface Descriptor extends Candidate {
  readonly size: number;
  readonly mediaType: string;
  /** Set if it is data about an image. */
  readonly isAbout: boolean;
}

/** Files, and the naming of files by digests. */
export interface Blobs {
  /** The files. */
  readonly files: ImageFiles;
  /** Names the file of a digest. */
  readonly nameOf: (digest: string, isManifest: boolean) => string;
}

/** Checks a descriptor. */
export function parseDescriptor(files: ImageFiles, where: string, value: unknown): Descriptor {
  const { digest, size, mediaType, platform, annotations } = asObject(files, where, value);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw imageError(files.path, `its ${where}.size is no size`);
  }
  const notes = asObject(files, `${where}.annotations`, annotations ?? {});
  const is = formatPlatform(asObject(files, `${where}.platform`, platform ?? {}));
  return {
    digest: asDigest(files, `${where}.digest`, digest),
    size,
    mediaType: typeof mediaType === "string" ? mediaType : "",
    platform: is === "" ? null : is,
    names: [notes[FULL_NAME], notes[REF]].filter((name) => typeof name === "string"),
    isAbout: notes[REFERENCE] !== undefined || is.startsWith("unknown/"),
  };
}

/** Reads a document that a descriptor names, and verifies it. */
export async function readBlob(
  { files, nameOf }: Blobs,
  { digest, size }: Descriptor,
  isManifest: boolean,
): Promise<Parsed> {
  const name = nameOf(digest, isManifest);
  await files.obtain?.(name, size);
  const content = await readDocument(files, name);
  if (content.length !== size) {
    const reason = `its blob ${quote(digest)} has ${content.length} bytes, and must have ${size}`;
    throw imageError(files.path, reason);
  }
  const is = await hashLike(digest, content);
  if (is !== digest) {
    throw imageError(files.path, `its blob ${quote(digest)} has the digest ${quote(is)}`);
  }
  return parseJson(files, name, content);
}

/** The chosen manifest. */
export interface Found {
  readonly manifest: Json;
  readonly text: string;
  readonly mediaType: string;
  readonly digest: string;
  readonly names: readonly string[];
}

const IS_INDEX = /image\.index|manifest\.list/;

/**
 * Tells whether a document is an index, by its descriptor or else by its fields. Ambiguous documents are
 * refused, since other tools could read another image.
 */
export function isIndex(files: ImageFiles, document: Json, mediaType: string): boolean {
  const has = { index: Array.isArray(document.manifests), image: Array.isArray(document.layers) };
  if (has.index && has.image) {
    throw imageError(files.path, "it has a document that is an index and a manifest at once");
  }
  if (mediaType !== "") return IS_INDEX.test(mediaType);
  return has.index || IS_INDEX.test(String(document.mediaType));
}

/** Finds the chosen manifest from an index; `null` if the index is empty. */
export async function findManifest(
  blobs: Blobs,
  index: Json,
  choice: ImageChoice,
): Promise<Found | null> {
  const { files } = blobs;
  let [at, wanted, names]: [Json, ImageChoice, readonly string[]] = [index, choice, []];
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const all = asList(files, "index's manifests", at.manifests).map((one, i) => {
      return parseDescriptor(files, `index's manifests[${i}]`, one);
    });
    if (all.length === 0 && depth === 0) return null;
    const descriptor = choose(files, all.filter(({ isAbout }) => !isAbout), wanted);
    if (names.length === 0) names = descriptor.names;
    const { digest, mediaType } = descriptor;
    const { text, value } = await readBlob(blobs, descriptor, true);
    const document = asObject(files, "manifest", value);
    if (!isIndex(files, document, mediaType)) {
      return { manifest: document, text, mediaType, digest, names };
    }
    at = document;
    if (!Array.isArray(at.manifests)) asList(files, "index's manifests", {});
    wanted = choice.platform === undefined ? {} : { platform: choice.platform };
  }
  throw imageError(files.path, "it has indexes in indexes without end");
}
