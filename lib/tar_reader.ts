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
import { OverlayError } from "./errors.ts";
import { quote } from "./quote.ts";
import { ATTRIBUTE_RECORD, BLOCK, padding, textOfBytes, TYPE_FLAGS } from "./tar_entry.ts";
import type { EntryType, TarEntry } from "./tar_entry.ts";

/** Who is told what an archive holds. */
export interface TarHandler {
  /** An entry begins. */
  readonly entry: (entry: TarEntry) => void;
  /** A piece of the content of the entry; valid until the call returns. */
  readonly data: (bytes: Uint8Array) => void;
  /** The entry is over. */
  readonly end: () => void;
}

/** The most bytes that the records of one entry may have. */
const RECORDS_MAX = 1 << 20;

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

/** The error of an archive that is not one, or not one that can be trusted. */
export function archiveError(reason: string): OverlayError {
  return new OverlayError("bad-archive", `Cannot read archive: ${reason}`, {
    hint: "make the image again, or get it again from where it came from",
  });
}

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

function textAt(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return textOfBytes(end < 0 ? field : field.subarray(0, end));
}

/** A number: octal digits, or, with the highest bit set, two's complement in the rest (GNU). */
function numberAt(block: Uint8Array, at: number, length: number): number {
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
    throw archiveError(`a header has ${quote(text)} where a number must be`);
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

/** Reads pax records: `<length> <key>=<value>\n`, one after the other. */
function parseRecords(text: string): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < text.length;) {
    const blank = text.indexOf(" ", at);
    const digits = blank < 0 ? "" : text.slice(at, blank);
    const end = at + Number(digits);
    const equals = text.indexOf("=", blank);
    const whole = /^[1-9]\d{0,8}$/.test(digits) && end <= text.length && text[end - 1] === "\n" &&
      equals > blank + 1 && equals < end;
    if (!whole) throw archiveError("a pax record is malformed");
    records.set(text.slice(blank + 1, equals), text.slice(equals + 1, end - 1));
    at = end;
  }
  return records;
}

function decimal(text: string, key: string): number {
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(Number(text))) {
    throw archiveError(`the pax record ${quote(key)} is ${quote(text)}, which is no number`);
  }
  return Number(text);
}

function timeOf(records: ReadonlyMap<string, string>, block: Uint8Array): string {
  const text = records.get("mtime");
  if (text === undefined || text === "") return String(numberAt(block, 136, 12));
  if (!/^-?\d{1,16}(\.\d{1,30})?$/.test(text)) {
    throw archiveError(`the pax record "mtime" is ${quote(text)}, which is no time`);
  }
  // Without zeros at the end of the fraction, so that one time is written in one way.
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function attributesOf(records: ReadonlyMap<string, string>): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of records) {
    if (!key.startsWith(ATTRIBUTE_RECORD)) continue;
    const name = key.slice(ATTRIBUTE_RECORD.length);
    if (name === "" || name.length > 255 || name.includes("\0")) {
      throw archiveError(`an extended attribute is called ${quote(name)}`);
    }
    found.set(name, value);
  }
  return found;
}

/** What was read of the extensions of the entry that comes next. */
interface Extensions {
  records: Map<string, string>;
  name: string | null;
  link: string | null;
}

function nameOf(block: Uint8Array): string {
  const name = textAt(block, 0, 100);
  // Only POSIX has a prefix; with GNU's magic there are times in its place.
  const prefix = textAt(block, 257, 6) === "ustar" && block[262] === 0
    ? textAt(block, 345, 155)
    : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function entryOf(block: Uint8Array, { records, name, link }: Extensions): TarEntry {
  const flag = String.fromCharCode(block[156] ?? 0);
  const path = (records.get("path") || name) ?? nameOf(block);
  const sparse = [...records.keys()].some((key) => key.startsWith("GNU.sparse."));
  const refused = sparse ? REFUSED.S : REFUSED[flag];
  const known = TYPES[flag];
  if (refused !== undefined) throw archiveError(`${quote(path)} is ${refused}`);
  if (known === undefined) throw archiveError(`${quote(path)} is of type ${quote(flag)}`);
  // Archives of before POSIX tell a directory by its slash.
  const type = known === "file" && path.endsWith("/") ? "directory" : known;
  const number = (key: string, at: number, length: number) => {
    const text = records.get(key);
    return text === undefined || text === "" ? numberAt(block, at, length) : decimal(text, key);
  };
  const size = number("size", 124, 12);
  const [uid, gid] = [number("uid", 108, 8), number("gid", 116, 8)];
  const mode = numberAt(block, 100, 8) & 0o7777;
  if (size < 0) throw archiveError(`${quote(path)} has a size of ${size}`);
  if (Math.min(uid, gid) < 0 || Math.max(uid, gid) > 0xfffffffe) {
    throw archiveError(`${quote(path)} has the owner ${uid}:${gid}`);
  }
  const isLink = type === "symlink" || type === "hardlink";
  const isDevice = type === "char" || type === "block";
  return {
    name: path,
    type,
    mode,
    uid,
    gid,
    size: type === "file" ? size : 0,
    mtime: timeOf(records, block),
    link: isLink ? (records.get("linkpath") || link) ?? textAt(block, 157, 100) : "",
    device: isDevice ? [numberAt(block, 329, 8), numberAt(block, 337, 8)] : [0, 0],
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
  #next: Extensions = { records: new Map(), name: null, link: null };
  #global = new Map<string, string>();
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
    const inside = this.#filled > 0 || this.#content > 0 || this.#padding > 0;
    const waits = this.#next.records.size > 0 || this.#next.name !== null;
    if (inside || waits || this.#next.link !== null) {
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
    this.#next = { records: new Map(), name: null, link: null };
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
    if (flag === "L") this.#next.name = text.replace(/\0.*$/s, "");
    else if (flag === "K") this.#next.link = text.replace(/\0.*$/s, "");
    else if (flag === "g") {
      for (const [key, value] of parseRecords(text)) this.#global.set(key, value);
    } else for (const [key, value] of parseRecords(text)) this.#next.records.set(key, value);
  }
}
