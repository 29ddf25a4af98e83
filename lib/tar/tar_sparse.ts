/**
 * The maps of sparse files, in all formats of GNU tar: the extents of the data in the archive. Between and
 * after them are holes, which read as zeros.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { BLOCK, bytesToText } from "./tar_entry.ts";

/** A piece of data: its offset in the file, and its length in bytes. */
export type Extent = readonly [offset: number, length: number];

/** The headers of a sparse file. */
export interface SparseHeader {
  /** The size of the file with its holes, in bytes. */
  readonly size: number;
  /** The name of the file; `null` if it is that of the entry. */
  readonly name: string | null;
  /** The numbers of the map that are known from the headers. */
  readonly numbers: readonly number[];
  /** The place of the rest of the map: blocks after the header, the beginning of the content, or none. */
  readonly rest: "blocks" | "content" | "none";
}

/** The largest number of numbers in a map. */
const NUMBERS_MAX = 1 << 17;

/** The key of a map in records, under which those of version 0.0 are joined. */
export const SPARSE_NUMBERS = "GNU.sparse.map";

function malformed(): Error {
  return archiveError("the map of a sparse file is malformed");
}

function parseNumber(text: string | undefined): number {
  if (text === undefined || !/^\d{1,16}$/.test(text)) throw malformed();
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw malformed();
  return value;
}

/** Parses the map in the records of an entry; `null` if there is none. */
export function parseSparseRecords(records: ReadonlyMap<string, string>): SparseHeader | null {
  const size = records.get("GNU.sparse.realsize") ?? records.get("GNU.sparse.size");
  const [major, minor] = [records.get("GNU.sparse.major"), records.get("GNU.sparse.minor")];
  const map = records.get(SPARSE_NUMBERS);
  if (major === undefined && map === undefined && size === undefined) return null;
  const common = { size: parseNumber(size), name: records.get("GNU.sparse.name") || null };
  if (major === "1" && minor === "0") return { ...common, numbers: [], rest: "content" };
  if (major !== undefined && major !== "0") {
    throw archiveError(`a sparse file has the version ${Number(major)}.${Number(minor)}`);
  }
  const numbers = (map ?? "") === "" ? [] : (map ?? "").split(",").map(parseNumber);
  return { ...common, numbers, rest: "none" };
}

/** Parses the extents of a map, which must be in order, within the file, and match the size in the archive. */
function parseExtents(
  numbers: readonly number[],
  file: { readonly size: number; readonly stored: number },
): readonly Extent[] {
  if (numbers.length % 2 !== 0) throw malformed();
  const extents: Extent[] = [];
  let [end, stored] = [0, 0];
  for (let at = 0; at < numbers.length; at += 2) {
    const [offset = 0, length = 0] = [numbers[at], numbers[at + 1]];
    if (offset < end || length < 0 || offset + length > file.size) throw malformed();
    [end, stored] = [offset + length, stored + length];
    if (length > 0) extents.push([offset, length]);
  }
  if (stored !== file.stored) throw malformed();
  return extents;
}

/**
 * Reads a sparse file with zeros in its holes. A map in the content has one decimal number in each line, the
 * count of extents first, and is padded to whole blocks.
 */
export class SparseFile {
  readonly #size: number;
  readonly #emit: (bytes: Uint8Array) => void;
  readonly #numbers: number[];
  #rest: SparseHeader["rest"];
  /** The remaining bytes of the content. */
  #stored: number;
  #extents: readonly Extent[] = [];
  /** The index of the current extent, and the offset of the next byte in the file. */
  #next = 0;
  #position = 0;
  #hole = 0;
  /** The map in the content so far: the last line, which may be incomplete, and the number of bytes. */
  #line = "";
  #mapSize = 0;

  /** Takes the headers, the size of the content in the archive, and the receiver of the file. */
  constructor(header: SparseHeader, stored: number, emit: (bytes: Uint8Array) => void) {
    this.#size = header.size;
    this.#emit = emit;
    this.#numbers = [...header.numbers];
    this.#rest = header.rest;
    this.#stored = stored;
    if (header.size < 0 || (this.#rest === "content" && stored === 0)) throw malformed();
    if (this.#rest === "none") this.#start();
  }

  /** Set if blocks of the map come next. */
  get isInBlocks(): boolean {
    return this.#rest === "blocks";
  }

  /** Set if a hole comes next. */
  get hasHole(): boolean {
    return this.#hole > 0;
  }

  /** Set if the whole file was emitted. */
  get isDone(): boolean {
    const isRead = this.#rest === "none" && this.#next === this.#extents.length;
    return isRead && this.#hole === 0;
  }

  /** Takes the numbers of a block of the map. */
  pushBlock(numbers: readonly number[], isLast: boolean): void {
    this.#add(numbers);
    if (isLast) this.#start();
  }

  /**
   * Takes a piece of the content.
   *
   * @returns The number of bytes that were taken.
   */
  push(bytes: Uint8Array): number {
    if (this.#rest === "content") return this.#pushMap(bytes);
    const [offset, length] = this.#extents[this.#next] ?? [0, 0];
    const piece = bytes.subarray(0, offset + length - this.#position);
    this.#stored -= piece.length;
    this.#position += piece.length;
    this.#emit(piece);
    if (this.#position < offset + length) return piece.length;
    this.#next++;
    this.#seek();
    return piece.length;
  }

  /**
   * Fills a part of a hole.
   *
   * @returns The number of bytes that were filled.
   */
  fill(): number {
    const length = Math.min(this.#hole, ZEROS.length);
    this.#hole -= length;
    this.#emit(ZEROS.subarray(0, length));
    return length;
  }

  #start(): void {
    this.#rest = "none";
    this.#extents = parseExtents(this.#numbers, { size: this.#size, stored: this.#stored });
    this.#seek();
  }

  /** Goes to the next extent, or to the end of the file. */
  #seek(): void {
    const [offset] = this.#extents[this.#next] ?? [this.#size];
    this.#hole = offset - this.#position;
    this.#position = offset;
  }

  #add(numbers: readonly number[]): void {
    for (const number of numbers) this.#numbers.push(number);
    if (this.#numbers.length > NUMBERS_MAX) throw malformed();
  }

  /** Takes a piece of the map, up to the end of its block. */
  #pushMap(bytes: Uint8Array): number {
    const piece = bytes.subarray(0, BLOCK - this.#mapSize % BLOCK);
    this.#mapSize += piece.length;
    this.#stored -= piece.length;
    const lines = (this.#line + bytesToText(piece)).split("\n");
    this.#line = lines.pop() ?? "";
    if (this.#isMapRead()) this.#line = "";
    else this.#add(lines.map(parseNumber));
    const isWhole = this.#mapSize % BLOCK === 0 || this.#stored === 0;
    if (isWhole && (this.#isMapRead() || this.#stored === 0)) this.#endMap();
    return piece.length;
  }

  #isMapRead(): boolean {
    const [count] = this.#numbers;
    return count !== undefined && this.#numbers.length > 2 * count;
  }

  #endMap(): void {
    const [count] = this.#numbers.splice(0, 1);
    if (count === undefined || this.#numbers.length !== 2 * count) throw malformed();
    this.#start();
  }
}

const ZEROS = new Uint8Array(1 << 16);
