/**
 * Reading a tar archive as it comes in, piece by piece: ustar, GNU and pax, by the rules of POSIX pax and
 * of GNU tar's own headers. What can be understood in two ways is refused.
 *
 * Libraries for the format decode extended attributes as text, which destroys those that are not, such as
 * `security.capability`; so this is our own.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { attributesOf, numberOf, parseGlobalRecords, parseRecords, timeOf } from "./pax_records.ts";
import type { Records } from "./pax_records.ts";
import { quote, quoteBytes } from "./quote.ts";
import { BLOCK, padding, SIZE_MAX, textOfBytes, TYPE_FLAGS } from "./tar_entry.ts";
import type { EntryType, TarEntry } from "./tar_entry.ts";

/** Who is told what an archive holds. */
export interface TarHandler {
  /** An entry begins. */
  readonly entry: (entry: TarEntry) => void;
  /** A piece of the content of the entry; valid until the next piece is pushed. */
  readonly data: (bytes: Uint8Array) => void;
  /** The entry is over. */
  readonly end: () => void;
}

/** The most bytes that the records of one entry may have, or those of all entries together. */
const RECORDS_MAX = 1 << 20;

/** The largest numbers that Linux gives users and groups; the one above stands for none. */
const ID_MAX = 0xfffffffe;

/** The largest numbers of a device (kernel, `include/linux/kdev_t.h`). */
const MAJOR_MAX = 0xfff;
const MINOR_MAX = 0xfffff;

/** The type flags of what goes with the next entry: its records, or a long name or link of it. */
const EXTENSIONS = "xgLKX";

const TYPES: Readonly<Record<string, EntryType>> = {
  ...Object.fromEntries(Object.entries(TYPE_FLAGS).map(([type, flag]) => [flag, type])),
  "\0": "file",
  "7": "file",
};

/** What cannot be unpacked faithfully, by type flag. */
const REFUSED: Readonly<Record<string, string>> = {
  S: "a sparse file; make the archive without --sparse",
  D: "a list of a directory, of an incremental archive",
  M: "the rest of a file, of an archive in several volumes",
  V: "the label of a volume",
};

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

function textAt(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return textOfBytes(end < 0 ? field : field.subarray(0, end));
}

/** A number that is written as most are: octal digits up to the end or NUL; `null` of all others. */
function plainNumberAt(block: Uint8Array, at: number, length: number): number | null {
  let value = 0;
  for (let i = at; i < at + length; i++) {
    const digit = (block[i] ?? 0) - 48;
    if (digit < 0 || digit > 7) return digit === -48 && i > at ? value : null;
    value = value * 8 + digit;
  }
  return value;
}

/** A number: octal digits, or, with the highest bit set, two's complement in the rest (GNU). */
function numberAt(block: Uint8Array, at: number, length: number): number {
  const plain = plainNumberAt(block, at, length);
  if (plain !== null) return plain;
  const first = block[at] ?? 0;
  if ((first & 0x80) !== 0) {
    const negative = (first & 0x40) !== 0;
    let value = negative ? first - 0x100 : first & 0x7f;
    for (let i = at + 1; i < at + length; i++) value = value * 256 + (block[i] ?? 0);
    if (!Number.isSafeInteger(value)) throw archiveError("a number in a header is out of range");
    return value;
  }
  const text = textAt(block, at, length).trim();
  if (text === "") return 0;
  if (!/^[0-7]+$/.test(text)) {
    throw archiveError(`a header has ${quoteBytes(text)} where a number must be`);
  }
  return Number.parseInt(text, 8);
}

