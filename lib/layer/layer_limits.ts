/**
 * The limits of a layer, since a small archive can fill the disk or the memory.
 *
 * Requires no permissions.
 *
 * @module
 */
import { ArchiveError } from "../tar/archive_error.ts";

/** The number of bytes of headers, records and padding that are allowed for each entry. */
const AROUND_ENTRY = 4096;

/** The number of further bytes that are allowed, since records can be long and archives end with zeros. */
const AROUND_ALL = 4 << 20;

/**
 * The number of steps between directories that are allowed for each entry, since symlinks and deep paths can cost
 * far more than their size.
 */
const STEPS_OF_ENTRY = 128;
const STEPS_OF_ALL = 1 << 16;

/** The largest number of non-empty directories that are replaced, since each one restarts tar. */
const REPLACED_MAX = 1000;

/** The largest size of names and directory attributes that are kept until the layer ends, in bytes. */
const KEPT_MAX = 256 << 20;

/** Counts the contents of a layer, and throws if a limit is exceeded. */
export class LayerLimits {
  readonly #maxBytes: number;
  readonly #maxEntries: number;
  #entries = 0;
  /** The number of directories that were made without an entry. */
  #made = 0;
  #bytes = 0;
  #read = 0;
  #kept = 0;
  #steps = 0;
  #replaced = 0;

  /** Starts with the configurable limits. */
  constructor(limits: { readonly maxBytes: number; readonly maxEntries: number }) {
    this.#maxBytes = limits.maxBytes;
    this.#maxEntries = limits.maxEntries;
  }

  /** The number of entries so far. */
  get entries(): number {
    return this.#entries;
  }

  /** Their size, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Counts an entry of this size.
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
   * Counts a directory that is made without an entry.
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
   * Counts bytes of the archive that were read. Bytes that are not content are few, except in a hostile
   * archive.
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
   * Counts a step from one directory to another while a path is resolved.
   *
   * @throws {OverlayError} If that is too much.
   */
  walk(): void {
    const limit = this.#entries * STEPS_OF_ENTRY + STEPS_OF_ALL;
    if (++this.#steps > limit) throw limitError(`${limit} steps through its directories`);
  }

  /**
   * Counts a non-empty directory that is replaced.
   *
   * @throws {OverlayError} If that is too much.
   */
  replace(): void {
    if (++this.#replaced <= REPLACED_MAX) return;
    throw limitError(`${REPLACED_MAX} directories that it replaces by something else`);
  }

  /**
   * Counts a path and attributes that are kept in memory.
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
