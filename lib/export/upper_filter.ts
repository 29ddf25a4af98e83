/**
 * The filter between the archive of an upper and a layer: the mirror of `layer_filter.ts`. Marks of overlayfs
 * become whiteouts (OCI image specification, "Image Layer Filesystem Changeset"), and each entry is parsed and
 * written again, so that equal uppers give equal bytes.
 *
 * Pure: bytes in, bytes out. Requires no permissions.
 *
 * @module
 */
import { OverlayError, RefusedError } from "../core/errors.ts";
import { quoteBytes } from "../core/quote.ts";
import type { AttributeClass } from "../layer/layer_policy.ts";
import { FUSE, isFuseMark } from "../layer/upper_entry.ts";
import { OF_MACHINE } from "../layer/strip_entry.ts";
import { directoryAbove, OPAQUE_MARK, pathInLayer, WHITEOUT_PREFIX } from "../tar/entry_name.ts";
import { END_OF_ARCHIVE, formatEntry, padding, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";
import { TarReader } from "../tar/tar_reader.ts";

/** The merged lowers of an upper, as far as its whiteouts depend on them. */
export interface LowerLookup {
  /** Tells whether a path exists. */
  readonly has: (path: string) => boolean;
  /** Tells whether a path is a directory with entries. */
  readonly hasEntries: (path: string) => boolean;
}

/** How an upper becomes a layer. */
export interface UpperPolicy {
  /** The class of the attributes of overlayfs; `null` for a directory without marks, as a mounted root. */
  readonly attributes: AttributeClass | null;
  /** The lowers. */
  readonly lower: LowerLookup;
  /** The latest time of an entry, in seconds since 1970; `null` for no limit. */
  readonly latest: number | null;
  /** Set if entries that a layer cannot hold are left out; otherwise they are refused. */
  readonly skip: boolean;
  /** Receives the path of each entry that is left out, and the reason. */
  readonly leftOut: (path: string, reason: string) => void;
}

/** The marks of a path whose content is elsewhere. */
const REDIRECT = /\.(redirect|metacopy)$/;

/** An attribute that was escaped by an import or by overlayfs. */
const ESCAPED = /^(trusted|user)\.overlay\.overlay\./;

/** The largest name that Linux takes. */
const NAME_MAX = 255;

const WHITEOUT = { ...PLAIN_DIRECTORY, type: "file", mode: 0 } as const;

/** Filters the archive of an upper, which is pushed in piece by piece, into the archive of a layer. */
export class UpperFilter {
  readonly #policy: UpperPolicy;
  readonly #reader: TarReader;
  #pieces: Uint8Array[] = [];
  /** The directories that hide the lowers, and those that fuse-overlayfs has marked. */
  readonly #opaque = new Set<string>();
  readonly #fuse = new Set<string>();
  /** The files that were left out, to which no hard link may lead. */
  readonly #leftOut = new Set<string>();
  /** The number of bytes of the current file and whether they are wanted. */
  #current: { readonly size: number; readonly isWanted: boolean } | null = null;
  #entries = 0;

  /** Starts with a policy. */
  constructor(policy: UpperPolicy) {
    this.#policy = policy;
    this.#reader = new TarReader({
      entry: (entry) => this.#take(entry),
      data: (bytes) => void (this.#current?.isWanted && this.#pieces.push(bytes)),
      end: () => this.#endEntry(),
    }, { sparse: "fill" });
  }

  /** The number of entries of the layer so far. */
  get entries(): number {
    return this.#entries;
  }

  /**
   * Takes a piece of the archive.
   *
   * @returns Pieces of the layer, which may share memory with the given bytes.
   * @throws {OverlayError} If the upper cannot be a layer.
   */
  *push(bytes: Uint8Array): Generator<readonly Uint8Array[]> {
    for (let at = 0; at < bytes.length || this.#reader.isFilling;) {
      at += this.#reader.step(bytes.subarray(at));
      yield this.#pieces;
      this.#pieces = [];
    }
  }

  /**
   * Ends the archive.
   *
   * @returns The end of the layer.
   * @throws {OverlayError} If the archive is truncated.
   */
  end(): Uint8Array {
    this.#reader.end();
    return END_OF_ARCHIVE;
  }

  #take(entry: TarEntry): void {
    const path = pathInLayer(entry.name);
    this.#current = null;
    const { isOpaque, isWhiteout, attributes } = this.#judge(path, entry);
    if (isWhiteout) return this.#whiteout(path);
    if (this.#policy.attributes !== null && isNamedLikeWhiteout(path)) {
      if (isFuseMark(path) && this.#fuse.has(directoryAbove(path))) return;
      return this.#refuse(path, "its name is that of a whiteout");
    }
    const { type } = entry;
    if (type === "directory") return this.#directory(path, { ...entry, attributes }, isOpaque);
    const link = type === "hardlink" ? this.#targetOf(path, entry) : entry.link;
    this.#put(path, { ...entry, attributes, link });
    this.#current = { size: entry.size, isWanted: true };
  }

  /** Reads the marks of overlayfs, and returns the attributes without them. */
  #judge(path: string, { type, device, attributes }: TarEntry): Judged {
    const { attributes: kind } = this.#policy;
    const kept = [...attributes].filter(([name]) => !OF_MACHINE.has(name));
    if (kind === null) {
      return { isOpaque: false, isWhiteout: false, attributes: new Map(kept) };
    }
    const own = `${kind}.overlay.`;
    const isMark = (name: string) => name.startsWith(own) && !ESCAPED.test(name);
    const redirect = [...attributes.keys()].find((name) => isMark(name) && REDIRECT.test(name));
    if (redirect !== undefined) throw redirectedError(path, redirect);
    if (attributes.get(`${FUSE}opaque`) === "y") this.#fuse.add(path);
    const isDevice = type === "char" && device.join() === "0,0";
    const apps = kept.filter(([name]) => !isMark(name) && !name.startsWith(FUSE));
    return {
      isOpaque: this.#fuse.has(path) || attributes.get(`${own}opaque`) === "y",
      isWhiteout: isDevice || attributes.has(`${own}whiteout`),
      attributes: new Map(apps.map(([name, value]) => [unescapeName(name), value])),
    };
  }

  #whiteout(path: string): void {
    const directory = directoryAbove(path);
    if (isFuseMark(path) && this.#fuse.has(directory)) return;
    if (this.#isHidden(directory) || !this.#policy.lower.has(path)) return;
    const name = WHITEOUT_PREFIX + path.slice(directory === "" ? 0 : directory.length + 1);
    const reason = "it was removed, and the name of its whiteout is too long";
    if (name.length > NAME_MAX) return this.#refuse(path, reason);
    this.#put(join(directory, name), WHITEOUT);
  }

  #directory(path: string, entry: TarEntry, isOpaque: boolean): void {
    this.#put(path, entry);
    if (!isOpaque) return;
    const isSeen = !this.#isHidden(directoryAbove(path)) && this.#policy.lower.hasEntries(path);
    this.#opaque.add(path);
    if (isSeen) this.#put(join(path, OPAQUE_MARK), WHITEOUT);
  }

  /** Tells whether a directory, or one above it, hides the lowers. */
  #isHidden(path: string): boolean {
    for (let at = path;; at = directoryAbove(at)) {
      if (this.#opaque.has(at)) return true;
      if (at === "") return false;
    }
  }

  #targetOf(path: string, { link }: TarEntry): string {
    const target = pathInLayer(link);
    if (!this.#leftOut.has(target)) return target;
    const reason = `it is a hard link to ${quoteBytes(target)}, which is left out`;
    throw unrepresentableError(path, reason);
  }

  #put(path: string, entry: Omit<TarEntry, "name">): void {
    const name = path === "" ? "./" : entry.type === "directory" ? `${path}/` : path;
    this.#pieces.push(...formatEntry({ ...entry, name, mtime: this.#limit(entry.mtime) }));
    this.#entries++;
  }

  /** Cuts a time to whole seconds, and to the latest that is allowed. */
  #limit(mtime: string): string {
    const seconds = Math.floor(Number(mtime));
    return String(Math.min(seconds, this.#policy.latest ?? seconds));
  }

  #refuse(path: string, reason: string): void {
    if (!this.#policy.skip) throw unrepresentableError(path, reason);
    this.#leftOut.add(path);
    this.#policy.leftOut(path, reason);
  }

  #endEntry(): void {
    const current = this.#current;
    this.#current = null;
    const pad = padding(current?.size ?? 0);
    if (pad > 0) this.#pieces.push(END_OF_ARCHIVE.subarray(0, pad));
  }
}

