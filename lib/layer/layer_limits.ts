/**
 * How much a layer may have: a small archive can be made to fill a disk, or the memory.
 *
 * Requires no permissions.
 *
 * @module
 */
import { ArchiveError } from "../tar/archive_error.ts";

/** How many bytes of headers, records and padding an entry may have, of all that an archive may have. */
const AROUND_ENTRY = 4096;

/** How many they may have apart from that: records can be long, and archives end with zeros. */
const AROUND_ALL = 4 << 20;

/**
 * How many steps from directory to directory an entry may take, of all that a layer may take: symlinks and deep
 * paths can be made to cost much more than their bytes.
 */
const STEPS_OF_ENTRY = 128;
const STEPS_OF_ALL = 1 << 16;

/** How many directories that are not empty may be replaced: each has tar started again. */
const REPLACED_MAX = 1000;

/** The most bytes of names, and of attributes of directories, that are kept until the layer is done. */
const KEPT_MAX = 256 << 20;

/** Counts what a layer has, and throws when it is too much. */
export class LayerLimits {
  readonly #maxBytes: number;
  readonly #maxEntries: number;
  #entries = 0;
  /** Directories that were made without an entry: they cost as much. */
  #made = 0;
  #bytes = 0;
  #read = 0;
  #kept = 0;
  #steps = 0;
  #replaced = 0;

  /** Starts with limits that can be set. */
  constructor(limits: { readonly maxBytes: number; readonly maxEntries: number }) {
    this.#maxBytes = limits.maxBytes;
    this.#maxEntries = limits.maxEntries;
  }

  /** How many entries there were. */
  get entries(): number {
    return this.#entries;
  }

  /** How many bytes they had. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * There is an entry of this size.
   *
   * @throws {OverlayError} If that is too much.
   */
  take(size: number): void {
    this.#entries++;
    this.#checkEntries();
    this.#bytes += size;
    if (this.#bytes > this.#maxBytes) throw limitError(`${this.#maxBytes} bytes`, "--max-size");
  }

  /**
   * A directory is made that has no entry.
   *
   * @throws {OverlayError} If that is too much.
   */
  make(): void {
    this.#made++;
    this.#checkEntries();
  }

  #checkEntries(): void {
    if (this.#entries + this.#made <= this.#maxEntries) return;
    throw limitError(`${this.#maxEntries} entries`, "--max-entries");
  }

  /**
   * So many bytes of the archive were read. What is no content is small, unless it is there to keep
   * somebody busy.
   *
   * @throws {OverlayError} If that is too much.
   */
  read(bytes: number): void {
    this.#read += bytes;
    const limit = this.#maxEntries * AROUND_ENTRY + AROUND_ALL;
    if (this.#read - this.#bytes <= limit) return;
    throw limitError(`${limit} bytes beside the contents of its files`, "--max-entries");
  }

  /**
   * A step is made from a directory to another one, to find out where a path leads.
   *
   * @throws {OverlayError} If that is too much.
   */
  walk(): void {
    const limit = this.#entries * STEPS_OF_ENTRY + STEPS_OF_ALL;
    if (++this.#steps > limit) throw limitError(`${limit} steps through its directories`);
  }

  /**
   * A directory that is not empty gives way to something else.
   *
   * @throws {OverlayError} If that is too much.
   */
  replace(): void {
    if (++this.#replaced <= REPLACED_MAX) return;
    throw limitError(`${REPLACED_MAX} directories that it replaces by something else`);
  }

  /**
   * A path, and attributes, are kept in the memory.
   *
   * @throws {OverlayError} If that is too much.
   */
  keep(path: string, attributes: ReadonlyMap<string, string>): void {
    this.#kept += path.length;
    for (const [name, value] of attributes) this.#kept += name.length + value.length;
    if (this.#kept > KEPT_MAX) throw limitError(`${KEPT_MAX} bytes of names and attributes`);
  }
}

function limitError(limit: string, flag?: string): ArchiveError {
  const hint = flag === undefined
    ? "make the image again, with less in it"
    : `if that is as it should be, raise the limit with ${flag}`;
  return new ArchiveError("too-large", "unpack layer", `it has more than ${limit}`, hint);
}
