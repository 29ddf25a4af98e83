/**
 * The headers of a tar archive, by the rules of POSIX pax and of GNU tar. An ambiguous header
 * is refused.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { readAttributes, readNumber, readTime } from "./pax_records.ts";
import type { Records } from "./pax_records.ts";
import { quote, quoteBytes } from "../core/quote.ts";
import { parseSparseRecords } from "./tar_sparse.ts";
import type { SparseHeader } from "./tar_sparse.ts";
import { BLOCK, bytesToText, NO_ATTRIBUTES, SIZE_MAX, TYPE_FLAGS } from "./tar_entry.ts";
import type { EntryType, TarEntry } from "./tar_entry.ts";

/** The largest user and group id of Linux; the next number means none. */
const ID_MAX = 0xfffffffe;

/** The largest numbers of a device (kernel, `include/linux/kdev_t.h`). */
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xfffff;

/** The type flag of a sparse file of GNU; other formats use records. */
const SPARSE = "S";

const TYPES: Readonly<Record<string, EntryType>> = {
  ...Object.fromEntries(Object.entries(TYPE_FLAGS).map(([type, flag]) => [flag, type])),
  "\0": "file",
  "7": "file",
  [SPARSE]: "file",
};

/** The entries that cannot be unpacked faithfully, by type flag. */
const REFUSED: Readonly<Record<string, string>> = {
  D: "a list of a directory, of an incremental archive",
  M: "the rest of a file, of an archive in several volumes",
  V: "the label of a volume",
};

function readText(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return bytesToText(end < 0 ? field : field.subarray(0, end));
}

/** Reads a number in the usual form, octal digits up to the end or NUL; `null` for other forms. */
function readPlainNumber(block: Uint8Array, at: number, length: number): number | null {
  let value = 0;
  for (let i = at; i < at + length; i++) {
    const digit = (block[i] ?? 0) - 48;
    if (digit < 0 || digit > 7) return digit === -48 && i > at ? value : null;
    value = value * 8 + digit;
  }
  return value;
}

/** Reads a number: octal digits, or, with the highest bit set, two's complement in the rest (GNU). */
export function readNumberAt(block: Uint8Array, at: number, length: number): number {
  const plain = readPlainNumber(block, at, length);
  if (plain !== null) return plain;
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    const negative = (first & 0x40) !== 0;
    let value = negative ? first - 0x100 : first & 0x7f;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + (block[i] ?? 0);
    if (!Number.isSafeInteger(value)) throw archiveError("a number in a header is out of range");
    return value;
  }
  const text = readText(block, at, length).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) {
    throw archiveError(`a header has ${quoteBytes(text)} where a number must be`);
  }
  return Number.parseInt(text, 8);
}

/** Checks the sum of all bytes, with blanks for the sum itself; old programs used signed bytes. */
export function checkSum(block: Uint8Array): void {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : block[i] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const sum = readNumberAt(block, 148, 8);
  if (sum !== unsigned && sum !== signed) {
    throw archiveError("the checksum of a header is wrong, so it is damaged, or no tar archive");
  }
}

/** The extensions for the next entry. */
export interface Extensions {
  readonly records: Records;
  readonly name: string | null;
  readonly link: string | null;
}

/** No extensions. */
export const NOTHING: Extensions = { records: NO_ATTRIBUTES, name: null, link: null };