/** The sum of all bytes, with blanks for the sum itself; old programs took bytes as signed. */
function checkSum(block: Uint8Array): void {
  let unsigned = 0;
  let signed = 0;
  for (let i = 0; i < BLOCK; i++) {
    const byte = i >= 148 && i < 156 ? 32 : block[i] ?? 0;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const sum = numberAt(block, 148, 8);
  if (sum !== unsigned && sum !== signed) {
    throw archiveError("the checksum of a header is wrong, so it is damaged, or no tar archive");
  }
}

/** What was read of the extensions of the entry that comes next. */
interface Extensions {
  readonly records: Records;
  readonly name: string | null;
  readonly link: string | null;
}

const NOTHING: Extensions = { records: new Map(), name: null, link: null };

function nameOf(block: Uint8Array): string {
  const name = textAt(block, 0, 100);
  // Only POSIX has a prefix; with GNU's magic there are times in its place.
  const prefix = textAt(block, 257, 6) === "ustar" && block[262] === 0
    ? textAt(block, 345, 155)
    : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** A text that pax records, an entry of GNU before it, or else the header says. */
function textFrom(pax: string | undefined, gnu: string | null, inHeader: () => string): string {
  if (pax && gnu !== null && pax !== gnu) {
    throw archiveError(`an entry is called ${quoteBytes(gnu)} and ${quoteBytes(pax)}`);
  }
  return (pax || gnu) ?? inHeader();
}

function typeOf(block: Uint8Array, path: string, records: Records): EntryType {
  const flag = String.fromCharCode(block[156] ?? 0);
  const isSparse = records.size > 0 &&
    [...records.keys()].some((key) => key.startsWith("GNU.sparse."));
  const refused = isSparse ? REFUSED.S : REFUSED[flag];
  if (refused !== undefined) throw archiveError(`${quoteBytes(path)} is ${refused}`);
  const type = TYPES[flag];
  if (type === undefined) throw archiveError(`${quoteBytes(path)} is of type ${quote(flag)}`);
  // Archives of before POSIX tell a directory by its slash.
  return type === "file" && path.endsWith("/") ? "directory" : type;
}

/** Of what is no file, some readers pass over content and others take it for entries. */
function sizeOf(block: Uint8Array, path: string, type: EntryType, records: Records): number {
  const inHeader = numberAt(block, 124, 12);
  const inRecords = numberOf(records, "size");
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

function ownerOf(block: Uint8Array, path: string, records: Records): [number, number] {
  const uid = numberOf(records, "uid") ?? numberAt(block, 108, 8);
  const gid = numberOf(records, "gid") ?? numberAt(block, 116, 8);
  if (Math.min(uid, gid) >= 0 && Math.max(uid, gid) <= ID_MAX) return [uid, gid];
  throw archiveError(`${quoteBytes(path)} has the owner ${uid}:${gid}`);
}

function deviceOf(block: Uint8Array, path: string): [number, number] {
  const [major, minor] = [numberAt(block, 329, 8), numberAt(block, 337, 8)];
  const fits = major >= 0 && minor >= 0 && major <= MAJOR_MAX && minor <= MINOR_MAX;
  if (fits) return [major, minor];
  throw archiveError(`${quoteBytes(path)} is the device ${major},${minor}, which Linux has not`);
}

function entryOf(block: Uint8Array, { records, name, link }: Extensions): TarEntry {
  const path = textFrom(records.get("path"), name, () => nameOf(block));
  const type = typeOf(block, path, records);
  const size = sizeOf(block, path, type, records);
  const [uid, gid] = ownerOf(block, path, records);
  const isLink = type === "symlink" || type === "hardlink";
  const isDevice = type === "char" || type === "block";
  const target = () => textFrom(records.get("linkpath"), link, () => textAt(block, 157, 100));
  return {
    name: path,
    type,
    mode: numberAt(block, 100, 8) & 0o7777,
    uid,
    gid,
    size,
    mtime: timeOf(records, () => numberAt(block, 136, 12)),
    link: isLink ? target() : "",
    device: isDevice ? deviceOf(block, path) : [0, 0],
    attributes: attributesOf(records),
  };
}

/** Reads an archive that is pushed in, piece by piece. */
export class TarReader {
  readonly #handler: TarHandler;
  readonly #block = new Uint8Array(BLOCK);
  #filled = 0;
  /** How much of the content of the current entry is still to come, and of the padding after it. */
  #content = 0;
  #padding = 0;
  /** What is being read instead of an entry: the flag of an extension, and what it holds so far. */
  #extension: { readonly flag: string; readonly parts: string[] } | null = null;
  #next = NOTHING;
  #global: Records = new Map();
  #globalSize = 0;
  #ended = false;

  /** Starts to read for a handler. */
  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  /** Whether the archive is over; what comes after must be zeros. */
  get ended(): boolean {
    return this.#ended;
  }

  /** How many bytes may be passed over, as of the content of a file that nobody wants. */
  get remaining(): number {
    return this.#extension === null ? this.#content + this.#padding : 0;
  }

  /** Passes over bytes that are not handed in. */
  skip(bytes: number): void {
    const content = Math.min(bytes, this.#content);
    this.#content -= content;
    this.#padding -= bytes - content;
    if (content > 0 && this.#content === 0) this.#handler.end();
  }

  /**
   * Reads a piece.
   *
   * @throws {OverlayError} If it is not as it must be.
   */
  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      if (this.#content > 0) at += this.#pushContent(bytes.subarray(at, at + this.#content));
      else if (this.#padding > 0) at += this.#pushPadding(bytes.length - at);
      else at += this.#pushHeader(bytes.subarray(at, at + BLOCK - this.#filled));
    }
  }

  /**
   * Ends the reading.
   *
   * @throws {OverlayError} If the archive is cut off.
   */
  end(): void {
    const rest = this.#block.subarray(0, this.#filled);
    if (this.#ended && !isZero(rest)) throw archiveError("something follows its end");
    // Some programs write nothing after the last content, not even what fills its block.
    const inside = this.#content > 0 || this.#next !== NOTHING;
    if (inside || (rest.length > 0 && !this.#ended)) {
      throw archiveError("it ends in the middle of an entry");
    }
  }

  #pushContent(bytes: Uint8Array): number {
    this.#content -= bytes.length;
    if (this.#extension !== null) {
      this.#extension.parts.push(textOfBytes(bytes));
      if (this.#content === 0) this.#endExtension(this.#extension);
      return bytes.length;
    }
    this.#handler.data(bytes);
    if (this.#content === 0) this.#handler.end();
    return bytes.length;
  }

  #pushPadding(available: number): number {
    const bytes = Math.min(available, this.#padding);
    this.#padding -= bytes;
    return bytes;
  }

  #pushHeader(bytes: Uint8Array): number {
    this.#block.set(bytes, this.#filled);
    this.#filled += bytes.length;
    if (this.#filled < BLOCK) return bytes.length;
    this.#filled = 0;
    if (isZero(this.#block)) this.#ended = true;
    else if (this.#ended) throw archiveError("something follows its end");
    else this.#readHeader();
    return bytes.length;
  }

  #readHeader(): void {
    const block = this.#block;
    checkSum(block);
    const flag = String.fromCharCode(block[156] ?? 0);
    if (EXTENSIONS.includes(flag)) return this.#startExtension(flag, numberAt(block, 124, 12));
    const next = this.#next;
    this.#next = NOTHING;
    const entry = entryOf(block, {
      ...next,
      records: this.#global.size === 0 ? next.records : new Map([...this.#global, ...next.records]),
    });
    this.#content = entry.size;
    this.#padding = padding(entry.size);
    this.#handler.entry(entry);
    if (entry.size === 0) this.#handler.end();
  }

  #startExtension(flag: string, size: number): void {
    if (size < 0 || size > RECORDS_MAX) {
      throw archiveError(`the records of an entry have ${size} bytes, and may have ${RECORDS_MAX}`);
    }
    this.#content = size;
    this.#padding = padding(size);
    const extension = { flag, parts: [] };
    if (size > 0) this.#extension = extension;
  }

  #endExtension({ flag, parts }: { readonly flag: string; readonly parts: string[] }): void {
    this.#extension = null;
    const text = parts.join("");
    if (flag === "g") return this.#addGlobal(text);
    const next = this.#next;
    if (flag === "L") this.#next = { ...next, name: text.replace(/\0.*$/s, "") };
    else if (flag === "K") this.#next = { ...next, link: text.replace(/\0.*$/s, "") };
    else if (next.records.size === 0) this.#next = { ...next, records: parseRecords(text) };
    else throw archiveError("an entry has two sets of pax records");
  }

  #addGlobal(text: string): void {
    this.#globalSize += text.length;
    if (this.#globalSize > RECORDS_MAX) {
      const reason = `have more than ${RECORDS_MAX} bytes`;
      throw archiveError(`the records of all entries ${reason}`);
    }
    this.#global = new Map([...this.#global, ...parseGlobalRecords(text)]);
  }
}
