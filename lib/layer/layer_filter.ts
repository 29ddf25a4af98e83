/**
 * The filter between an archive and tar: each entry is parsed, checked and written again, so that tar reads
 * only well-formed entries. Opaque directories get the extended attribute of overlayfs (kernel,
 * Documentation/filesystems/overlayfs.rst). Removed paths are returned, for `fit_layer.ts` to make
 * whiteouts.
 *
 * Pure: bytes in, bytes out. Requires no permissions.
 *
 * @module
 */
import {
  checkTarget,
  directoryAbove,
  parseMeaning,
  pathInLayer,
  PSEUDO_LINKS,
} from "../tar/entry_name.ts";
import { LayerLimits } from "./layer_limits.ts";
import { LayerPaths } from "./layer_paths.ts";
import { formatEntryLine, formatHardlinkLine, formatRemovedLine } from "../tar/mtree.ts";
import { quoteBytes } from "../core/quote.ts";
import { END_OF_ARCHIVE, NO_ATTRIBUTES, padding, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import type { Directory, TarEntry } from "../tar/tar_entry.ts";
import { archiveError } from "../tar/archive_error.ts";
import { TarReader } from "../tar/tar_reader.ts";
import type { LayerNeeds } from "./layer_paths.ts";
import { isPrivileged, stripEntry } from "./strip_entry.ts";
import type { Digest, LayerPolicy, LayerSink, LayerSummary } from "./layer_policy.ts";
import type { Step } from "./step_queue.ts";
import { StepQueue } from "./step_queue.ts";

/** Filters the archive of a layer, which is pushed in piece by piece, into steps for tar. */
export class LayerFilter {
  readonly #policy: LayerPolicy;
  readonly #limits: LayerLimits;
  readonly #sink: LayerSink;
  readonly #reader: TarReader;
  readonly #paths: LayerPaths;
  /** Devices that were left out and not replaced; hard links to them are left out too. */
  readonly #leftOut = new Set<string>();
  readonly #queue = new StepQueue();
  #current: { readonly path: string; readonly entry: TarEntry; readonly digest: Digest } | null =
    null;
  #hasRoot = false;
  /** Set if tar was restarted, and so no longer knows the directory times that it has to set. */
  #hasCleared = false;
  #hasPseudoLinks = false;
  readonly #devices = { kept: 0, left: 0 };
  readonly #setuid = { kept: 0, left: 0 };

  /** Starts with a policy. */
  constructor(policy: LayerPolicy, sink: LayerSink) {
    this.#policy = policy;
    this.#limits = new LayerLimits(policy);
    this.#paths = new LayerPaths(PLAIN_DIRECTORY, this.#limits);
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
   * @returns The next steps of tar; their pieces may share memory with the given bytes.
   * @throws {OverlayError} If the archive is refused.
   */
  *push(bytes: Uint8Array): Generator<Step> {
    for (let at = 0; at < bytes.length || this.#reader.isFilling;) {
      at += this.#reader.step(bytes.subarray(at));
      yield* this.#queue.take();
    }
    this.#limits.read(bytes.length);
  }

  /**
   * Ends the archive.
   *
   * @returns The last steps of tar.
   * @throws {OverlayError} If the archive is truncated.
   */
  *end(): Generator<Step> {
    this.#reader.end();
    this.#dropPseudoLinks();
    if (!this.#hasRoot) this.#putDirectory("", PLAIN_DIRECTORY);
    if (this.#hasCleared) yield* this.#repeatDirectories();
    this.#queue.add(END_OF_ARCHIVE);
    yield* this.#queue.take();
  }

  *#repeatDirectories(): Generator<Step> {
    for (const [path, directory] of this.#paths.directories) {
      this.#queue.addEntry(path, this.#entryOf(path, directory));
      if (this.#queue.pieces > 1000) yield* this.#queue.take();
    }
  }

  /** Set once the archive has ended. */
  get ended(): boolean {
    return this.#reader.ended;
  }

  /** The summary of the entries so far. */
  get summary(): LayerSummary {
    return {
      entries: this.#limits.entries,
      bytes: this.#limits.bytes,
      devices: { ...this.#devices },
      setuid: { ...this.#setuid },
      opaque: this.#paths.opaque.size,
      opaqueRoot: this.#paths.opaque.has(""),
      hasRoot: this.#hasRoot,
      implicit: this.#paths.implicit.length,
    };
  }

  /** See {@linkcode LayerPaths.needs}. */
  get needs(): LayerNeeds {
    return this.#paths.needs;
  }

  #take(entry: TarEntry): void {
    this.#limits.take(entry.size);
    if (!this.#policy.whiteouts) return this.#takeEntry(pathInLayer(entry.name), entry);
    const named = parseMeaning(entry.name);
    // For overlayfs such a device is a whiteout, whoever made it.
    const isWhiteout = named.kind === "entry" && entry.type === "char" &&
      entry.device.join() === "0,0";
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

  /** Keeps a file of aufs until the end of the archive, since hard links refer to it. */
  #takePseudoLink(path: string, entry: TarEntry): void {
    if (entry.type !== "file") return;
    this.#hasPseudoLinks = true;
    this.#takeEntry(path, entry);
  }

  #dropPseudoLinks(): void {
    if (!this.#hasPseudoLinks) return;
    const removed = this.#paths.remove(PSEUDO_LINKS);
    for (const one of [...removed, PSEUDO_LINKS]) this.#sink.line(formatRemovedLine(one));
    this.#queue.clear({ clear: PSEUDO_LINKS, gone: true });
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
    const stripped = this.#strip(entry);
    this.#paths.setOther(path, entry.type === "symlink" ? entry.link : null);
    this.#queue.addEntry(path, stripped);
    if (entry.type !== "file") return this.#sink.line(formatEntryLine(path, stripped));
    this.#current = { path, entry: stripped, digest: this.#sink.startDigest() };
  }

  /** Tells whether an entry is a device that is left out, or a hard link to one. */
  #leavesOut(path: string, entry: TarEntry): boolean {
    const isDevice = entry.type === "char" || entry.type === "block";
    const isLink = entry.type === "hardlink" && this.#leftOut.size > 0;
    const isLeft = isDevice
      ? !this.#policy.devices
      : isLink && this.#leftOut.has(this.#targetOf(entry));
    this.#leftOut[isLeft ? "add" : "delete"](path);
    if (isLeft || isDevice) this.#devices[isLeft ? "left" : "kept"]++;
    return isLeft;
  }

  /** Resolves the target of a hard link. */
  #targetOf(entry: TarEntry): string {
    return this.#paths.resolve(pathInLayer(entry.link));
  }

  /** Makes the directories above an entry, and removes entries in its place that tar would follow or keep. */
  #makeWay(path: string, entry: TarEntry): void {
    if (path !== "") this.#needDirectory(directoryAbove(path), path);
    const { type, attributes, link } = entry;
    this.#limits.keep(path, type === "directory" ? attributes : NO_ATTRIBUTES);
    if (type === "symlink") this.#limits.keep(link, NO_ATTRIBUTES);
    if (type !== "directory" && this.#paths.directories.has(path)) this.#clear(path);
  }

  /** Removes a directory that another entry replaces, since tar removes only empty ones. */
  #clear(path: string): void {
    const removed = this.#paths.remove(path);
    if (removed.length === 0) return;
    this.#limits.replace();
    for (const one of removed) this.#sink.line(formatRemovedLine(one));
    this.#queue.clear({ clear: path });
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
    this.#needDirectory(directoryAbove(path), below);
    this.#putDirectory(path, PLAIN_DIRECTORY, true);
  }

  #takeDirectory(path: string, entry: TarEntry): void {
    const { mode, uid, gid, mtime, attributes } = this.#strip(entry);
    if (path === "") this.#hasRoot = true;
    this.#putDirectory(path, { mode, uid, gid, mtime, attributes });
  }

  #putDirectory(path: string, directory: Directory, isImplicit = false): void {
    this.#paths.setDirectory(path, directory, isImplicit);
    this.#restate(path, directory);
  }

  #restate(path: string, directory: Directory): void {
    const entry = this.#entryOf(path, directory);
    this.#queue.addEntry(path, entry);
    this.#sink.line(formatEntryLine(path, entry));
  }

  /** Makes the entry of a directory for tar, with the attribute of overlayfs if it is opaque. */
  #entryOf(path: string, directory: Directory): Omit<TarEntry, "name"> {
    const opaque = `${this.#policy.attributes}.overlay.opaque`;
    const entry = { ...PLAIN_DIRECTORY, ...directory };
    if (path === "" || !this.#paths.opaque.has(path)) return entry;
    return { ...entry, attributes: new Map([...directory.attributes, [opaque, "y"]]) };
  }

  #takeHardlink(path: string, entry: TarEntry): void {
    const target = this.#targetOf(entry);
    const link = this.#paths.other(target);
    if (link === undefined || target === path) {
      const what = `a hard link to ${quoteBytes(target)}, which is no file before it`;
      throw archiveError(`${quoteBytes(path)} is ${what}`);
    }
    this.#paths.setOther(path, link);
    this.#queue.addEntry(path, { ...entry, link: `./${target}`, attributes: NO_ATTRIBUTES });
    this.#sink.line(formatHardlinkLine(path, target));
  }

  /** Takes a whiteout, which removes a path of the layers below and not of its own layer. */
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

  /** Removes the attributes and mode bits of an entry that the policy does not allow. */
  #strip(entry: TarEntry): TarEntry {
    const { setuid } = this.#policy;
    const has = isPrivileged(entry);
    if (has) this.#setuid[setuid ? "kept" : "left"]++;
    return stripEntry(entry, has && !setuid);
  }

  #data(bytes: Uint8Array): void {
    if (this.#current === null) return;
    this.#queue.add(bytes);
    this.#current.digest.update(bytes);
  }

  #endEntry(): void {
    const current = this.#current;
    if (current === null) return;
    this.#current = null;
    const { path, entry, digest } = current;
    const pad = padding(entry.size);
    if (pad > 0) this.#queue.add(END_OF_ARCHIVE.subarray(0, pad));
    this.#sink.line(formatEntryLine(path, entry, digest.digest("hex")));
  }
}
