/**
 * The merged lowers of an app, looked at on the disk: only where its upper has a mark, so that the time grows
 * with the changes and not with the tree.
 *
 * @module
 */
import { entriesIn, look } from "../system/disk.ts";
import type { Reporter } from "../system/change_options.ts";
import { archiveDirectory } from "../layer/archive.ts";
import type { AttributeClass } from "../layer/layer_policy.ts";
import { child } from "../core/path.ts";
import { decodeBytes } from "../core/quote.ts";
import { encodeName } from "../layer/some_listing.ts";
import { directoryAbove, pathInLayer } from "../tar/entry_name.ts";
import type { TarEntry } from "../tar/tar_entry.ts";
import { TarReader } from "../tar/tar_reader.ts";
import type { Listed } from "./sorted_entries.ts";
import type { LowerLookup } from "./upper_filter.ts";

/** The kinds of entries that matter to a whiteout. */
type Kind = "directory" | "opaque" | "whiteout" | "other";

/** Looks at a path on the disk; `null` if nothing is there. An opaque directory looks like any other. */
function lookAt(path: string): Kind | null {
  const info = look(path);
  if (info === null) return null;
  if (info.isDirectory) return "directory";
  return info.isCharDevice && info.rdev === 0 ? "whiteout" : "other";
}

/** The lowers of an app, top first, and what tar had to be asked about them. */
class Lowers implements LowerLookup {
  readonly #roots: readonly string[];
  /** The kinds that tar told, by the lower and the path in it. */
  readonly #told: ReadonlyMap<string, Kind>;
  readonly #parts = new Map<string, readonly string[]>();

  constructor(roots: readonly string[], told: ReadonlyMap<string, Kind>) {
    this.#roots = roots;
    this.#told = told;
    this.#parts.set("", roots);
  }

  has(path: string): boolean {
    if (path === "") return true;
    for (const root of this.#partsOf(directoryAbove(path))) {
      const kind = this.#kindOf(root, path);
      if (kind !== null) return kind !== "whiteout";
    }
    return false;
  }

  hasEntries(path: string): boolean {
    const decoded = decodeBytes(path);
    const parts = this.#partsOf(path);
    // A mark too many does no harm where the names cannot be read.
    if (decoded === null) return parts.length > 0;
    const names = parts.flatMap((root) => entriesIn(child(root, decoded)));
    return names.some(({ name }) => {
      return name.includes(LOST) ||
        this.has(path === "" ? encodeName(name) : `${path}/${encodeName(name)}`);
    });
  }

  /** Lists the lowers that a directory is merged of, top first. */
  #partsOf(path: string): readonly string[] {
    const known = this.#parts.get(path);
    if (known !== undefined) return known;
    const parts: string[] = [];
    for (const root of this.#partsOf(directoryAbove(path))) {
      const kind = this.#kindOf(root, path);
      if (kind === null) continue;
      if (kind === "directory" || kind === "opaque") parts.push(root);
      if (kind !== "directory") break;
    }
    this.#parts.set(path, parts);
    return parts;
  }

  #kindOf(root: string, path: string): Kind | null {
    const told = this.#told.get(`${root}\0${path}`);
    if (told !== undefined) return told;
    const decoded = decodeBytes(path);
    return decoded === null ? null : lookAt(child(root, decoded));
  }
}

/** The character that Deno puts in the place of bytes that are not UTF-8. */
const LOST = "\ufffd";

/**
 * Looks at the lowers of an app, as far as its upper depends on them. Tar tells what Deno cannot see:
 * attributes of directories, which matter only above another lower, and names that are not UTF-8.
 *
 * Requires `--allow-read` permission for the lowers, and `--allow-run` for tar.
 *
 * @param roots The lowers, top first.
 * @param upper The entries of the upper.
 */
export async function readLowers(
  roots: readonly string[],
  upper: Iterable<Listed>,
  { attributes, options }: { readonly attributes: AttributeClass; readonly options: Reporter },
): Promise<LowerLookup> {
  const told = new Map<string, Kind>();
  const marked: Listed[] = [];
  for (const entry of upper) if (entry.type === "d" || entry.type === "c") marked.push(entry);
  for (const [at, root] of roots.entries()) {
    const asked = marked.filter(({ path, type }) => {
      const decoded = decodeBytes(path);
      if (decoded === null) return true;
      const isAbove = at < roots.length - 1;
      return isAbove && type === "d" && path !== "" && lookAt(child(root, decoded)) === "directory";
    });
    const only = asked.map(({ path }) => path);
    for (const [path, entry] of await readHeaders(root, only, options)) {
      told.set(`${root}\0${path}`, kindOf(entry, attributes));
    }
  }
  return new Lowers(roots, told);
}

function kindOf({ type, device, attributes: all }: TarEntry, attributes: AttributeClass): Kind {
  if (type === "char" && device.join() === "0,0") return "whiteout";
  if (type !== "directory") return "other";
  return all.get(`${attributes}.overlay.opaque`) === "y" ? "opaque" : "directory";
}

/** Reads some entries by tar; those that do not exist are left out. */
async function readHeaders(
  root: string,
  only: readonly string[],
  options: Reporter,
): Promise<ReadonlyMap<string, TarEntry>> {
  const found = new Map<string, TarEntry>();
  if (only.length === 0) return found;
  const reader = new TarReader({
    entry: (entry) => void found.set(pathInLayer(entry.name), entry),
    data: () => {},
    end: () => {},
  }, { sparse: "fill" });
  for await (const piece of archiveDirectory(root, { ...options, only, ignoreMissing: true })) {
    reader.push(piece);
  }
  reader.end();
  return found;
}
