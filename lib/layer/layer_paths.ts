/**
 * The paths of a layer while its entries are read, and the paths of the layers below that it hides.
 *
 * Pure. The work is limited by the size of the archive, for any names in it.
 *
 * Requires no permissions.
 *
 * @module
 */
import { archiveError } from "../tar/archive_error.ts";
import { checkPath, directoryAbove, PATH_MAX } from "../tar/entry_name.ts";
import type { LayerLimits } from "./layer_limits.ts";
import { quoteBytes } from "../core/quote.ts";
import type { Directory } from "../tar/tar_entry.ts";

/** The largest number of symlinks in the resolution of a path (Linux, MAXSYMLINKS). */
const LINKS_MAX = 40;

/** The paths of a layer that depend on the layers below it. */
export interface LayerNeeds {
  /**
   * The directories without an entry that inherit their metadata, since the layer does not hide those
   * below.
   */
  readonly implicit: readonly string[];
  /**
   * The removed paths of the layers below. They are not unpacked: overlayfs shows a whiteout in a directory
   * that is not merged, so only an existing path may get one.
   */
  readonly whiteouts: readonly string[];
  /** The opaque directories of the layers below in which this layer has no entry. */
  readonly emptied: readonly string[];
}

/** The paths of a layer. */
export class LayerPaths {
  readonly #limits: LayerLimits;
  readonly #directories = new Map<string, Directory>();
  /** Entries other than directories, with the targets of symlinks. */
  readonly #others = new Map<string, string | null>();
  /** The opaque directories. */
  readonly #opaque = new Set<string>();
  /** Directories without an entry. */
  readonly #implicit = new Set<string>();
  /** Directories that replace removed paths, and so do not merge with those of the layers below. */
  readonly #fresh = new Set<string>();
  /** The removed paths of the layers below that no entry of this layer has replaced. */
  readonly #gone = new Set<string>();
  /** The paths directly in each directory; `null` until a directory is replaced, which is rare. */
  #children: Map<string, Set<string>> | null = null;

  /** Starts with a root, and limits for the work. */
  constructor(root: Directory, limits: LayerLimits) {
    this.#limits = limits;
    this.#directories.set("", root);
  }

  /** The directories, each with its metadata. */
  get directories(): ReadonlyMap<string, Directory> {
    return this.#directories;
  }

  /** The opaque directories. */
  get opaque(): ReadonlySet<string> {
    return this.#opaque;
  }

  /** Returns the target of a symlink; `null` for other entries except directories; `undefined` without an entry. */
  other(path: string): string | null | undefined {
    return this.#others.get(path);
  }

  /**
   * Follows the symlinks of the layer in a path, inside the layer, as the kernel does in a chroot. The last
   * name is not followed.
   *
   * @throws {OverlayError} If they form a loop, or the path becomes too long.
   */
  resolve(path: string): string {
    const directory = directoryAbove(path);
    if (this.#directories.has(directory)) return path;
    const real = this.follow(directory);
    if (real === directory) return path;
    const name = path.slice(directory.length + 1);
    return checkPath(real === "" ? name : `${real}/${name}`);
  }

  /**
   * Follows the symlinks of the layer in a path, the last name included.
   *
   * @throws {OverlayError} If they form a loop, or the path becomes too long.
   */
  follow(path: string): string {
    const rest = path.split("/").reverse();
    let [at, links] = ["", 0];
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      this.#limits.walk();
      if (part === "" || part === ".") continue;
      const next = part === ".." ? directoryAbove(at) : at === "" ? part : `${at}/${part}`;
      const link = part === ".." ? null : this.#others.get(next) ?? null;
      if (link === null) at = next;
      else if (link.startsWith("/")) at = "";
      if (link === null && at.length <= PATH_MAX) continue;
      if (link === null || ++links > LINKS_MAX) {
        throw archiveError(`${quoteBytes(path)} leads through symlinks without end`);
      }
      rest.push(...link.split("/").reverse());
    }
    return checkPath(at);
  }

