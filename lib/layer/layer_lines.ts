/**
 * The records of layers, one on top of the other, and what of them is seen.
 *
 * @module
 */
import { directoryAbove } from "../tar/entry_name.ts";
import { parseLines } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";

/** Reads the records in the file with the lines of a layer. */
export function readLines(path: string): ReadonlyMap<string, Keywords> {
  return parseLines(Deno.readTextFileSync(path));
}

/** The records of a layer, read when they are needed. */
export class LayerLines {
  readonly #read: () => ReadonlyMap<string, Keywords>;
  #lines: ReadonlyMap<string, Keywords> | null = null;
  readonly #hiding = new Map<string, boolean>();

  /** Takes a function that reads the records. */
  constructor(read: () => ReadonlyMap<string, Keywords>) {
    this.#read = read;
  }

  /** Gets the record of a path; `undefined` if the layer has none. */
  get(path: string): Keywords | undefined {
    this.#lines ??= this.#read();
    return this.#lines.get(path);
  }

  /**
   * Tells whether the layer hides a path in the layers below it: a directory above the path is removed, replaced
   * by another type, or opaque. Each directory is looked up once.
   */
  hides(path: string): boolean {
    if (path === "") return false;
    const known = this.#hiding.get(path);
    if (known !== undefined) return known;
    const at = this.get(path);
    const isHere = at !== undefined &&
      (at.get("type") !== "dir" || [...at.keys()].some((key) => OPAQUE_KEYWORD.test(key)));
    const is = isHere || this.hides(directoryAbove(path));
    this.#hiding.set(path, is);
    return is;
  }
}

/** The keyword of an opaque directory. */
const OPAQUE_KEYWORD = /^xattr\.(trusted|user)\.overlay\.opaque$/;

/** Finds the record of a path in layers, top first; `undefined` if there is none, or it is hidden. */
export function findBelow(path: string, layers: readonly LayerLines[]): Keywords | undefined {
  for (const layer of layers) {
    const found = layer.get(path);
    if (found !== undefined || layer.hides(path)) return found;
  }
  return undefined;
}

/** Tells whether a record is that of a whiteout: a character device 0/0. */
export function isWhiteout(record: Keywords): boolean {
  return record.get("type") === "char" && record.get("device") === "0,0";
}
