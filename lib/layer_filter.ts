/**
 * What stands between an archive and tar: each entry is read, judged, and written anew, so that tar gets
 * nothing but what was understood. That a directory hides what is below becomes the extended attribute
 * that overlayfs takes for it (kernel, Documentation/filesystems/overlayfs.rst); what is gone is told, for
 * `inherit.ts` to white out.
 *
 * Pure: bytes in, bytes out.
 *
 * Requires no permissions.
 *
 * @module
 */
import { above, checkTarget, meaningOf, pathInLayer } from "./entry_name.ts";
import { LayerLimits } from "./layer_limits.ts";
import { entryLine, hardlinkLine } from "./mtree.ts";
import { quoteBytes } from "./quote.ts";
import { BLOCK, formatEntry, NO_ATTRIBUTES, padding } from "./tar_entry.ts";
import type { Directory, TarEntry } from "./tar_entry.ts";
import { archiveError } from "./archive_error.ts";
import { TarReader } from "./tar_reader.ts";

/** Whose extended attributes overlayfs reads: root's, or, in a user namespace, the user's. */
export type AttributeClass = "trusted" | "user";

/** What is let through. */
export interface LayerPolicy {
  /** Whether device nodes are made. */
  readonly devices: boolean;
  /** Whether files keep setuid, setgid and capabilities. */
  readonly setuid: boolean;
  /** In which attributes overlayfs will look. */
  readonly attributes: AttributeClass;
  /** Whether names that begin with `.wh.` are whiteouts, as in a layer, or names like any other. */
  readonly whiteouts: boolean;
  /** The most bytes that the files of a layer may have together. */
  readonly maxBytes: number;
  /** The most entries that a layer may have. */
  readonly maxEntries: number;
}

/** What a layer turned out to hold. */
export interface LayerSummary {
  /** How many entries were written. */
  readonly entries: number;
  /** How many bytes its files have together. */
  readonly bytes: number;
  /** Device nodes that were kept, and that were left out on request or because none can be made. */
  readonly devices: { readonly kept: number; readonly left: number };
  /** Files whose setuid, setgid or capabilities were kept, and that lost them. */
  readonly setuid: { readonly kept: number; readonly left: number };
  /** How many directories hide what is below; they need attributes of the class. */
  readonly opaque: number;
  /** Whether nothing of the layers below is to be seen at all. */
  readonly opaqueRoot: boolean;
  /** Whether the archive says what the root is like. */
  readonly hasRoot: boolean;
  /** How many directories it has something in without saying what they are like. */
  readonly implicit: number;
}

/** Computes a digest, piece by piece. */
export interface Digest {
  /** Takes a piece. */
  update(bytes: Uint8Array): unknown;
  /** The digest in hexadecimal. */
  digest(encoding: "hex"): string;
}

/** Where what the filter finds goes. */
export interface LayerSink {
  /** Starts the SHA-256 of a file's content. */
  readonly startDigest: () => Digest;
  /** Takes the line of an entry, see `mtree.ts`. */
  readonly line: (text: string) => void;
}

const DIRECTORY: Directory = { mode: 0o755, uid: 0, gid: 0, mtime: "0", attributes: NO_ATTRIBUTES };
const CAPABILITY = "security.capability";

/** Attributes that say what the machine that has the file thinks of it; those of an image are never taken. */
const OF_MACHINE: ReadonlySet<string> = new Set([
  "security.selinux",
  "security.ima",
  "security.evm",
  "system.nfs4_acl",
]);

/** An attribute of overlayfs itself, in either class. */
const OVERLAY_ATTRIBUTE = /^(trusted|user)\.overlay\./;

