/**
 * Reads a tar archive as a stream: ustar, GNU and pax, by the rules of POSIX pax and of GNU tar. Ambiguous
 * archives are refused.
 *
 * Existing libraries decode extended attributes as text, which destroys binary ones such as
 * `security.capability`.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { parseGlobalRecords, parseRecords } from "./pax_records.ts";
import { quoteBytes } from "../core/quote.ts";
import { BLOCK, bytesToText, padding } from "./tar_entry.ts";
import type { TarEntry } from "./tar_entry.ts";
import { checkSum, NOTHING, parseHeader, readNumberAt, readSparseNumbers } from "./tar_header.ts";
import { SparseFile } from "./tar_sparse.ts";
import type { SparseHeader } from "./tar_sparse.ts";

/** The listeners for the contents of an archive. */
export interface TarHandler {
  /** Called when an entry begins; with `isPassed`, it is a sparse file whose content is skipped. */
  readonly entry: (entry: TarEntry, isPassed: boolean) => void;
  /** Called with a piece of the content, valid until the next piece is pushed. */
  readonly data: (bytes: Uint8Array) => void;
  /** Called when the entry ends. */
  readonly end: () => void;
}

/** The largest size of the records of one entry, or of global records, in bytes. */
const RECORDS_MAX = 1 << 20;

/** The number of bytes of holes that are filled in one step. */
const STEP_MAX = 1 << 20;

/** The options of a reader. */
export interface TarReaderOptions {
  /** The treatment of sparse files: refused, skipped, or read with zeros in their holes. @default {"refuse"} */
  readonly sparse?: "refuse" | "pass" | "fill";
}

/** The type flags of extensions of the next entry: its records, or a long name or link. */
const EXTENSIONS = "xgLKX";

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads an archive that is pushed in, piece by piece. */
export class TarReader {
  readonly #handler: TarHandler;
  readonly #block = new Uint8Array(BLOCK);
  #filled = 0;
  /** The remaining bytes of the current entry's content, and of the padding after it. */
  #content = 0;
  #padding = 0;
  /** The extension that is being read: its flag, and its text so far. */
  #extension: { readonly flag: string; readonly parts: string[] } | null = null;
  #next = NOTHING;
  readonly #sparseMode: "refuse" | "pass" | "fill";
  /** Set while blocks of a map are skipped. */
  #inPassedBlocks = false;
  /** The sparse file that is being read. */
  #sparse: SparseFile | null = null;
  readonly #global = new Map<string, string>();
  #globalSize = 0;
  #ended = false;

  /** Takes the listeners. */
  constructor(handler: TarHandler, options: TarReaderOptions = {}) {
    this.#handler = handler;
    this.#sparseMode = options.sparse ?? "refuse";
  }

  /** Set once the archive has ended; only zeros may follow. */
  get ended(): boolean {
    return this.#ended;
  }

  /** The number of bytes that may be skipped, in the content of an unwanted file. */
  get remaining(): number {
    const isContent = this.#extension === null && !this.#inPassedBlocks;
    return isContent ? this.#content + this.#padding : 0;
  }

