/**
 * The entries that find(1) printed, in the order of a layer. They stay the bytes that find has printed, since
 * objects of all entries of a large directory would take much memory.
 *
 * Requires no permissions.
 *
 * @module
 */
import { bytesToText } from "../tar/tar_entry.ts";

/** An entry of a directory. */
export interface Listed {
  /** The path in the directory, as bytes; empty for the directory itself. */
  readonly path: string;
  /** The type, by the letter of find(1). */
  readonly type: string;
  /** The size in bytes. */
  readonly size: number;
}

/** The format of an entry for find(1): its path, type and size, and what else shows a change. */
export const ENTRY_FORMAT = "%P\\0%y%s %C@ %i %m %U %G\\0";

const SLASH = 0x2f;
const DEVICE = 0x63;

/**
 * Entries: each directory before what is in it, and in it devices first, since whiteouts should precede the
 * other entries; names in the order of their bytes.
 */
export class SortedEntries implements Iterable<Listed> {
  readonly #bytes: Uint8Array;
  /** The places of the paths. */
  readonly #places: readonly number[];

  /** Takes what find(1) printed in {@linkcode ENTRY_FORMAT}. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    const places: number[] = [];
    for (let at = 0; at < bytes.length; at = this.#endOf(this.#endOf(at) + 1) + 1) places.push(at);
    this.#places = places.sort((a, b) => this.#compare(a, b));
  }

  /** The number of entries. */
  get count(): number {
    return this.#places.length;
  }

  /** Makes the entries. */
  *[Symbol.iterator](): Generator<Listed> {
    for (const place of this.#places) {
      const end = this.#endOf(place);
      const [, type = "", size] = /^(.)(\d+)/.exec(this.#text(end + 1, this.#endOf(end + 1))) ?? [];
      yield { path: this.#text(place, end), type, size: Number(size) };
    }
  }

  #text(from: number, to: number): string {
    return bytesToText(this.#bytes.subarray(from, to));
  }

  #endOf(place: number): number {
    return this.#bytes.indexOf(0, place);
  }

  #compare(a: number, b: number): number {
    const bytes = this.#bytes;
    let at = 0;
    let name = 0;
    for (; bytes[a + at] === bytes[b + at]; at++) if (bytes[a + at] === SLASH) name = at + 1;
    const [one = 0, other = 0] = [bytes[a + at], bytes[b + at]];
    // The directory itself has no name.
    if (bytes[a] === 0 || bytes[b] === 0) return one - other;
    const rank = Number(this.#isDevice(b + name)) - Number(this.#isDevice(a + name));
    return rank !== 0 ? rank : orderOf(one) - orderOf(other);
  }

  /** Tells whether the last name of a path begins at a place, and is that of a device. */
  #isDevice(place: number): boolean {
    const end = this.#endOf(place);
    return this.#bytes[end + 1] === DEVICE && !this.#bytes.subarray(place, end).includes(SLASH);
  }
}

/** Orders bytes: the end of a path, then a slash, then any byte of a name. */
function orderOf(byte: number): number {
  return byte === SLASH ? 0.5 : byte;
}