/** A layer whose archive is pushed in; what tar is to unpack comes out. */
export class LayerFilter {
  readonly #policy: LayerPolicy;
  readonly #limits: LayerLimits;
  readonly #sink: LayerSink;
  readonly #reader: TarReader;
  readonly #directories = new Map<string, Directory>([["", DIRECTORY]]);
  /** What is no directory: nothing may lie in it, however it could be followed. */
  readonly #others = new Set<string>();
  readonly #opaque = new Set<string>();
  readonly #implicit = new Set<string>();
  /** Directories in the place of what is gone: they are not those of the layers below. */
  readonly #fresh = new Set<string>();
  /** What is gone of the layers below, until something of this layer takes its place. */
  readonly #gone = new Set<string>();
  /** Devices that were left out, until something takes their place: links to them are left out too. */
  readonly #leftOut = new Set<string>();
  #output: Uint8Array[] = [];
  #current: { readonly path: string; readonly entry: TarEntry; readonly digest: Digest } | null =
    null;
  #hasRoot = false;
  readonly #devices = { kept: 0, left: 0 };
  readonly #setuid = { kept: 0, left: 0 };

  /** Starts with a policy. */
  constructor(policy: LayerPolicy, sink: LayerSink) {
    this.#policy = policy;
    this.#limits = new LayerLimits(policy);
    this.#sink = sink;
    this.#reader = new TarReader({
      entry: (entry) => this.#take(entry),
      data: (bytes) => this.#data(bytes),
      end: () => this.#endEntry(),
    });
  }

  /**
   * Takes a piece of the archive.
   *
   * @returns What tar is to read next; pieces of it may be parts of what was given.
   * @throws {OverlayError} If the archive is refused.
   */
  push(bytes: Uint8Array): Uint8Array[] {
    this.#reader.push(bytes);
    this.#limits.read(bytes.length);
    const output = this.#output;
    this.#output = [];
    return output;
  }

  /**
   * Ends the archive.
   *
   * @returns What tar is to read last.
   * @throws {OverlayError} If it is cut off.
   */
  end(): Uint8Array[] {
    this.#reader.end();
    if (!this.#hasRoot) this.#putDirectory("", DIRECTORY);
    const output = [...this.#output, new Uint8Array(2 * BLOCK)];
    this.#output = [];
    return output;
  }

  /** Whether the archive said that it is over. */
  get ended(): boolean {
    return this.#reader.ended;
  }

  /** What was found so far. */
  get summary(): LayerSummary {
    return {
      entries: this.#limits.entries,
      bytes: this.#limits.bytes,
      devices: { ...this.#devices },
      setuid: { ...this.#setuid },
      opaque: this.#opaque.size,
      opaqueRoot: this.#opaque.has(""),
      hasRoot: this.#hasRoot,
      implicit: this.implicit.length,
    };
  }

  /**
   * The directories that the archive says nothing of, and that are what they are in the layers below: it
   * does not hide those.
   */
  get implicit(): readonly string[] {
    return [...this.#implicit].filter((path) => !this.#fresh.has(path) && !this.#isInOpaque(path));
  }

  /**
   * What is gone of the layers below. It is not unpacked: overlayfs shows a whiteout in a directory that
   * has nothing below, so only what is there may be whited out.
   */
  get whiteouts(): readonly string[] {
    return [...this.#gone].filter((path) => !this.#isInOpaque(path) && !this.#isHidden(path));
  }

  /** The directories of the layers below in which all is gone, and that this layer has nothing in. */
  get emptied(): readonly string[] {
    const paths = [...this.#opaque].filter((path) => !this.#directories.has(path));
    return paths.filter((path) => {
      const isOther = this.#others.has(path) || this.#gone.has(path);
      return !isOther && !this.#isInOpaque(path) && !this.#isHidden(path);
    });
  }

  #isInOpaque(path: string): boolean {
    for (let at = path; at !== "";) {
      at = above(at);
      if (this.#opaque.has(at)) return true;
    }
    return false;
  }

  #take(entry: TarEntry): void {
    this.#limits.take(entry.size);
    if (!this.#policy.whiteouts) return this.#takeEntry(pathInLayer(entry.name), entry);
    const named = meaningOf(entry.name);
    // Overlayfs takes such a device for a whiteout, whoever made it.
    const isWhiteout = named.kind === "entry" && entry.type === "char" && isZero(entry.device);
    const meaning = isWhiteout ? { ...named, kind: "whiteout" as const } : named;
    if (meaning.kind === "entry") return this.#takeEntry(meaning.path, entry);
    if (meaning.kind === "ignored") return;
    if (entry.size > 0) throw archiveError(`the whiteout ${quoteBytes(entry.name)} has content`);
    if (this.#isHidden(meaning.path)) return;
    this.#limits.keep(meaning.path, NO_ATTRIBUTES);
    if (meaning.kind === "whiteout") this.#takeWhiteout(meaning.path);
    else this.#takeOpaque(meaning.path);
  }

  /** Whether a path lies in what is no directory or is gone: then all below is hidden already. */
  #isHidden(path: string): boolean {
    for (let at = path; at !== ""; at = above(at)) {
      if (at !== path && (this.#others.has(at) || this.#gone.has(at))) return true;
      if (this.#directories.has(at)) return false;
    }
    return false;
  }

  #takeEntry(path: string, entry: TarEntry): void {
    if (path === "" && entry.type !== "directory") {
      throw archiveError(`its root is no directory, but of type ${quoteBytes(entry.type)}`);
    }
    if (this.#leavesOut(path, entry)) return;
    if (entry.type === "symlink") checkTarget(path, entry.link);
    this.#makeWay(path, entry);
    if (entry.type === "directory") return this.#takeDirectory(path, entry);
    if (entry.type === "hardlink") return this.#takeHardlink(path, entry);
    const judged = this.#judged(entry);
    this.#emit(path, judged);
    if (entry.type !== "file") return this.#sink.line(entryLine(path, judged));
    this.#current = { path, entry: judged, digest: this.#sink.startDigest() };
  }

  /** Whether an entry is a device that nobody asked for, or a hard link to one. */
  #leavesOut(path: string, entry: TarEntry): boolean {
    const isDevice = entry.type === "char" || entry.type === "block";
    const isLeft = isDevice
      ? !this.#policy.devices
      : entry.type === "hardlink" && this.#leftOut.has(pathInLayer(entry.link));
    if (isLeft) this.#leftOut.add(path);
    else this.#leftOut.delete(path);
    if (isLeft) this.#devices.left++;
    else if (isDevice) this.#devices.kept++;
    return isLeft;
  }

  /** Sees to the directories above, and that nothing is in the way which tar would follow or keep. */
  #makeWay(path: string, entry: TarEntry): void {
    if (path !== "") this.#needDirectory(above(path), path);
    const was = this.#directories.get(path);
    if (was !== undefined && entry.type !== "directory") {
      const then = `and then of type ${quoteBytes(entry.type)}`;
      throw archiveError(`${quoteBytes(path)} is a directory, ${then}`);
    }
    if (this.#gone.delete(path) && entry.type === "directory") this.#replace(path);
    this.#limits.keep(path, entry.type === "directory" ? entry.attributes : NO_ATTRIBUTES);
    if (entry.type !== "directory") this.#others.add(path);
    else this.#others.delete(path);
  }

  #needDirectory(path: string, below: string): void {
    if (this.#directories.has(path)) return;
    if (this.#others.has(path)) {
      const place = `${quoteBytes(path)}, which is no directory`;
      throw archiveError(`${quoteBytes(below)} lies in ${place}`);
    }
    this.#limits.make();
    this.#limits.keep(path, NO_ATTRIBUTES);
    this.#needDirectory(above(path), below);
    if (this.#gone.delete(path)) this.#replace(path);
    this.#implicit.add(path);
    this.#putDirectory(path, DIRECTORY);
  }

  /** A directory takes the place of a whiteout. */
  #replace(path: string): void {
    this.#opaque.add(path);
    this.#fresh.add(path);
  }

  #takeDirectory(path: string, entry: TarEntry): void {
    const { mode, uid, gid, mtime, attributes } = this.#judged(entry);
    if (path === "") this.#hasRoot = true;
    this.#implicit.delete(path);
    this.#putDirectory(path, { mode, uid, gid, mtime, attributes });
  }

  #putDirectory(path: string, directory: Directory): void {
    this.#directories.set(path, directory);
    const opaque = `${this.#policy.attributes}.overlay.opaque`;
    const isOpaque = this.#opaque.has(path) && path !== "";
    const attributes = isOpaque
      ? new Map([...directory.attributes, [opaque, "y"]])
      : directory.attributes;
    const entry: Omit<TarEntry, "name"> = { ...EMPTY, ...directory, attributes };
    this.#emit(path, entry);
    this.#sink.line(entryLine(path, entry));
  }

  #takeHardlink(path: string, entry: TarEntry): void {
    const target = pathInLayer(entry.link);
    if (!this.#others.has(target) || target === path) {
      const what = `a hard link to ${quoteBytes(target)}, which is no file before it`;
      throw archiveError(`${quoteBytes(path)} is ${what}`);
    }
    this.#emit(path, { ...EMPTY, ...entry, link: `./${target}`, attributes: NO_ATTRIBUTES });
    this.#sink.line(hardlinkLine(path, target));
  }

  /** A whiteout is of the layers below; what its own layer has at the path stays. */
  #takeWhiteout(path: string): void {
    if (this.#directories.has(path)) {
      this.#fresh.add(path);
      return this.#takeOpaque(path);
    }
    if (!this.#others.has(path)) this.#gone.add(path);
  }

  #takeOpaque(path: string): void {
    if (this.#opaque.has(path)) return;
    this.#opaque.add(path);
    const known = this.#directories.get(path);
    if (known !== undefined && path !== "") this.#putDirectory(path, known);
  }

  /** The entry without what it must not have. */
  #judged(entry: TarEntry): TarEntry {
    const { setuid } = this.#policy;
    const isPrivileged = entry.type === "file" &&
      ((entry.mode & 0o6000) !== 0 || entry.attributes.has(CAPABILITY));
    if (isPrivileged) this.#setuid[setuid ? "kept" : "left"]++;
    const takes = isPrivileged && !setuid;
    if (!takes && entry.attributes.size === 0) return entry;
    const attributes = [...entry.attributes]
      .filter(([name]) => !(takes && name === CAPABILITY) && !OF_MACHINE.has(name))
      .map(([name, value]) => [escapedName(name), value] as const);
    return {
      ...entry,
      mode: takes ? entry.mode & 0o1777 : entry.mode,
      attributes: attributes.length === 0 ? NO_ATTRIBUTES : new Map(attributes),
    };
  }

  #data(bytes: Uint8Array): void {
    if (this.#current === null) return;
    this.#output.push(bytes);
    this.#current.digest.update(bytes);
  }

  #endEntry(): void {
    const current = this.#current;
    if (current === null) return;
    this.#current = null;
    const { path, entry, digest } = current;
    const pad = padding(entry.size);
    if (pad > 0) this.#output.push(ZEROS.subarray(0, pad));
    this.#sink.line(entryLine(path, entry, digest.digest("hex")));
  }

  #emit(path: string, entry: Omit<TarEntry, "name">): void {
    this.#output.push(...formatEntry({ ...entry, name: path === "" ? "./" : `./${path}` }));
  }
}

function isZero([major, minor]: TarEntry["device"]): boolean {
  return major === 0 && minor === 0;
}

const ZEROS = new Uint8Array(BLOCK);
const EMPTY = { type: "directory", size: 0, link: "", device: [0, 0] } as const;

/**
 * Attributes of an archive that overlayfs would take for its own are escaped, so that they show as they
 * are (kernel, overlayfs.rst, "Nesting overlayfs mounts"). Those of both classes are: the layer may be
 * mounted in either way.
 */
function escapedName(name: string): string {
  return OVERLAY_ATTRIBUTE.test(name) ? name.replace(".overlay.", ".overlay.overlay.") : name;
}
