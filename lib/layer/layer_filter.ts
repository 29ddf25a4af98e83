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
import { above, checkTarget, meaningOf, pathInLayer, PSEUDO_LINKS } from "../tar/entry_name.ts";
import { LayerLimits } from "./layer_limits.ts";
import { LayerPaths } from "./layer_paths.ts";
import { entryLine, hardlinkLine, removedLine } from "../tar/mtree.ts";
import { quoteBytes } from "../core/quote.ts";
import { BLOCK, formatEntry, NO_ATTRIBUTES, padding } from "../tar/tar_entry.ts";
import type { Directory, TarEntry } from "../tar/tar_entry.ts";
import { archiveError } from "../tar/archive_error.ts";
import { TarReader } from "../tar/tar_reader.ts";

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

/** The next step of tar: it reads pieces, or first a directory is emptied, which may have to go as well. */
export type Step = readonly Uint8Array[] | { readonly clear: string; readonly gone?: true };

/** A layer whose archive is pushed in; what tar is to unpack comes out. */
export class LayerFilter {
  readonly #policy: LayerPolicy;
  readonly #limits: LayerLimits;
  readonly #sink: LayerSink;
  readonly #reader: TarReader;
  readonly #paths: LayerPaths;
  /** Devices that were left out, until something takes their place: links to them are left out too. */
  readonly #leftOut = new Set<string>();
  #steps: Step[] = [];
  #output: Uint8Array[] = [];
  #current: { readonly path: string; readonly entry: TarEntry; readonly digest: Digest } | null =
    null;
  #hasRoot = false;
  /** Set if tar was started again, so that it forgot the times of directories that it has filled since. */
  #hasCleared = false;
  #hasPseudoLinks = false;
  readonly #devices = { kept: 0, left: 0 };
  readonly #setuid = { kept: 0, left: 0 };

