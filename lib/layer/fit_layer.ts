/**
 * What of a layer depends on the layers below it.
 *
 * Directories that a layer has something in without saying what they are like: in one directory they
 * would stay as the layers below made them; in a layer of its own overlayfs shows the layer's. So they get
 * what they have below.
 *
 * What a layer removes: overlayfs takes a character device 0/0 for a whiteout, and leaves it out where it
 * merges directories. In a directory that it merges with nothing its name would show. So only what is
 * there below is whited out.
 *
 * @module
 */
import { above } from "../tar/entry_name.ts";
import type { AttributeClass } from "./layer_filter.ts";
import { directoryOf, entryLine, parseLines } from "../tar/mtree.ts";
import type { Keywords } from "../tar/mtree.ts";
import { Tar } from "./gnu_tar.ts";
import type { TarOptions } from "./gnu_tar.ts";
import { BLOCK, formatEntry } from "../tar/tar_entry.ts";
import type { Directory, TarEntry } from "../tar/tar_entry.ts";
import type { Unpacked } from "./unpack.ts";

/** The lines of a layer, read when they are needed. */
export class LayerLines {
  readonly #path: string;
  #lines: ReadonlyMap<string, Keywords> | null = null;
  readonly #hiding = new Map<string, boolean>();

  /** The lines of the layer that are in a file. */
  constructor(path: string) {
    this.#path = path;
  }

  /** What the layer has at a path. */
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
    const isHere = at !== undefined && (at.get("type") !== "dir" || [...at.keys()].some(isMark));
    const is = isHere || this.hides(above(path));
    this.#hiding.set(path, is);
    return is;
  }
}

const OPAQUE = /^(trusted|user)\.overlay\.opaque$/;

/** Whether a keyword of a line says that a directory hides what is below. */
function isMark(keyword: string): boolean {
  return keyword.startsWith("xattr.") && OPAQUE.test(keyword.slice("xattr.".length));
}

/** What a directory is like in layers, top first; `null` when none of them has it. */
function inheritedOf(path: string, layers: readonly LayerLines[]): Directory | null {
  for (const layer of layers) {
    const found = layer.get(path);
    if (found !== undefined) return withoutMark(directoryOf(found));
    if (layer.hides(path)) return null;
  }
  return null;
}

/** That a directory hides what is below is not inherited. */
function withoutMark(directory: Directory | null): Directory | null {
  if (directory === null) return null;
  const attributes = [...directory.attributes].filter(([name]) => !OPAQUE.test(name));
  return { ...directory, attributes: new Map(attributes) };
}

/** Whether something is at a path in layers, top first. */
function isThere(path: string, layers: readonly LayerLines[]): boolean {
  for (const layer of layers) {
    const found = layer.get(path);
    if (found !== undefined) return !isWhiteout(found);
    if (layer.hides(path)) return false;
  }
  return false;
}

function isWhiteout(keywords: Keywords): boolean {
  return keywords.get("type") === "char" && keywords.get("device") === "0,0";
}

const EMPTY = { type: "directory", size: 0, link: "", device: [0, 0] } as const;

/** What overlayfs takes for a whiteout. */
const WHITEOUT: Omit<TarEntry, "name"> = {
  ...EMPTY,
  type: "char",
  mode: 0,
  uid: 0,
  gid: 0,
  mtime: "0",
  attributes: new Map(),
};

/** A layer that is unpacked, and not in its place yet. */
export interface UnpackedLayer extends Pick<Unpacked, "implicit" | "whiteouts" | "emptied"> {
  /** In which attributes it is said that a directory hides what is below. */
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

  /** A directory takes after the layers below. */
  inherit(path: string): void {
    const inherited = inheritedOf(path, this.#below);
    if (inherited === null) return;
    const marks = [...directoryOf(this.#own.get(path) ?? new Map())?.attributes ?? []];
    const attributes = new Map([...inherited.attributes, ...marks]);
    this.#new.set(path, { ...EMPTY, ...inherited, attributes, name: path });
  }

  /** A directory that is there below hides what is in it there. */
  empty(path: string, mark: string): void {
    const inherited = inheritedOf(path, this.#below);
    if (inherited === null) return;
    this.#need(above(path));
    const attributes = new Map([...inherited.attributes, [mark, "y"]]);
    this.#new.set(path, { ...EMPTY, ...inherited, attributes, name: path });
  }

  /** What is there below is whited out. */
  hide(path: string): void {
    if (!isThere(path, this.#below)) return;
    this.#need(above(path));
    this.#new.set(path, { ...WHITEOUT, name: path });
  }

  #need(path: string): void {
    if (this.#same.has(path) || this.#new.has(path)) return;
    if (path !== "") this.#need(above(path));
    const own = directoryOf(this.#own.get(path) ?? new Map());
    if (own === null) this.inherit(path);
    else this.#same.set(path, { ...EMPTY, ...own, name: path });
  }

  /** For tar; directories before what is in them. */
  get entries(): readonly TarEntry[] {
    return [...this.#same.values(), ...this.#new.values()].map((entry) => {
      return { ...entry, name: `./${entry.name}` };
    });
  }

  /** The lines of what is new. */
  get lines(): string {
    return [...this.#new].map(([path, entry]) => entryLine(path, entry)).join("");
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
  const tar = new Tar(layer.root, options);
  try {
    await tar.write([...added.entries.flatMap(formatEntry), new Uint8Array(2 * BLOCK)]);
    await tar.end();
  } catch (error) {
    await tar.kill();
    throw error;
  }
  await Deno.writeTextFile(layer.lines, added.lines, { append: true });
}
