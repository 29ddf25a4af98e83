/**
 * The maps of sparse files, in all forms that GNU tar writes: where the data lies that is in the archive.
 * Between and after the data are holes, which read as zeros.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { BLOCK, bytesToText } from "./tar_entry.ts";

/** Where a piece of data begins in the file, and how many bytes it has. */
export type Extent = readonly [offset: number, length: number];

/** How an entry says that its file is sparse. */
export interface SparseHeader {
  /** The bytes of the file, with its holes. */
  readonly size: number;
  /** The name of the file; `null` when the entry has it. */
  readonly name: string | null;
  /** The numbers of the map that are known from the headers. */
  readonly numbers: readonly number[];
  /** Where the rest of the map is: in blocks behind the header, at the beginning of the content, or nowhere. */
  readonly rest: "blocks" | "content" | "none";
}

/** The most numbers in a map. */
const NUMBERS_MAX = 1 << 17;

/** The key of a map in records; the reader of records joins those of version 0.0 under it. */
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

/** The map of the records of an entry; `null` when they have none. */
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

/** The extents of a map, which must be in order, within the file, and of as many bytes as the archive has. */
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
 * A sparse file, read with zeros in its holes. A map that is in the content has decimal numbers, one a line,
 * the count of extents first, and is filled up to whole blocks.
 */
export class SparseFile {
  readonly #size: number;
  readonly #emit: (bytes: Uint8Array) => void;
  readonly #numbers: number[];
  #rest: SparseHeader["rest"];
  /** How much of the content is still to come. */
  #stored: number;
  #extents: readonly Extent[] = [];
  /** Which extent comes next or is being read, and where in the file the next byte goes. */
  #next = 0;
  #position = 0;
  #hole = 0;
  /** The map in the content, as far as it is read: the last line, which may be cut, and the bytes in all. */
  #line = "";
  #mapSize = 0;

  /** Starts with a header, the size of the content in the archive, and who gets the file. */
  constructor(header: SparseHeader, stored: number, emit: (bytes: Uint8Array) => void) {
    this.#size = header.size;
    this.#emit = emit;
    this.#numbers = [...header.numbers];
    this.#rest = header.rest;
    this.#stored = stored;
    if (header.size < 0 || (this.#rest === "content" && stored === 0)) throw malformed();
    if (this.#rest === "none") this.#start();
  }

  /** `true` if blocks of the map come next. */
  get isInBlocks(): boolean {
    return this.#rest === "blocks";
  }

  /** `true` if a hole comes next. */
  get hasHole(): boolean {
    return this.#hole > 0;
  }

  /** `true` if all of the file was emitted. */
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
   * @returns How many of its bytes.
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
   * @returns With how many bytes.
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