  /** Starts with a policy. */
  constructor(policy: LayerPolicy, sink: LayerSink) {
    this.#policy = policy;
    this.#limits = new LayerLimits(policy);
    this.#paths = new LayerPaths(DIRECTORY, this.#limits);
    this.#sink = sink;
    this.#reader = new TarReader({
      entry: (entry) => this.#take(entry),
      data: (bytes) => this.#data(bytes),
      end: () => this.#endEntry(),
    }, { sparse: "fill" });
  }

  /**
   * Takes a piece of the archive.
   *
   * @returns The next steps of tar; their pieces may be parts of the bytes that were given.
   * @throws {OverlayError} If the archive is refused.
   */
  *push(bytes: Uint8Array): Generator<Step> {
    for (let at = 0; at < bytes.length || this.#reader.isFilling;) {
      at += this.#reader.step(bytes.subarray(at));
      yield* this.#taken();
    }
    this.#limits.read(bytes.length);
  }

  /**
   * Ends the archive.
   *
   * @returns The last steps of tar.
   * @throws {OverlayError} If it is cut off.
   */
  *end(): Generator<Step> {
    this.#reader.end();
    this.#dropPseudoLinks();
    if (!this.#hasRoot) this.#putDirectory("", DIRECTORY);
    if (this.#hasCleared) yield* this.#repeatDirectories();
    this.#output.push(new Uint8Array(2 * BLOCK));
    yield* this.#taken();
  }

  /** Takes the steps that have come out. */
  #taken(): readonly Step[] {
    const steps = [...this.#steps, this.#output];
    this.#steps = [];
    this.#output = [];
    return steps;
  }

  *#repeatDirectories(): Generator<Step> {
    for (const [path, directory] of this.#paths.directories) {
      this.#emit(path, this.#entryOf(path, directory));
      if (this.#output.length > 1000) yield* this.#taken();
    }
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
      opaque: this.#paths.opaque.size,
      opaqueRoot: this.#paths.opaque.has(""),
      hasRoot: this.#hasRoot,
      implicit: this.implicit.length,
    };
  }

  /** See {@linkcode LayerPaths.implicit}. */
  get implicit(): readonly string[] {
    return this.#paths.implicit;
  }

  /** See {@linkcode LayerPaths.whiteouts}. */
  get whiteouts(): readonly string[] {
    return this.#paths.whiteouts;
  }

  /** See {@linkcode LayerPaths.emptied}. */
  get emptied(): readonly string[] {
    return this.#paths.emptied;
  }

  #take(entry: TarEntry): void {
    this.#limits.take(entry.size);
    if (!this.#policy.whiteouts) return this.#takeEntry(pathInLayer(entry.name), entry);
    const named = meaningOf(entry.name);
    // Overlayfs takes such a device for a whiteout, whoever made it.
    const isWhiteout = named.kind === "entry" && entry.type === "char" && isZero(entry.device);
    const meaning = isWhiteout ? { ...named, kind: "whiteout" as const } : named;
    if (meaning.kind === "entry") return this.#takeEntry(meaning.path, entry);
    if (meaning.kind === "pseudo-link") return this.#takePseudoLink(meaning.path, entry);
    if (meaning.kind === "ignored") return;
    if (entry.size > 0) throw archiveError(`the whiteout ${quoteBytes(entry.name)} has content`);
    const isMark = meaning.kind === "opaque";
    const path = isMark ? this.#paths.follow(meaning.path) : this.#paths.resolve(meaning.path);
    if (this.#paths.isHidden(path)) return;
    this.#limits.keep(path, NO_ATTRIBUTES);
    if (isMark) this.#takeOpaque(path);
    else this.#takeWhiteout(path);
  }

  /** Hard links lead to such a file until the archive ends. */
  #takePseudoLink(path: string, entry: TarEntry): void {
    if (entry.type !== "file") return;
    this.#hasPseudoLinks = true;
    this.#takeEntry(path, entry);
  }

  #dropPseudoLinks(): void {
    if (!this.#hasPseudoLinks) return;
    const removed = this.#paths.remove(PSEUDO_LINKS);
    for (const one of [...removed, PSEUDO_LINKS]) this.#sink.line(removedLine(one));
    this.#steps.push(this.#output, { clear: PSEUDO_LINKS, gone: true });
    this.#output = [];
    this.#hasCleared = true;
  }

  #takeEntry(named: string, entry: TarEntry): void {
    const path = this.#paths.resolve(named);
    if (path === "" && entry.type !== "directory") {
      throw archiveError(`its root is no directory, but of type ${quoteBytes(entry.type)}`);
    }
    if (this.#leavesOut(path, entry)) return;
    if (entry.type === "symlink") checkTarget(path, entry.link);
    this.#makeWay(path, entry);
    if (entry.type === "directory") return this.#takeDirectory(path, entry);
    if (entry.type === "hardlink") return this.#takeHardlink(path, entry);
    const judged = this.#judged(entry);
    this.#paths.setOther(path, entry.type === "symlink" ? entry.link : null);
    this.#emit(path, judged);
    if (entry.type !== "file") return this.#sink.line(entryLine(path, judged));
    this.#current = { path, entry: judged, digest: this.#sink.startDigest() };
  }

  /** Whether an entry is a device that nobody asked for, or a hard link to one. */
  #leavesOut(path: string, entry: TarEntry): boolean {
    const isDevice = entry.type === "char" || entry.type === "block";
    const isLeft = isDevice
      ? !this.#policy.devices
      : entry.type === "hardlink" && this.#leftOut.size > 0 &&
        this.#leftOut.has(this.#targetOf(entry));
    if (isLeft) this.#leftOut.add(path);
    else this.#leftOut.delete(path);
    if (isLeft) this.#devices.left++;
    else if (isDevice) this.#devices.kept++;
    return isLeft;
  }

  /** The path that a hard link leads to. */
  #targetOf(entry: TarEntry): string {
    return this.#paths.resolve(pathInLayer(entry.link));
  }

  /** Sees to the directories above, and that nothing is in the way which tar would follow or keep. */
  #makeWay(path: string, entry: TarEntry): void {
    if (path !== "") this.#needDirectory(above(path), path);
    const { type, attributes, link } = entry;
    this.#limits.keep(path, type === "directory" ? attributes : NO_ATTRIBUTES);
    if (type === "symlink") this.#limits.keep(link, NO_ATTRIBUTES);
    if (type !== "directory" && this.#paths.directories.has(path)) this.#clear(path);
  }

  /** Something else takes the place of a directory; tar itself removes only those that are empty. */
  #clear(path: string): void {
    const removed = this.#paths.remove(path);
    if (removed.length === 0) return;
    this.#limits.replace();
    for (const one of removed) this.#sink.line(removedLine(one));
    this.#steps.push(this.#output, { clear: path });
    this.#output = [];
    this.#hasCleared = true;
  }

  #needDirectory(path: string, below: string): void {
    if (this.#paths.directories.has(path)) return;
    this.#limits.walk();
    if (this.#paths.other(path) !== undefined) {
      const place = `${quoteBytes(path)}, which is no directory`;
      throw archiveError(`${quoteBytes(below)} lies in ${place}`);
    }
    this.#limits.make();
    this.#limits.keep(path, NO_ATTRIBUTES);
    this.#needDirectory(above(path), below);
    this.#putDirectory(path, DIRECTORY, true);
  }

  #takeDirectory(path: string, entry: TarEntry): void {
    const { mode, uid, gid, mtime, attributes } = this.#judged(entry);
    if (path === "") this.#hasRoot = true;
    this.#putDirectory(path, { mode, uid, gid, mtime, attributes });
  }

  #putDirectory(path: string, directory: Directory, isImplicit = false): void {
    this.#paths.setDirectory(path, directory, isImplicit);
    this.#restate(path, directory);
  }

  #restate(path: string, directory: Directory): void {
    const entry = this.#entryOf(path, directory);
    this.#emit(path, entry);
    this.#sink.line(entryLine(path, entry));
  }

  /** A directory as tar gets it: one that hides what is below has the mark of overlayfs. */
  #entryOf(path: string, directory: Directory): Omit<TarEntry, "name"> {
    const opaque = `${this.#policy.attributes}.overlay.opaque`;
    const isOpaque = this.#paths.opaque.has(path) && path !== "";
    const attributes = isOpaque
      ? new Map([...directory.attributes, [opaque, "y"]])
      : directory.attributes;
    return { ...EMPTY, ...directory, attributes };
  }

  #takeHardlink(path: string, entry: TarEntry): void {
    const target = this.#targetOf(entry);
    const link = this.#paths.other(target);
    if (link === undefined || target === path) {
      const what = `a hard link to ${quoteBytes(target)}, which is no file before it`;
      throw archiveError(`${quoteBytes(path)} is ${what}`);
    }
    this.#paths.setOther(path, link);
    this.#emit(path, { ...EMPTY, ...entry, link: `./${target}`, attributes: NO_ATTRIBUTES });
    this.#sink.line(hardlinkLine(path, target));
  }

  /** A whiteout is of the layers below; what its own layer has at the path stays. */
  #takeWhiteout(path: string): void {
    if (!this.#paths.directories.has(path)) return this.#paths.setGone(path);
    this.#takeOpaque(path);
    this.#paths.setFresh(path);
  }

  #takeOpaque(path: string): void {
    if (this.#paths.opaque.has(path)) return;
    this.#paths.setOpaque(path);
    const known = this.#paths.directories.get(path);
    if (known !== undefined && path !== "") this.#restate(path, known);
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