function readName(block: Uint8Array): string {
  const name = readText(block, 0, 100);
  // Only POSIX has a prefix; GNU has times in its place.
  const prefix = readText(block, 257, 6) === "ustar" && block[262] === 0
    ? readText(block, 345, 155)
    : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Returns a text from pax records, from a preceding GNU entry, or else from the header. */
function pickText(pax: string | undefined, gnu: string | null, inHeader: () => string): string {
  if (pax && gnu !== null && pax !== gnu) {
    throw archiveError(`an entry is called ${quoteBytes(gnu)} and ${quoteBytes(pax)}`);
  }
  return (pax || gnu) ?? inHeader();
}

function readFlag(block: Uint8Array): string {
  return String.fromCharCode(block[156] ?? 0);
}

function readType(block: Uint8Array, path: string): EntryType {
  const flag = readFlag(block);
  const refused = REFUSED[flag];
  if (refused !== undefined) throw archiveError(`${quoteBytes(path)} is ${refused}`);
  const type = TYPES[flag];
  if (type === undefined) throw archiveError(`${quoteBytes(path)} is of type ${quote(flag)}`);
  // Archives older than POSIX mark a directory by a slash.
  return type === "file" && path.endsWith("/") ? "directory" : type;
}

/** The type flags of entries without content; their size is ignored, as other readers of images do. */
const EMPTY = /^[1-6]$/;

/** The number of bytes of content in the archive. */
function readStoredSize(
  block: Uint8Array,
  path: string,
  type: EntryType,
  records: Records,
): number {
  if (EMPTY.test(readFlag(block))) return 0;
  const inHeader = readNumberAt(block, 124, 12);
  const inRecords = readNumber(records, "size");
  if (inRecords !== null && inRecords !== inHeader && inRecords <= SIZE_MAX) {
    const both = `a size of ${inHeader} in its header and of ${inRecords} in its records`;
    throw archiveError(`${quoteBytes(path)} has ${both}`);
  }
  const size = inRecords ?? inHeader;
  if (size < 0) throw archiveError(`${quoteBytes(path)} has a size of ${size}`);
  if (size === 0 || type === "file") return size;
  const what = `${size} bytes of content, and is of type ${quote(type)}`;
  throw archiveError(`${quoteBytes(path)} has ${what}`);
}

function readOwner(block: Uint8Array, path: string, records: Records): [number, number] {
  const uid = readNumber(records, "uid") ?? readNumberAt(block, 108, 8);
  const gid = readNumber(records, "gid") ?? readNumberAt(block, 116, 8);
  if (Math.min(uid, gid) >= 0 && Math.max(uid, gid) <= ID_MAX) return [uid, gid];
  throw archiveError(`${quoteBytes(path)} has the owner ${uid}:${gid}`);
}

function readDevice(block: Uint8Array, path: string): [number, number] {
  const [major, minor] = [readNumberAt(block, 329, 8), readNumberAt(block, 337, 8)];
  const fits = major >= 0 && minor >= 0 && major <= MAJOR_MAX && minor <= MINOR_MAX;
  if (fits) return [major, minor];
  throw archiveError(`${quoteBytes(path)} is the device ${major},${minor}, which Linux has not`);
}

/** Reads the numbers of a map in blocks, up to the first that is absent. */
export function readSparseNumbers(block: Uint8Array, at: number, count: number): number[] {
  const numbers: number[] = [];
  for (let pair = 0; pair < count && block[at + pair * 24] !== 0; pair++) {
    numbers.push(
      readNumberAt(block, at + pair * 24, 12),
      readNumberAt(block, at + pair * 24 + 12, 12),
    );
  }
  return numbers;
}

/** Reads the sparse header of an entry; `null` if it is not sparse. */
function readSparse(block: Uint8Array, type: EntryType, records: Records): SparseHeader | null {
  if (type !== "file") return null;
  if (readFlag(block) !== SPARSE) return records.size === 0 ? null : parseSparseRecords(records);
  const rest = block[482] === 0 ? "none" : "blocks";
  return {
    size: readNumberAt(block, 483, 12),
    name: null,
    numbers: readSparseNumbers(block, 386, 4),
    rest,
  };
}

/** A parsed header. */
export interface TarHeader {
  /** The entry. */
  readonly entry: TarEntry;
  /** The number of bytes of content in the archive. */
  readonly stored: number;
  /** The sparse header; `null` if the file is not sparse. */
  readonly sparse: SparseHeader | null;
}

/**
 * Parses a header, with the extensions before it.
 *
 * @throws {OverlayError} If it is invalid, ambiguous or not supported.
 */
export function parseHeader(block: Uint8Array, { records, name, link }: Extensions): TarHeader {
  const named = pickText(records.get("path"), name, () => readName(block));
  const type = readType(block, named);
  const stored = readStoredSize(block, named, type, records);
  const sparse = readSparse(block, type, records);
  const path = sparse?.name ?? named;
  const [uid, gid] = readOwner(block, path, records);
  const isLink = type === "symlink" || type === "hardlink";
  const isDevice = type === "char" || type === "block";
  const target = () => pickText(records.get("linkpath"), link, () => readText(block, 157, 100));
  const entry: TarEntry = {
    name: path,
    type,
    mode: readNumberAt(block, 100, 8) & 0o7777,
    uid,
    gid,
    size: sparse?.size ?? stored,
    mtime: readTime(records, () => readNumberAt(block, 136, 12)),
    link: isLink ? target() : "",
    device: isDevice ? readDevice(block, path) : [0, 0],
    attributes: readAttributes(records),
  };
  return { entry, stored, sparse };
}
