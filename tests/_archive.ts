/**
 * Archives and images made byte by byte, right or wrong in any place that a test wants.
 *
 * Text is bytes here: one character each, so that it need not be UTF-8.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { dirname } from "@std/path/posix/dirname";
import { join } from "@std/path/posix/join";

const BLOCK = 512;

/** Bytes, or text of which each character is one. */
export type Bytes = Uint8Array<ArrayBuffer> | string;

/** The bytes of such text. */
export function bytes(text: Bytes): Uint8Array<ArrayBuffer> {
  return typeof text === "string" ? Uint8Array.from(text, (char) => char.charCodeAt(0)) : text;
}

/** Bytes one after the other. */
export function concat(...parts: readonly Bytes[]): Uint8Array<ArrayBuffer> {
  const all = parts.map(bytes);
  const whole = new Uint8Array(all.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of all) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Every field of an entry; a number is written in octal, text as it is. */
export interface RawEntry {
  readonly name?: string;
  readonly mode?: number | string;
  readonly uid?: number | string;
  readonly gid?: number | string;
  /** What the header says; @default {the length of the content} */
  readonly size?: number | string;
  readonly mtime?: number | string;
  /** @default {the right one} */
  readonly checksum?: number | string;
  /** The type. @default {"0", a file} */
  readonly flag?: string;
  readonly link?: string;
  /** @default {that of POSIX} */
  readonly magic?: string;
  readonly major?: number | string;
  readonly minor?: number | string;
  readonly prefix?: string;
  readonly content?: Bytes;
}

/** A number as GNU tar writes those that are too large: two's complement, with the highest bit set. */
export function base256(value: bigint, length: number): string {
  let rest = BigInt.asUintN(length * 8, value);
  let text = "";
  for (let at = 0; at < length; at++, rest >>= 8n) {
    text = String.fromCharCode(Number(rest & 0xffn)) + text;
  }
  return String.fromCharCode(text.charCodeAt(0) | 0x80) + text.slice(1);
}

/** Writes a header. */
export function header(raw: RawEntry): Uint8Array<ArrayBuffer> {
  const { name = "file", mode = 0o644, uid = 0, gid = 0, mtime = 1, flag = "0", link = "" } = raw;
  const { size = 0, magic = "ustar\x0000", major = 0, minor = 0, prefix = "", checksum } = raw;
  const block = new Uint8Array(BLOCK);
  const put = (at: number, length: number, value: number | string) => {
    const text = typeof value === "string" ? value : value.toString(8).padStart(length - 1, "0");
    block.set(bytes(text.slice(0, length)), at);
  };
  const fields: [number, number, number | string][] = [
    [0, 100, name],
    [100, 8, mode],
    [108, 8, uid],
    [116, 8, gid],
    [124, 12, size],
    [136, 12, mtime],
    [148, 8, " ".repeat(8)],
    [156, 1, flag],
    [157, 100, link],
    [257, 8, magic],
    [329, 8, major],
    [337, 8, minor],
    [345, 155, prefix],
  ];
  for (const [at, length, value] of fields) put(at, length, value);
  put(148, 7, checksum ?? block.reduce((sum, byte) => sum + byte, 0));
  return block;
}

/** Writes an entry: its header, its content, and zeros up to a whole block. */
export function entry(raw: RawEntry): Uint8Array<ArrayBuffer> {
  const content = bytes(raw.content ?? "");
  const padding = new Uint8Array((BLOCK - content.length % BLOCK) % BLOCK);
  return concat(header({ size: content.length, ...raw }), content, padding);
}

/** A file. */
export function file(
  name: string,
  content: Bytes = "content",
  raw: RawEntry = {},
): Uint8Array<ArrayBuffer> {
  return entry({ name, content, ...raw });
}

/** A directory. */
export function directory(name: string, raw: RawEntry = {}): Uint8Array<ArrayBuffer> {
  return entry({ name, flag: "5", mode: 0o755, ...raw });
}

/** A symlink. */
export function symlink(name: string, link: string, raw: RawEntry = {}): Uint8Array<ArrayBuffer> {
  return entry({ name, flag: "2", link, ...raw });
}

/** A hard link. */
export function hardlink(name: string, link: string, raw: RawEntry = {}): Uint8Array<ArrayBuffer> {
  return entry({ name, flag: "1", link, ...raw });
}

/** A pax record, which says its own length. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}

/** Pax records for the entry that follows, or, with the flag `g`, for all that follow. */
export function pax(
  records: Readonly<Record<string, string>>,
  flag = "x",
): Uint8Array<ArrayBuffer> {
  const all = Object.entries(records).map(([key, value]) => paxRecord(key, value));
  return entry({ name: "PaxHeaders/0", flag, content: all.join("") });
}

/** GNU tar's way to give the entry that follows a long name, `L`, or a long link, `K`. */
export function gnuLong(flag: "L" | "K", text: string): Uint8Array<ArrayBuffer> {
  return entry({ name: "././@LongLink", flag, content: `${text}\0`, magic: "ustar  \0" });
}

/** The end of an archive. */
export const END: Uint8Array<ArrayBuffer> = new Uint8Array(2 * BLOCK);

/** An archive: parts of it, and its end. */
export function archive(...parts: readonly Bytes[]): Uint8Array<ArrayBuffer> {
  return concat(...parts, END);
}

/** Compresses. */
export function gzip(content: Uint8Array, level?: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gzipSync(content, level === undefined ? {} : { level }));
}