/** The marks in the attributes of an entry, and its other attributes. */
interface Judged {
  readonly isOpaque: boolean;
  readonly isWhiteout: boolean;
  readonly attributes: ReadonlyMap<string, string>;
}

function join(directory: string, name: string): string {
  return directory === "" ? name : `${directory}/${name}`;
}

/** Tells whether a layer would take a path for a whiteout, or for something in one. */
export function isNamedLikeWhiteout(path: string): boolean {
  return path.startsWith(WHITEOUT_PREFIX) || path.includes(`/${WHITEOUT_PREFIX}`);
}

/** Removes one escape of overlayfs, which the import adds in both classes. */
function unescapeName(name: string): string {
  return ESCAPED.test(name) ? name.replace(".overlay.overlay.", ".overlay.") : name;
}

function unrepresentableError(path: string, reason: string): OverlayError {
  const message = `Cannot export ${quoteBytes(`/${path}`)}: ${reason}`;
  return new OverlayError("unrepresentable", message, {
    hint: "rename it, or leave it out with --skip-unrepresentable",
  });
}

function redirectedError(path: string, name: string): RefusedError {
  const [, word = ""] = /\.(\w+)$/.exec(name) ?? [];
  const message = `Cannot export ${quoteBytes(`/${path}`)}: its content is not in the upper, ` +
    `as its attribute ${word} says`;
  return new RefusedError("upper-redirected", message, {
    hint:
      "mount the app and export its root with --rootfs, or render it without redirect_dir and metacopy",
  });
}
