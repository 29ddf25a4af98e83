/**
 * Fitting a layer to the layers below it.
 *
 * Directories that a layer has something in without saying what they are like: in one directory they
 * would stay as the layers below made them; in a layer of its own overlayfs shows the layer's. So they get
 * what they have below.
 *
 * Whiteouts: overlayfs takes a character device 0/0 for a whiteout, and leaves it out where it
 * merges directories. In a directory that it merges with nothing its name would show. So only what is
 * there below is whited out.
 *
 * @module
 */
import { directoryAbove } from "../tar/entry_name.ts";
import type { AttributeClass } from "./layer_policy.ts";
import { formatEntryLine, parseDirectory, parseLines } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";
import type { TarOptions } from "./gnu_tar.ts";
import type { Directory, TarEntry } from "../tar/tar_entry.ts";
import { NO_ATTRIBUTES, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import { unpackEntries } from "./gnu_tar.ts";
import type { LayerNeeds } from "./layer_paths.ts";

/** The lines of a layer, read when they are needed. */
export class LayerLines {
  readonly #path: string;
  #lines: ReadonlyMap<string, Keywords> | null = null;
  readonly #hiding = new Map<string, boolean>();

  /** The lines of the layer that are in a file. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Gets the record of a path; `undefined` when the layer has none. */
  get(path: string): Keywords | undefined {
    this.#lines ??= parseLines(Deno.readTextFileSync(this.#path));
    return this.#lines.get(path);
  }

  /**
   * Tells whether the layer hides a path in the layers below it: a path is hidden if a directory on the way
   * is gone, is something else now, or is opaque. Each directory is looked at once.
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

const OPAQUE = /^(trusted|user)\.overlay\.opaque$/;

/** The keyword of a directory that hides what is below. */
const OPAQUE_KEYWORD = /^xattr\.(trusted|user)\.overlay\.opaque$/;

/** Finds what layers, top first, have at a path; `undefined` where they have nothing, or hide it. */
function findBelow(path: string, layers: readonly LayerLines[]): Keywords | undefined {
  for (const layer of layers) {
    const found = layer.get(path);
    if (found !== undefined || layer.hides(path)) return found;
  }
  return undefined;
}

/** Finds the metadata that a directory inherits, without the mark that it hides what is below. */
function findInherited(path: string, layers: readonly LayerLines[]): Directory | null {
  const directory = parseDirectory(findBelow(path, layers));
  if (directory === null) return null;
  const attributes = [...directory.attributes].filter(([name]) => !OPAQUE.test(name));
  return { ...directory, attributes: new Map(attributes) };
}

/** A device that overlayfs takes for a whiteout. */
const WHITEOUT = { ...PLAIN_DIRECTORY, type: "char", mode: 0 } as const;

/** A layer that is unpacked, and not in its place yet. */
export interface UnpackedLayer extends LayerNeeds {
  /** The class of the attribute that marks opaque directories. */
  readonly attributes: AttributeClass;
  /** Its directory. */
  readonly root: string;
  /** The file with the lines of its entries. */
  readonly lines: string;
}

/** The entries that a layer gets for the sake of the layers below it. */
class Additions {
  readonly #own: LayerLines;
  readonly #below: readonly LayerLines[];
  /** Directories that are as they were: what is made in them must not change their time. */
  readonly #same = new Map<string, TarEntry>();
  readonly #new = new Map<string, TarEntry>();

  constructor(lines: string, below: readonly LayerLines[]) {
    this.#own = new LayerLines(lines);
    this.#below = below;
  }

  /** Gives a directory the metadata that it has in the layers below. */
  inherit(path: string): void {
    this.#add(path, parseDirectory(this.#own.get(path))?.attributes ?? NO_ATTRIBUTES);
  }

  /** Makes a directory that is there below hide what is in it there. */
  empty(path: string, mark: string): void {
    if (findInherited(path, this.#below) === null) return;
    this.#need(directoryAbove(path));
    this.#add(path, new Map([[mark, "y"]]));
  }

  #add(path: string, more: ReadonlyMap<string, string>): void {
    const inherited = findInherited(path, this.#below);
    if (inherited === null) return;
    const attributes = new Map([...inherited.attributes, ...more]);
    this.#new.set(path, { ...PLAIN_DIRECTORY, ...inherited, attributes, name: path });
  }

  /** Whites out what is there below. */
  hide(path: string): void {
    const found = findBelow(path, this.#below);
    const isWhiteout = found?.get("type") === "char" && found.get("device") === "0,0";
    if (found === undefined || isWhiteout) return;
    this.#need(directoryAbove(path));
    this.#new.set(path, { ...WHITEOUT, name: path });
  }

  #need(path: string): void {
    if (this.#same.has(path) || this.#new.has(path)) return;
    if (path !== "") this.#need(directoryAbove(path));
    const own = parseDirectory(this.#own.get(path));
    if (own === null) this.inherit(path);
    else this.#same.set(path, { ...PLAIN_DIRECTORY, ...own, name: path });
  }

  /** For tar; directories before what is in them. */
  get entries(): readonly TarEntry[] {
    return [...this.#same.values(), ...this.#new.values()].map((entry) => {
      return { ...entry, name: `./${entry.name}` };
    });
  }

  /** The lines of what is new. */
  get lines(): string {
    return [...this.#new].map(([path, entry]) => formatEntryLine(path, entry)).join("");
  }
}

/** How long this thread may be deaf to signals, in milliseconds. */
const TURN = 50;

/** Does something for each of many paths, and lets others have their turn in between. */
async function forEachPath(
  paths: readonly string[],
  act: (path: string) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  let start = performance.now();
  for (const path of paths) {
    act(path);
    if (performance.now() - start < TURN) continue;
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    start = performance.now();
  }
}

/**
 * Gives a layer what it needs on the layers below.
 *
 * Requires `--allow-read` and `--allow-write` permission for the layer, and `--allow-run` for tar.
 *
 * @param layer The layer.
 * @param below The lines of the layers below it, top first.
 */
export async function fitLayer(
  layer: UnpackedLayer,
  below: readonly LayerLines[],
  options: TarOptions,
): Promise<void> {
  const added = new Additions(layer.lines, below);
  const { signal } = options;
  const mark = `${layer.attributes}.overlay.opaque`;
  await forEachPath(layer.implicit, (path) => added.inherit(path), signal);
  await forEachPath(layer.emptied, (path) => added.empty(path, mark), signal);
  await forEachPath(layer.whiteouts, (path) => added.hide(path), signal);
  if (added.lines === "") return;
  await unpackEntries(layer.root, added.entries, options);
  await Deno.writeTextFile(layer.lines, added.lines, { append: true });
}