/** A digest, as images write it. */
export function digestOf(content: Uint8Array): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

/** A layer of an image; what is left out is as it must be. */
export interface RawLayer {
  /** Its archive, without compression. */
  readonly tar: Uint8Array<ArrayBuffer>;
  /** The bytes that are in the image. @default {the archive, compressed} */
  readonly blob?: Uint8Array<ArrayBuffer>;
  readonly digest?: string;
  readonly size?: number;
  readonly diffId?: string;
}

/** An object of JSON. */
export type Json = Readonly<Record<string, unknown>>;

/** What is to be other than it must be in the documents of an image. */
export interface Changes {
  readonly config?: (config: Json) => unknown;
  readonly manifest?: (manifest: Json) => unknown;
  /** Of an OCI image layout. */
  readonly index?: (index: Json) => unknown;
}

/** The files of an image, by their paths. */
export type Files = Map<string, Uint8Array<ArrayBuffer>>;

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function same(value: Json): unknown {
  return value;
}

function configOf(layers: readonly RawLayer[]): Json {
  const ids = layers.map(({ tar, diffId }) => diffId ?? digestOf(tar));
  return { architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: ids } };
}

const OCI = "application/vnd.oci.image";

/** The files of an OCI image layout. */
export function layoutFiles(layers: readonly RawLayer[], changes: Changes = {}): Files {
  const files: Files = new Map();
  const store = (content: Uint8Array<ArrayBuffer>, digest = digestOf(content)) => {
    files.set(`blobs/${digest.replace(":", "/")}`, content);
    return { digest, size: content.length };
  };
  const config = store(json((changes.config ?? same)(configOf(layers))));
  const manifest = {
    schemaVersion: 2,
    config: { mediaType: `${OCI}.config.v1+json`, ...config },
    layers: layers.map(({ tar, blob = gzip(tar), digest, size }) => {
      const stored = store(blob, digest);
      const wrong = size === undefined ? {} : { size };
      return { mediaType: `${OCI}.layer.v1.tar+gzip`, ...stored, ...wrong };
    }),
  };
  const described = store(json((changes.manifest ?? same)(manifest)));
  const index = {
    schemaVersion: 2,
    manifests: [{ mediaType: `${OCI}.manifest.v1+json`, ...described }],
  };
  files.set("oci-layout", json({ imageLayoutVersion: "1.0.0" }));
  files.set("index.json", json((changes.index ?? same)(index)));
  return files;
}

/** The files that `docker save` writes. */
export function savedFiles(layers: readonly RawLayer[], changes: Changes = {}): Files {
  const files: Files = new Map();
  const config = json((changes.config ?? same)(configOf(layers)));
  const name = `${digestOf(config).slice("sha256:".length)}.json`;
  files.set(name, config);
  const names = layers.map(({ tar, blob = tar }, at) => {
    files.set(`${at}/layer.tar`, blob);
    return `${at}/layer.tar`;
  });
  const manifest = { Config: name, RepoTags: ["mine:latest"], Layers: names };
  files.set("manifest.json", json([(changes.manifest ?? same)(manifest)]));
  return files;
}

/** Files as an archive, with what else is to be in it. */
export function archiveOfFiles(files: Files, ...more: Bytes[]): Uint8Array<ArrayBuffer> {
  return archive(...[...files].map(([name, content]) => file(name, content)), ...more);
}

/** Files in a directory. */
export async function writeFiles(root: string, files: Files): Promise<void> {
  await Deno.mkdir(root, { recursive: true });
  for (const [name, content] of files) {
    await Deno.mkdir(join(root, dirname(name)), { recursive: true });
    await Deno.writeFile(join(root, name), content);
  }
}