  /** Notes a directory. If it replaces a removed path or another type, it is opaque. */
  setDirectory(path: string, directory: Directory, isImplicit: boolean): void {
    if (this.#gone.delete(path) || this.#others.delete(path)) this.setFresh(path);
    if (isImplicit) this.#implicit.add(path);
    else this.#implicit.delete(path);
    this.#directories.set(path, directory);
    this.#noteChild(path);
  }

  /** Notes an entry other than a directory; for a symlink, with its target. */
  setOther(path: string, link: string | null): void {
    this.#gone.delete(path);
    this.#others.set(path, link);
    this.#noteChild(path);
  }

  /** Notes a directory that replaces the one of the layers below. */
  setFresh(path: string): void {
    this.#fresh.add(path);
    this.#opaque.add(path);
  }

  /** Notes an opaque directory. */
  setOpaque(path: string): void {
    this.#opaque.add(path);
  }

  /** Notes a removed path of the layers below; an entry of this layer there stays. */
  setGone(path: string): void {
    if (!this.#others.has(path)) this.#gone.add(path);
  }

  /**
   * Removes a directory with its contents. Paths of the layers below that it hides stay hidden.
   *
   * @returns The paths of its contents.
   */
  remove(directory: string): readonly string[] {
    const children = this.#children ??= this.#listChildren();
    const removed: string[] = [];
    const rest = [directory];
    for (let path = rest.pop(); path !== undefined; path = rest.pop()) {
      if (path !== directory) removed.push(path);
      for (const child of children.get(path) ?? []) rest.push(child);
      children.delete(path);
      this.#directories.delete(path);
      this.#implicit.delete(path);
      this.#others.delete(path);
    }
    return removed;
  }

  #noteChild(path: string): void {
    if (this.#children === null || path === "") return;
    const directory = directoryAbove(path);
    const known = this.#children.get(directory);
    if (known === undefined) this.#children.set(directory, new Set([path]));
    else known.add(path);
  }

  #listChildren(): Map<string, Set<string>> {
    const children = this.#children = new Map();
    for (const path of this.#directories.keys()) this.#noteChild(path);
    for (const path of this.#others.keys()) this.#noteChild(path);
    return children;
  }

  /** See {@linkcode LayerNeeds.implicit}. */
  get implicit(): readonly string[] {
    const isInOpaque = this.#opaqueAbove();
    return [...this.#implicit].filter((path) => !this.#fresh.has(path) && !isInOpaque(path));
  }

  /** The paths that depend on the layers below. */
  get needs(): LayerNeeds {
    const isInOpaque = this.#opaqueAbove();
    const isSeen = (path: string) => !isInOpaque(path) && !this.isHidden(path);
    const isHere = (path: string) => {
      return this.#directories.has(path) || this.#others.has(path) || this.#gone.has(path);
    };
    return {
      implicit: this.implicit,
      whiteouts: [...this.#gone].filter(isSeen),
      emptied: [...this.#opaque].filter((path) => !isHere(path) && isSeen(path)),
    };
  }

  /** Makes a function that tells whether a path lies in an opaque directory; each directory is looked up once. */
  #opaqueAbove(): (path: string) => boolean {
    if (this.#opaque.size === 0) return () => false;
    const known = new Map<string, boolean>();
    const isOpaque = (path: string): boolean => {
      const found = known.get(path);
      if (found !== undefined) return found;
      this.#limits.walk();
      const is = this.#opaque.has(path) || (path !== "" && isOpaque(directoryAbove(path)));
      known.set(path, is);
      return is;
    };
    return (path) => path !== "" && isOpaque(directoryAbove(path));
  }

  /** Tells whether a directory above a path is removed or replaced, so that the path is hidden already. */
  isHidden(path: string): boolean {
    for (let at = path; at !== ""; at = directoryAbove(at)) {
      this.#limits.walk();
      if (at !== path && (this.#others.has(at) || this.#gone.has(at))) return true;
      if (this.#directories.has(at)) return false;
    }
    return false;
  }
}
