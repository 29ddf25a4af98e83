/**
 * Fits a layer to the layers below it.
 *
 * Parent directories that a layer does not list get the metadata of the layers below. Overlayfs shows the
 * metadata of the topmost layer, which would otherwise have defaults.
 *
 * A whiteout is a character device 0/0, which overlayfs hides only in merged directories. In a directory that
 * exists in one layer alone its name would be visible. So only paths that exist below get whiteouts.
 *
 * @module
 */
import { directoryAbove } from "../tar/entry_name.ts";
import type { AttributeClass } from "./layer_policy.ts";
import { formatEntryLine, parseDirectory } from "../tar/mtree.ts";
import { findBelow, isWhiteout, LayerLines, readLines } from "./layer_lines.ts";
import type { TarOptions } from "./gnu_tar.ts";
import type { Directory, TarEntry } from "../tar/tar_entry.ts";
import { NO_ATTRIBUTES, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import { unpackEntries } from "./gnu_tar.ts";
import type { LayerNeeds } from "./layer_paths.ts";

const OPAQUE = /^(trusted|user)\.overlay\.opaque$/;

/** Finds the metadata that a directory inherits, without the attribute of an opaque directory. */
function findInherited(path: string, layers: readonly LayerLines[]): Directory | null {
  const directory = parseDirectory(findBelow(path, layers));
  if (directory === null) return null;
  const attributes = [...directory.attributes].filter(([name]) => !OPAQUE.test(name));
  return { ...directory, attributes: new Map(attributes) };
}

/** The device that is a whiteout for overlayfs. */
const WHITEOUT = { ...PLAIN_DIRECTORY, type: "char", mode: 0 } as const;

/** A layer that is unpacked in the scratch directory. */
export interface UnpackedLayer extends LayerNeeds {
  /** The class of the attribute of opaque directories. */
  readonly attributes: AttributeClass;
  /** Its directory. */
  readonly root: string;
  /** The file with the lines of its entries. */
  readonly lines: string;
}

/** The entries that are added to a layer to fit it to the layers below. */
class Additions {
  readonly #own: LayerLines;
  readonly #below: readonly LayerLines[];
  /** Unchanged directories, whose times are set again after entries are made in them. */
  readonly #same = new Map<string, TarEntry>();
  readonly #new = new Map<string, TarEntry>();

  constructor(lines: string, below: readonly LayerLines[]) {
    this.#own = new LayerLines(() => readLines(lines));
    this.#below = below;
  }

  /** Gives a directory the metadata that it has in the layers below. */
  inherit(path: string): void {
    this.#add(path, parseDirectory(this.#own.get(path))?.attributes ?? NO_ATTRIBUTES);
  }

  /** Makes a directory opaque. */
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

  /** Adds a whiteout for a path that exists below. */
  hide(path: string): void {
    const found = findBelow(path, this.#below);
    if (found === undefined || isWhiteout(found)) return;
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

  /** The entries for tar, directories before their contents. */
  get entries(): readonly TarEntry[] {
    return [...this.#same.values(), ...this.#new.values()].map((entry) => {
      return { ...entry, name: `./${entry.name}` };
    });
  }

  /** The lines of the new entries. */
  get lines(): string {
    return [...this.#new].map(([path, entry]) => formatEntryLine(path, entry)).join("");
  }
}

/** The longest time without a turn of the event loop, in milliseconds, so that signals are handled. */
const TURN = 50;

/** Runs an action for each of many paths, and yields to the event loop now and then. */
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
 * Adds metadata and whiteouts to a layer to fit it to the layers below.
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
