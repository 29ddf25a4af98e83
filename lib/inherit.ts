/**
 * Directories that a layer has something in without saying what they are like. In one directory they
 * would stay as the layers below made them; in a layer of its own overlayfs shows the layer's. So they
 * get what they have below.
 *
 * @module
 */
import { above } from "./entry_name.ts";
import { directoryOf, entryLine, parseLines } from "./mtree.ts";
import type { Keywords } from "./mtree.ts";
import type { ProgramOptions } from "./run.ts";
import { Tar } from "./tar.ts";
import { BLOCK, formatEntry } from "./tar_entry.ts";
import type { Directory, TarEntry } from "./tar_entry.ts";

/** The lines of a layer, read when they are needed. */
export class LayerLines {
  readonly #path: string;
  #lines: ReadonlyMap<string, Keywords> | null = null;

  /** The lines of the layer that are in a file. */
  constructor(path: string) {
    this.#path = path;
  }

  /** What the layer has at a path. */
  get(path: string): Keywords | undefined {
    this.#lines ??= parseLines(Deno.readTextFileSync(this.#path));
    return this.#lines.get(path);
  }
}

const OPAQUE = /^(trusted|user)\.overlay\.opaque$/;

/** What a directory is like in layers, top first; `null` when none of them has it. */
function inheritedOf(path: string, layers: readonly LayerLines[]): Directory | null {
  for (const layer of layers) {
    const found = layer.get(path);
    if (found !== undefined) return withoutMark(directoryOf(found));
    for (let at = above(path); at !== ""; at = above(at)) {
      if (hidesAll(layer.get(at))) return null;
    }
  }
  return null;
}

/** What lies in something that is gone, is no directory any more, or is a new one, is gone too. */
function hidesAll(keywords: Keywords | undefined): boolean {
  if (keywords === undefined) return false;
  const { attributes } = directoryOf(keywords) ?? {};
  return attributes === undefined || [...attributes.keys()].some((name) => OPAQUE.test(name));
}

/** That a directory hides what is below is not inherited. */
function withoutMark(directory: Directory | null): Directory | null {
  if (directory === null) return null;
  const attributes = [...directory.attributes].filter(([name]) => !OPAQUE.test(name));
  return { ...directory, attributes: new Map(attributes) };
}

const EMPTY = { type: "directory", size: 0, link: "", device: [0, 0] } as const;

/**
 * Gives directories of a layer what they have in the layers below.
 *
 * Requires `--allow-read` and `--allow-write` permission for the layer, and `--allow-run` for tar.
 *
 * @param layer The layer, not in its place yet.
 * @param below The lines of the layers below it, top first.
 */
export async function inheritDirectories(
  layer: { readonly root: string; readonly lines: string; readonly implicit: readonly string[] },
  below: readonly LayerLines[],
  options: ProgramOptions,
): Promise<void> {
  const own = new LayerLines(layer.lines);
  const entries = layer.implicit.flatMap((path): TarEntry[] => {
    const inherited = inheritedOf(path, below);
    if (inherited === null) return [];
    const marks = [...directoryOf(own.get(path) ?? new Map())?.attributes ?? []];
    const attributes = new Map([...inherited.attributes, ...marks]);
    return [{ ...EMPTY, ...inherited, attributes, name: path }];
  });
  if (entries.length === 0) return;
  const tar = new Tar(layer.root, options);
  try {
    const named = entries.map((entry) => ({ ...entry, name: `./${entry.name}` }));
    await tar.write([...named.flatMap(formatEntry), new Uint8Array(2 * BLOCK)]);
    await tar.end();
  } catch (error) {
    await tar.kill();
    throw error;
  }
  const lines = entries.map(({ name, ...entry }) => entryLine(name, entry)).join("");
  await Deno.writeTextFile(layer.lines, lines, { append: true });
}
