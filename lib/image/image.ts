/**
 * An image before a layer of it is unpacked: its files, its documents, its layers.
 *
 * Requires no permissions.
 *
 * @module
 */
import { hexDigest } from "../core/digest.ts";
import { attempt } from "../system/disk.ts";
import { openRegular } from "../system/regular_file.ts";
import { OverlayError } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";
import type { Blob } from "./blob.ts";

/** An image: layers, and what goes with them. */
export interface Image {
  /** Its name, such as `docker.io/library/debian:12`; `null` when it has none. */
  readonly name: string | null;
  /** The digest of its manifest, or of its config where it has no manifest; `null` of a mere archive. */
  readonly digest: string | null;
  /** Its config (OCI image specification, "Image Configuration"), as it came; `null` of a mere archive. */
  readonly config: string | null;
  /** Its layers, the lowest first. */
  readonly layers: readonly Blob[];
  /** Where it was pulled from; absent of one that was not. */
  readonly source?: ImageSource;
  /** Something odd that whoever imports it is to know, in one sentence. */
  readonly note?: string | null;
}

/** Where an image was pulled from. */
export interface ImageSource {
  /** The reference in full, such as `docker.io/library/debian:12`. */
  readonly reference: string;
  /** The digest of what the reference named: the manifest, or an index that leads to it. */
  readonly digest: string;
  /** What else of the request makes another tree of the same image; empty where nothing does. */
  readonly how: string;
}

/** The files that an image consists of, in a directory or an archive. */
export interface ImageFiles {
  /** Where they are, for messages. */
  readonly path: string;
  /** Tells whether there is a file of this name. */
  readonly has: (name: string) => boolean;
  /** Where the file's bytes are, or will be; throws when it is not there, and cannot be fetched. */
  readonly locate: (name: string, size?: number) => Place;
  /** Fetches a file of this size, where files are fetched as they are read. */
  readonly obtain?: (name: string, size: number) => Promise<void>;
}

/** Where the bytes of a file of an image are. */
export interface Place extends Pick<Blob, "path" | "offset" | "size" | "obtain"> {
  /** The file that was looked at, where it must be the same when it is read. */
  readonly like?: Deno.FileInfo;
}

/** Which of several images is meant. */
export interface ImageChoice {
  /** Its reference. */
  readonly ref?: string;
  /** Its platform, `<os>/<architecture>` or `<os>/<architecture>/<variant>`. */
  readonly platform?: string;
}

/** The error of an image that is not as its specification says. */
export function imageError(path: string, reason: string, hint?: string): OverlayError {
  return new OverlayError("bad-image", `Cannot use image ${quote(path)}: ${reason}`, {
    path,
    hint: hint ?? "get it again, or make it again with a tool of your choice",
  });
}

/** The most characters of a text of an image that a message has. */
const BRIEF = 200;

/** A text of an image, in quotes, as far as a message may have it. */
export function brief(text: string): string {
  return quote(text.length > BRIEF ? `${text.slice(0, BRIEF)}…` : text);
}

/** The most bytes of a document of an image, and how deep it may be nested: both many times what they have. */
const DOCUMENT = { size: 4 << 20, depth: 200 };

/** The most layers: overlayfs takes no more. */
const LAYERS_MAX = 500;

/** Reads a document of an image, all of it. */
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

/** A value of JSON that must be an object. */
export type Json = Readonly<Record<string, unknown>>;

/** A document of an image: its text as it came, and the value that it is. */
export interface Parsed {
  /** The text. */
  readonly text: string;
  /** The value. */
  readonly value: unknown;
}

/** Reads JSON of an image, from a file of this name or what it holds. */
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

/** Tells whether JSON is nested deeper than any document: each level costs far more than its bytes. */
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

/** Takes a value for an object. */
export function asObject(files: ImageFiles, where: string, value: unknown): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw imageError(files.path, `its ${where} is no object`);
}

/** Takes a value for a list; writers in Go say `null` of one that is empty. */
export function asList(files: ImageFiles, where: string, value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  throw imageError(files.path, `its ${where} is no list`);
}

/** Takes a value for a text. */
export function asText(files: ImageFiles, where: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw imageError(files.path, `its ${where} is no text`);
}

/** Takes a value for a digest of an algorithm that is known here. */
export function asDigest(files: ImageFiles, where: string, value: unknown): string {
  const digest = asText(files, where, value);
  if (/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(digest)) return digest;
  throw imageError(files.path, `its ${where} is ${brief(digest)}, which is no digest`);
}

/** The digest of bytes, by the algorithm of another digest. */
export async function hashLike(
  digest: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const [algorithm = ""] = digest.split(":");
  const name = algorithm === "sha512" ? "SHA-512" : "SHA-256";
  return `${algorithm}:${await hexDigest(name, content)}`;
}

/**
 * The layers' diff ids, as a config lists them.
 *
 * @throws {OverlayError} If they are not as many, or are too many.
 */
export function readDiffIds(files: ImageFiles, config: unknown, layers: number): readonly string[] {
  const { rootfs } = asObject(files, "config", config);
  // Of an image without layers some writers say nothing.
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
