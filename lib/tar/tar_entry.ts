/**
 * The entries of a tar archive, and their format: ustar headers, with pax records for values that do not
 * fit. Text is kept as bytes: each character of a string is one byte, since a name need not be UTF-8.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The type of an entry. */
export type EntryType =
  | "file"
  | "hardlink"
  | "symlink"
  | "char"
  | "block"
  | "directory"
  | "fifo";

/** An entry of an archive. */
export interface TarEntry {
  /** The path, as bytes. */
  readonly name: string;
  /** The type. */
  readonly type: EntryType;
  /** The twelve mode bits. */
  readonly mode: number;
  /** The owner. */
  readonly uid: number;
  /** The group. */
  readonly gid: number;
  /** The size of the content in bytes; 0 except for files. */
  readonly size: number;
  /** Seconds since 1970, as a decimal number that may have a fraction. */
  readonly mtime: string;
  /** The target of a link, as bytes; empty for other entries. */
  readonly link: string;
  /** The device of a device node. */
  readonly device: readonly [major: number, minor: number];
  /** The extended attributes by name; values as bytes. */
  readonly attributes: ReadonlyMap<string, string>;
}

/** The metadata of a directory. */
export type Directory = Pick<TarEntry, "mode" | "uid" | "gid" | "mtime" | "attributes">;

/** The size of a block, in bytes; headers and contents are padded to it. */
export const BLOCK = 512;

/** The type flag of each type (POSIX pax, "ustar Interchange Format"). */
export const TYPE_FLAGS: Readonly<Record<EntryType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

/** The attributes of most entries: none. */
export const NO_ATTRIBUTES: ReadonlyMap<string, string> = new Map();

/** A typical directory, from which other entries are made. */
export const PLAIN_DIRECTORY: Omit<TarEntry, "name"> = {
  type: "directory",
  mode: 0o755,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: "0",
  link: "",
  device: [0, 0],
  attributes: NO_ATTRIBUTES,
};

/** The blocks that end an archive. */
export const END_OF_ARCHIVE: Uint8Array<ArrayBuffer> = new Uint8Array(2 * BLOCK);

/** The prefix of the records of extended attributes, as in GNU tar and Go. */
export const ATTRIBUTE_RECORD = "SCHILY.xattr.";

/** Converts bytes to a string of one character each. */
export function bytesToText(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += Reflect.apply(String.fromCharCode, null, bytes.subarray(at, at + 4096));
  }
  return text;
}

/** Converts such a string to bytes. */
export function textToBytes(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** Computes the number of bytes that are missing to a whole block. */
export function padding(size: number): number {
  return (BLOCK - size % BLOCK) % BLOCK;
}

function put(header: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) header[at + i] = text.charCodeAt(i);
}

function putOctal(header: Uint8Array, at: number, digits: number, value: number): void {
  let rest = value;
  for (let i = digits - 1; i >= 0; i--) {
    header[at + i] = 48 + rest % 8;
    rest = Math.floor(rest / 8);
  }
}

const NAME_MAX = 100;
const ID_MAX = 0o7777777;

/** The largest size, and the latest time, that a header holds without GNU's extension. */
export const SIZE_MAX = 0o77777777777;

/** Tells whether a time fits into a header without a record. */
function fitsHeader(mtime: string): boolean {
  return /^\d{1,11}$/.test(mtime) && Number(mtime) <= SIZE_MAX;
}

function formatHeader(entry: TarEntry, flag: string): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const seconds = fitsHeader(entry.mtime) ? Number(entry.mtime) : 0;
  put(block, 0, entry.name.slice(0, NAME_MAX));
  putOctal(block, 100, 7, entry.mode);
  putOctal(block, 108, 7, Math.min(entry.uid, ID_MAX));
  putOctal(block, 116, 7, Math.min(entry.gid, ID_MAX));
  putOctal(block, 124, 11, entry.size <= SIZE_MAX ? entry.size : 0);
  putOctal(block, 136, 11, seconds);
  put(block, 148, " ".repeat(8));
  put(block, 156, flag);
  put(block, 157, entry.link.slice(0, NAME_MAX));
  put(block, 257, "ustar\x0000");
  putOctal(block, 329, 7, entry.device[0]);
  putOctal(block, 337, 7, entry.device[1]);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += block[i] ?? 0;
  put(block, 148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

/** Formats a pax record, which begins with its own length, including the digits. */
function formatRecord(key: string, value: string): string {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  if (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function formatRecords(entry: TarEntry): string {
  const { name, link, uid, gid, size, mtime } = entry;
  let records = "";
  if (name.length > NAME_MAX) records += formatRecord("path", name);
  if (link.length > NAME_MAX) records += formatRecord("linkpath", link);
  if (uid > ID_MAX) records += formatRecord("uid", String(uid));
  if (gid > ID_MAX) records += formatRecord("gid", String(gid));
  if (size > SIZE_MAX) records += formatRecord("size", String(size));
  if (!fitsHeader(mtime)) records += formatRecord("mtime", mtime);
  for (const [key, value] of entry.attributes) {
    records += formatRecord(ATTRIBUTE_RECORD + key, value);
  }
  return records;
}

/**
 * Formats the blocks before the content of an entry. Header and records never contradict each other, so that
 * all readers agree.
 *
 * @returns The blocks: pax records, if needed, and the header.
 */
export function formatEntry(entry: TarEntry): Uint8Array[] {
  const own = formatHeader(entry, TYPE_FLAGS[entry.type]);
  const records = formatRecords(entry);
  if (records === "") return [own];
  const size = records.length;
  const content = new Uint8Array(size + padding(size));
  put(content, 0, records);
  const extended = { ...PLAIN_DIRECTORY, name: "pax", mode: 0o644, size };
  return [formatHeader(extended, "x"), content, own];
}
