/**
 * An image before it is unpacked: its files, documents and layers.
 *
 * Requires no permissions.
 *
 * @module
 */
import { hexDigest, isDigest } from "../core/digest.ts";
import { attempt } from "../system/disk.ts";
import { openRegular } from "../system/regular_file.ts";
import { OverlayError } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";
import type { Blob } from "./blob.ts";
import type { ImageManifest } from "./manifest.ts";

/** An image: its name, its config and its layers. */
export interface Image {
  /** Its name, such as `docker.io/library/debian:12`; `null` if it has none. */
  readonly name: string | null;
  /** The digest of its manifest, or of its config without a manifest; `null` for a plain archive. */
  readonly digest: string | null;
  /** Its config (OCI image specification, "Image Configuration"), as the original text; `null` for a plain archive. */
  readonly config: string | null;
  /** Its manifest; absent for an image without one, as of `docker save`. */
  readonly manifest?: ImageManifest;
  /** Its layers, the lowest first. */
  readonly layers: readonly Blob[];
  /** The registry it was pulled from; absent for other images. */
  readonly source?: ImageSource;
  /** A warning for the user who imports it, in one sentence. */
  readonly note?: string | null;
}

/** The origin of a pulled image. */
export interface ImageSource {
  /** The full reference, such as `docker.io/library/debian:12`. */
  readonly reference: string;
  /** The digest of the document that the reference named: the manifest, or an index. */
  readonly digest: string;
  /** The options of the request that change the tree of an image; empty if there are none. */
  readonly how: string;
}

/** The files of an image, in a directory or an archive. */
export interface ImageFiles {
  /** Their path, for messages. */
  readonly path: string;
  /** Tells whether there is a file of this name. */
  readonly has: (name: string) => boolean;
  /**
   * Locates the bytes of a file. Throws if it does not exist and cannot be fetched; `urls` are those of a
   * foreign layer.
   */
  readonly locate: (name: string, size?: number, urls?: readonly string[]) => Place;
  /** Fetches a file of this size, for images in a registry. */
  readonly obtain?: (name: string, size: number) => Promise<void>;
}

/** The location of the bytes of a file. */
export interface Place
  extends Pick<Blob, "path" | "offset" | "size" | "obtain" | "isRemote" | "release"> {
  /** The metadata of the file, if it must still be the same when it is read. */
  readonly like?: Deno.FileInfo;
}

/** The choice among several images. */
export interface ImageChoice {
  /** Its reference. */
  readonly ref?: string;
  /** Its platform, `<os>/<architecture>` or `<os>/<architecture>/<variant>`. */
  readonly platform?: string;
}

/** Makes the error for an image that violates its specification. */
export function imageError(path: string, reason: string, hint?: string): OverlayError {
  return new OverlayError("bad-image", `Cannot use image ${quote(path)}: ${reason}`, {
    path,
    hint: hint ?? "get it again, or make it again with a tool of your choice",
  });
}

/** The largest number of characters that a message quotes from an image. */
const BRIEF = 200;

/** Quotes a text of an image for a message, shortened if needed. */
export function brief(text: string): string {
  return quote(text.length > BRIEF ? `${text.slice(0, BRIEF)}…` : text);
}

/** The limits of size and nesting for documents of an image, far above those of real ones. */
const DOCUMENT = { size: 4 << 20, depth: 200 };

/** The largest number of layers that overlayfs allows. */
const LAYERS_MAX = 500;

/** Reads a whole document of an image. */
export async function readDocument(
  files: ImageFiles,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { path, offset, size, like } = files.locate(name);
  if (size > DOCUMENT.size) throw imageError(files.path, `its ${quote(name)} has ${size} bytes`);
  using file = await openRegular(path, like === undefined ? {} : { like });
  const content = new Uint8Array(size);
  return attempt("read", path, () => {
    file.seekSync(offset, Deno.SeekMode.Start);
    for (let at = 0; at < size;) {
      const read = file.readSync(content.subarray(at));
      if (read === null) throw imageError(files.path, `its ${quote(name)} is cut off`);
      at += read;
    }
    return content;
  });
}

/** A JSON object. */
export type Json = Readonly<Record<string, unknown>>;

/** A document of an image: its original text and its parsed value. */
export interface Parsed {
  /** The text. */
  readonly text: string;
  /** The value. */
  readonly value: unknown;
}

/** Parses JSON in a file of an image. */
export function parseJson(files: ImageFiles, name: string, content: Uint8Array): Parsed {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(content);
    if (isDeep(text)) throw imageError(files.path, `its ${quote(name)} is nested too deeply`);
    return { text, value: JSON.parse(text) };
  } catch (error) {
    if (error instanceof OverlayError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw imageError(files.path, `its ${quote(name)} is no JSON: ${printable(reason)}`);
  }
}

/** Tells whether JSON is nested too deep, since each level costs far more than its bytes. */
function isDeep(text: string): boolean {
  let [depth, isString] = [0, false];
  for (let at = 0; at < text.length; at++) {
    const sign = text[at];
    if (sign === '"') isString = !isString;
    else if (isString) at += sign === "\\" ? 1 : 0;
    else if (sign === "[" || sign === "{") depth++;
    else if (sign === "]" || sign === "}") depth--;
    if (depth > DOCUMENT.depth) return true;
  }
  return false;
}

/** Checks that a value is an object. */
export function asObject(files: ImageFiles, where: string, value: unknown): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw imageError(files.path, `its ${where} is no object`);
}

/** Checks that a value is a list; writers in Go use `null` for an empty one. */
export function asList(files: ImageFiles, where: string, value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw imageError(files.path, `its ${where} is no list`);
}

/** Checks that a value is a string. */
export function asText(files: ImageFiles, where: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw imageError(files.path, `its ${where} is no text`);
}

/** Checks that a value is a digest of a supported algorithm. */
export function asDigest(files: ImageFiles, where: string, value: unknown): string {
  const digest = asText(files, where, value);
  if (isDigest(digest)) return digest;
  throw imageError(files.path, `its ${where} is ${brief(digest)}, which is no digest`);
}

/** Hashes bytes by the algorithm of another digest. */
export async function hashLike(
  digest: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const [algorithm = ""] = digest.split(":");
  const name = algorithm === "sha512" ? "SHA-512" : "SHA-256";
  return `${algorithm}:${await hexDigest(name, content)}`;
}

/**
 * Reads the diff ids of the layers in a config.
 *
 * @throws {OverlayError} If their number differs from that of the layers, or is too large.
 */
export function readDiffIds(files: ImageFiles, config: unknown, layers: number): readonly string[] {
  const { rootfs } = asObject(files, "config", config);
  // Some writers leave out the list of an image without layers.
  const { diff_ids: ids } = layers === 0
    ? (rootfs ?? {}) as Json
    : asObject(files, "config's rootfs", rootfs);
  const all = asList(files, "config's rootfs.diff_ids", ids).map((id, at) => {
    return asDigest(files, `config's rootfs.diff_ids[${at}]`, id);
  });
  if (all.length !== layers) {
    throw imageError(files.path, `it has ${layers} layers, and its config lists ${all.length}`);
  }
  if (layers <= LAYERS_MAX) return all;
  const reason = `it has ${layers} layers, and overlayfs takes no more than ${LAYERS_MAX}`;
  throw imageError(files.path, reason, "make the image again with fewer layers");
}