  /** Skips bytes that are not pushed. */
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
    for (let at = 0; at < bytes.length || this.isFilling;) at += this.step(bytes.subarray(at));
  }

  /** Set while a hole of a sparse file is being filled, which needs another step. */
  get isFilling(): boolean {
    return this.#sparse?.hasHole === true;
  }

  /**
   * Reads a piece up to its end, or until a large part of a hole was filled, since few bytes can expand to many.
   *
   * @returns The number of bytes that were read.
   * @throws {OverlayError} If it is not as it must be.
   */
  step(bytes: Uint8Array): number {
    let at = 0;
    for (let filled = 0; filled < STEP_MAX;) {
      if (this.#sparse?.hasHole) filled += this.#fill(this.#sparse);
      else if (at === bytes.length) break;
      else if (this.#inPassedBlocks || this.#sparse?.isInBlocks) {
        at += this.#pushHeader(this.#blockOf(bytes, at));
      } else if (this.#content > 0) at += this.#pushContent(bytes.subarray(at, at + this.#content));
      else if (this.#padding > 0) at += this.#pushPadding(bytes.length - at);
      else at += this.#pushHeader(this.#blockOf(bytes, at));
    }
    return at;
  }

  /**
   * Ends the reading.
   *
   * @throws {OverlayError} If the archive is truncated.
   */
  end(): void {
    const rest = this.#block.subarray(0, this.#filled);
    if (this.#ended && !isZero(rest)) throw archiveError("something follows its end");
    // Some programs end after the last content, without padding.
    const inside = this.#content > 0 || this.#next !== NOTHING || this.#sparse !== null ||
      this.#inPassedBlocks;
    if (inside || (rest.length > 0 && !this.#ended)) {
      throw archiveError("it ends in the middle of an entry");
    }
  }

  /** Returns the part of a piece that belongs to the current block. */
  #blockOf(bytes: Uint8Array, at: number): Uint8Array {
    return bytes.subarray(at, at + BLOCK - this.#filled);
  }

  #pushContent(bytes: Uint8Array): number {
    if (this.#sparse !== null) return this.#pushSparse(this.#sparse, bytes);
    this.#content -= bytes.length;
    if (this.#extension !== null) {
      this.#extension.parts.push(bytesToText(bytes));
      if (this.#content === 0) this.#endExtension(this.#extension);
      return bytes.length;
    }
    this.#handler.data(bytes);
    if (this.#content === 0) this.#handler.end();
    return bytes.length;
  }

  #pushSparse(sparse: SparseFile, bytes: Uint8Array): number {
    const taken = sparse.push(bytes);
    this.#content -= taken;
    this.#endSparse();
    return taken;
  }

  #fill(sparse: SparseFile): number {
    const filled = sparse.fill();
    this.#endSparse();
    return filled;
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
    if (this.#inPassedBlocks) this.#passMapBlock();
    else if (this.#sparse?.isInBlocks) this.#readMapBlock(this.#sparse);
    else if (isZero(this.#block)) this.#ended = true;
    else if (this.#ended) throw archiveError("something follows its end");
    else this.#readHeader();
    return bytes.length;
  }

  #readMapBlock(sparse: SparseFile): void {
    sparse.pushBlock(readSparseNumbers(this.#block, 0, 21), this.#block[504] === 0);
    this.#endSparse();
  }

  #readHeader(): void {
    const block = this.#block;
    checkSum(block);
    const flag = String.fromCharCode(block[156] ?? 0);
    if (EXTENSIONS.includes(flag)) return this.#startExtension(flag, readNumberAt(block, 124, 12));
    const next = this.#next;
    this.#next = NOTHING;
    const { entry, stored, sparse } = parseHeader(block, {
      ...next,
      records: this.#global.size === 0 ? next.records : new Map([...this.#global, ...next.records]),
    });
    this.#content = stored;
    this.#padding = padding(stored);
    if (sparse !== null) return this.#startSparse(entry, sparse);
    this.#handler.entry(entry, false);
    if (stored === 0) this.#handler.end();
  }

  #startSparse(entry: TarEntry, header: SparseHeader): void {
    if (this.#sparseMode === "refuse") {
      const what = "a sparse file; make the archive without --sparse";
      throw archiveError(`${quoteBytes(entry.name)} is ${what}`);
    }
    this.#handler.entry(entry, this.#sparseMode === "pass");
    if (this.#sparseMode === "pass") {
      this.#inPassedBlocks = header.rest === "blocks";
      return this.#endPassed();
    }
    this.#sparse = new SparseFile(header, this.#content, (bytes) => this.#handler.data(bytes));
    this.#endSparse();
  }

  #passMapBlock(): void {
    this.#inPassedBlocks = this.#block[504] !== 0;
    this.#endPassed();
  }

  #endPassed(): void {
    if (!this.#inPassedBlocks && this.#content === 0) this.#handler.end();
  }

  #endSparse(): void {
    if (this.#sparse?.isDone !== true) return;
    this.#sparse = null;
    this.#handler.end();
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
    for (const [key, value] of parseGlobalRecords(text)) this.#global.set(key, value);
  }
}
