/**
 * What is known of an image before a layer of it is unpacked.
 *
 * Requires no permissions.
 *
 * @module
 */
import { hexDigest } from "./digest.ts";
import { attempt } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import { printable, quote } from "./quote.ts";
import type { Blob } from "./blob.ts";

/** An image: layers, and what goes with them. */
export interface Image {
  /** Its name, such as `docker.io/library/debian:12`; `null` when it has none. */
  readonly name: string | null;
  /** The digest of its manifest, or of its config where it has no manifest; `null` of a mere archive. */
  readonly digest: string | null;
  /** Its config (OCI image specification, "Image Configuration"); `null` of a mere archive. */
  readonly config: unknown;
  /** Its layers, the lowest first; at least one. */
  readonly layers: readonly Blob[];
}

/** The files that an image consists of, in a directory or an archive. */
export interface ImageFiles {
  /** Where they are, for messages. */
  readonly path: string;
  /** Whether there is a file of this name. */
  readonly has: (name: string) => boolean;
  /** Where the file's bytes are; throws when it is not there. */
  readonly locate: (name: string) => Pick<Blob, "path" | "offset" | "size">;
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

/** The most bytes of JSON that are read at once. */
const JSON_MAX = 8 << 20;

/** Reads a file of an image, all of it. */
export function readSmall(files: ImageFiles, name: string): Uint8Array<ArrayBuffer> {
  const { path, offset, size } = files.locate(name);
  if (size > JSON_MAX) throw imageError(files.path, `its ${quote(name)} has ${size} bytes`);
  const content = new Uint8Array(size);
  return attempt("read", path, () => {
    using file = Deno.openSync(path);
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

/** Reads JSON of an image, from a file of this name or what it holds. */
export function parseJson(files: ImageFiles, name: string, content: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw imageError(files.path, `its ${quote(name)} is no JSON: ${printable(reason)}`);
  }
}

/** Takes a value for an object. */
export function objectOf(files: ImageFiles, where: string, value: unknown): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw imageError(files.path, `its ${where} is no object`);
}

/** Takes a value for a list. */
export function listOf(files: ImageFiles, where: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw imageError(files.path, `its ${where} is no list`);
}

/** Takes a value for a text. */
export function textOf(files: ImageFiles, where: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw imageError(files.path, `its ${where} is no text`);
}

/** Takes a value for a digest of an algorithm that is known here. */
export function digestOf(files: ImageFiles, where: string, value: unknown): string {
  const digest = textOf(files, where, value);
  if (/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(digest)) return digest;
  throw imageError(files.path, `its ${where} is ${quote(digest)}, which is no digest`);
}

/** The digest of bytes, by the algorithm of another digest. */
export async function digestLike(
  digest: string,
  content: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const [algorithm = ""] = digest.split(":");
  const name = algorithm === "sha512" ? "SHA-512" : "SHA-256";
  return `${algorithm}:${await hexDigest(name, content)}`;
}

/** The layers' diff ids, as a config lists them. */
export function diffIdsOf(files: ImageFiles, config: unknown, layers: number): readonly string[] {
  const { rootfs } = objectOf(files, "config", config);
  const { diff_ids: ids } = objectOf(files, "config's rootfs", rootfs);
  const all = listOf(files, "config's rootfs.diff_ids", ids).map((id, at) => {
    return digestOf(files, `config's rootfs.diff_ids[${at}]`, id);
  });
  if (all.length === layers && layers > 0) return all;
  throw imageError(files.path, `it has ${layers} layers, and its config lists ${all.length}`);
}

/** The platform that the platform of a descriptor, or a config, says. */
export function platformOf({ os, architecture, variant }: Json): string {
  return [os, architecture, variant].filter((part) => typeof part === "string").join("/");
}

/** Whether a platform is the one that is wanted; a variant matters only where one is asked for. */
export function isPlatform(platform: string, wanted: string): boolean {
  return platform === wanted || platform.startsWith(`${wanted}/`);
}

/** Refuses an image that is for another platform than was asked for: not every index says of which it is. */
export function checkPlatform(files: ImageFiles, config: unknown, { platform }: ImageChoice): void {
  const is = platformOf(objectOf(files, "config", config));
  if (platform === undefined || is === "" || isPlatform(is, platform)) return;
  const hint = `leave --platform ${platform} out, or get the image for it`;
  throw imageError(files.path, `it is for ${quote(is)}`, hint);
}
