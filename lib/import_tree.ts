/**
 * Importing an image into the tree store: from an archive or a directory to a tree that can be rendered.
 *
 * @module
 */
import type { ChangeOptions } from "./change_options.ts";
import { compressionOf } from "./compression.ts";
import type { Compression } from "./compression.ts";
import { makeDirectory } from "./directory.ts";
import {
  attempt,
  deviceAt,
  ifAny,
  look,
  makeFile,
  readOwnFile,
  replaceFile,
  typeOf,
} from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { checkPermissions } from "./grants.ts";
import { imageError } from "./image.ts";
import type { Image } from "./image.ts";
import { filesOfArchive, filesOfDirectory } from "./image_files.ts";
import type { ImportProgress } from "./import_layers.ts";
import { parseImport } from "./import_request.ts";
import type { ImportRequest, ParsedImport } from "./import_request.ts";
import type { LayerSummary } from "./layer_filter.ts";
import { child, isWithin, parent } from "./path.ts";
import { COMPRESSION_PROGRAMS, PROGRAMS } from "./permissions.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { quote } from "./quote.ts";
import { keyOf, storedLayers } from "./stored_layer.ts";
import type { WantedLayers } from "./stored_layer.ts";
import { storedTreeLayout } from "./store.ts";
import type { StoredTreeLayout, StoreLayout } from "./store.ts";
import { clearAway, openStore, scratchOf, syncDirectory, syncStore, tidy } from "./store_disk.ts";
import { allLayers, formatRecord, ifSound, readTree, wholeTrees } from "./tree_manifest.ts";
import type { Blob } from "./unpack.ts";
import type { LayerRecord, StoredImage, TreeManifest } from "./tree_manifest.ts";

/** A tree that was imported. */
export interface ImportedTree {
  /** The tree id. */
  readonly id: string;
  /** The name that `--image` finds it by; `null` when it has none. */
  readonly image: string | null;
  /** The digest of the image's manifest, or of its config; `null` of a mere archive or directory. */
  readonly digest: string | null;
  /** How many layers it has. */
  readonly layers: number;
  /** How many bytes its files have together. */
  readonly bytes: number;
  /** How many entries it has. */
  readonly entries: number;
  /** Whether anything was unpacked for it; otherwise all of it was in the store. */
  readonly changed: boolean;
}

/** How an import is done. */
export type ImportOptions = ChangeOptions & ImportProgress & {
  /** What stdin holds, piece by piece. @default {the stdin of this process} */
  readonly input?: () => AsyncIterable<Uint8Array>;
};

/**
 * The permissions that an import needs. Of the programs, xz and zstd are needed for archives that are
 * compressed so.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 */
export function importPermissions(request: ImportRequest): RequiredPermissions {
  const { source, store: { store } } = parseImport(request);
  const { tar, sync, rm, ln } = PROGRAMS;
  return {
    read: source === "-" ? [store] : [source, store],
    write: [store],
    run: [ln, tar, sync, rm],
  };
}

/** A file or a directory that holds an image. */
interface Source {
  readonly path: string;
  readonly isDirectory: boolean;
}

/** What of a source can be seen to be wrong before anything is made. */
function checkSource({ source, store }: ParsedImport): void {
  if (source === "-") return;
  const { path, isDirectory } = sourceAt(source);
  if (!isDirectory) return checkCompression(compressionOf(startOf(path, path)), path);
  if (!isWithin(store.store, path) || deviceAbove(store.store) !== deviceAt(path)) return;
  throw new RefusedError(
    "crossing",
    `Cannot import ${quote(path)}: the tree store ${quote(store.store)} lies in it`,
    { path, hint: "choose a tree store outside of it: --store DIR" },
  );
}

/** The device of what is at a path, or will be. */
function deviceAbove(path: string): number | null {
  return deviceAt(path) ?? (path === "/" ? null : deviceAbove(parent(path)));
}

function sourceAt(path: string): Source {
  const info = ifAny(() => Deno.statSync(path)) ?? look(path);
  if (info?.isFile || info?.isDirectory) return { path, isDirectory: info.isDirectory };
  const hint = "give a directory, a file, or - for stdin";
  if (info !== null) throw imageError(path, `it is ${typeOf(info)}`, hint);
  throw new OverlayError("missing", `Cannot import ${quote(path)}: it does not exist`, {
    path,
    hint,
  });
}

/** Where the image is, once it is a file or a directory. */
async function sourceOf({ source, store }: ParsedImport, options: ImportOptions): Promise<Source> {
  if (source === "-") return { path: await spool(store, options), isDirectory: false };
  return sourceAt(source);
}

/** What stdin holds; a signal ends the reading, also while nothing comes in. */
async function* stdin(signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = Deno.stdin.readable.getReader();
  const cancel = () => void reader.cancel();
  signal?.addEventListener("abort", cancel);
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    signal?.removeEventListener("abort", cancel);
    cancel();
  }
}

/** What comes from stdin is written down first: which image it is may stand at its end. */
async function spool({ scratch }: StoreLayout, options: ImportOptions): Promise<string> {
  const path = child(scratch, "stdin");
  using file = attempt("write", path, () => {
    return Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  });
  for await (const piece of (options.input ?? (() => stdin(options.signal)))()) {
    options.signal?.throwIfAborted();
    attempt("write", path, () => {
      for (let at = 0; at < piece.length;) at += file.writeSync(piece.subarray(at));
    });
  }
  options.signal?.throwIfAborted();
  return path;
}

function startOf(path: string, name: string): Uint8Array {
  using file = attempt("read", path, () => Deno.openSync(path));
  const start = new Uint8Array(512);
  const read = file.readSync(start);
  if (read === null) throw imageError(name, "it is empty");
  return start.subarray(0, read);
}

function checkCompression(compression: Compression, path: string): void {
  if (compression !== "xz" && compression !== "zstd") return;
  const run = [COMPRESSION_PROGRAMS[compression]];
  checkPermissions(`decompress ${quote(path)}`, { read: [], write: [], run });
}

/** The image that a source is; `null` of a directory that is a root file system. */
async function imageOf(
  { path, isDirectory }: Source,
  request: ParsedImport,
): Promise<Image | null> {
  const name = request.source === "-" ? "stdin" : path;
  const compression = isDirectory ? "none" : compressionOf(startOf(path, name));
  checkCompression(compression, name);
  if (compression === "none") {
    const files = isDirectory ? filesOfDirectory(path) : filesOfArchive(path, name);
    const { isLayout, readLayout } = await import("./oci_image.ts");
    if (isLayout(files)) return await readLayout(files, request.choice);
    const { isDockerArchive, readDockerArchive } = await import("./docker_archive.ts");
    if (!isDirectory && isDockerArchive(files)) {
      return await readDockerArchive(files, request.choice);
    }
  }
  for (const [flag, value] of Object.entries(request.choice)) {
    throw imageError(name, `it is no image but a root file system`, `leave --${flag} ${value} out`);
  }
  if (isDirectory) return null;
  const { size } = await Deno.stat(path);
  const layer = { name, path, offset: 0, size, digest: null, diffId: null };
  return { name: null, digest: null, config: null, layers: [layer] };
}

/** The tree id of layers, top first: rkt's rule for the dependencies of an image. */
export async function treeIdOf(keys: readonly string[]): Promise<string> {
  const content = new TextEncoder().encode(keys.join(","));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", content)).toHex();
  return `deps-sha512-${digest.slice(0, digest.length / 2)}`;
}

async function manifestOf(lowestFirst: readonly LayerRecord[]): Promise<TreeManifest> {
  const all = lowestFirst.toReversed();
  const hidden = all.findIndex(({ opaqueRoot }) => opaqueRoot);
  const seen = hidden < 0 ? all : all.slice(0, hidden + 1);
  const layers = all.map(({ key }) => key);
  // Hiding all that is in the root does not change what the root itself is like.
  const like = all.find(({ hasRoot }) => hasRoot) ?? seen[0];
  return {
    version: 1,
    id: await treeIdOf(layers),
    layers,
    lowers: seen.map(({ link }) => link).filter((link, at, links) => links.indexOf(link) === at),
    rootLike: like === seen[0] ? null : like?.link ?? null,
    userxattr: all.some(({ opaque, attributes }) => opaque > 0 && attributes === "user"),
    bytes: sum(all.map(({ bytes }) => bytes)),
    entries: sum(all.map(({ entries }) => entries)),
    lines: null,
    images: [],
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** A name is one image's: the trees of images that had it before lose it. */
function takeName(store: StoreLayout, { id }: TreeManifest, name: string): void {
  for (const tree of wholeTrees(store)) {
    const images = tree.images.filter((image) => image.name !== name);
    if (tree.id === id || images.length === tree.images.length) continue;
    const { manifest } = storedTreeLayout(store, tree.id);
    replaceFile(manifest, formatRecord({ ...tree, images }), 0o600);
  }
}

function isWhole(tree: StoredTreeLayout): boolean {
  return readOwnFile(tree.rendered) !== null;
}

/**
 * Writes down a tree whose layers are in their places, or whose directory is made; the mark that it is
 * whole comes last.
 */
async function writeTree(
  store: StoreLayout,
  manifest: TreeManifest,
  { image, options }: { readonly image: StoredImage; readonly options: ImportOptions },
): Promise<void> {
  const tree = storedTreeLayout(store, manifest.id);
  const before = isWhole(tree) ? ifSound(() => readTree(tree))?.images ?? [] : [];
  const others = before.filter(({ name, digest }) => {
    return name === null ? digest !== image.digest : name !== image.name;
  });
  const images = [...others, image];
  makeDirectory(tree.tree, 0o700);
  const content = formatRecord({ ...manifest, images });
  if (!sameBytes(readOwnFile(tree.manifest), content)) replaceFile(tree.manifest, content, 0o600);
  options.checkpoint?.("manifest");
  if (!isWhole(tree)) {
    syncDirectory(tree.tree);
    syncDirectory(store.trees);
    await makeFile(tree.rendered, new Uint8Array(), 0o600);
    options.checkpoint?.("rendered");
    syncDirectory(tree.tree);
  }
  // Last, so that the name is found at any moment.
  if (image.name !== null) takeName(store, manifest, image.name);
}

function sameBytes(a: Uint8Array | null, b: Uint8Array): boolean {
  return a?.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** An image becomes a tree of layers. */
async function importImage(
  image: Image,
  { store, policy, name }: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  const records = await knownLayers(image, { store, policy }) ??
    await unpackAll(image, { store, policy, options });
  const { layers, changed } = records;
  const manifest = await manifestOf(layers);
  const stored = { name: name ?? image.name, digest: image.digest, config: image.config };
  await writeTree(store, manifest, { image: stored, options });
  tellLeftOut(layers, options);
  const { id, bytes, entries } = manifest;
  const { name: called, digest } = stored;
  return { id, image: called, digest, layers: layers.length, bytes, entries, changed };
}

interface Layers {
  readonly layers: readonly LayerRecord[];
  readonly changed: boolean;
}

/** The layers of an image that are in the store, all of them; then nothing is loaded to unpack any. */
async function knownLayers(image: Image, wanted: WantedLayers): Promise<Layers | null> {
  const diffIds = await Promise.all(image.layers.map((blob) => diffIdOf(blob, wanted.store)));
  const found = await storedLayers(diffIds, wanted);
  const layers = found.filter((record) => record !== null);
  return layers.length === found.length ? { layers, changed: false } : null;
}

/** The diff id of an archive that nobody says it of, if a layer was unpacked from the same before. */
async function diffIdOf(blob: Blob, store: StoreLayout): Promise<string | null> {
  if (blob.diffId !== null) return blob.diffId;
  const alike = allLayers(store).filter(({ archive }) => archive.size === blob.size);
  if (alike.length === 0) return null;
  const { digestOfFile } = await import("./hash_file.ts");
  const digest = `sha256:${await digestOfFile(blob.path)}`;
  return alike.find(({ archive }) => archive.digest === digest)?.diffId ?? null;
}

async function unpackAll(
  image: Image,
  how: WantedLayers & { readonly options: ImportOptions },
): Promise<Layers> {
  const { importLayers } = await import("./import_layers.ts");
  return { layers: await importLayers(image.layers, how), changed: true };
}

function tellLeftOut(layers: readonly LayerSummary[], options: ImportOptions): void {
  const devices = sum(layers.map(({ devices }) => devices.left));
  const setuid = sum(layers.map(({ setuid }) => setuid.left));
  if (devices > 0) {
    const what = devices === 1 ? "1 device node" : `${devices} device nodes`;
    options.warn?.(`left out ${what}; --allow-devices keeps ${devices === 1 ? "it" : "them"}`);
  }
  if (setuid > 0) {
    const what = setuid === 1 ? "1 file" : `${setuid} files`;
    options.warn?.(`took setuid, setgid and capabilities from ${what}; --allow-setuid keeps them`);
  }
}

/** A directory becomes a tree of one directory. */
async function importDirectory(
  path: string,
  { store, policy, name }: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  const { stageLayer } = await import("./import_layers.ts");
  const { digestOfFile } = await import("./hash_file.ts");
  const { archiveOf } = await import("./archive.ts");
  const read = () => archiveOf(path, options);
  const blob = { name: path, path, offset: 0, size: 0, digest: null, diffId: null, read };
  const how = { store, policy: { ...policy, whiteouts: false }, options };
  const { root, lines, unpacked: { diffId, summary } } = await stageLayer(blob, 0, how);
  const { attributes } = policy;
  const id = await treeIdOf([keyOf({ diffId, ...summary, attributes, below: null })]);
  const tree = storedTreeLayout(store, id);
  const { bytes, entries } = summary;
  const changed = !isWhole(tree);
  const manifest: TreeManifest = {
    version: 1,
    id,
    layers: [],
    lowers: [],
    rootLike: null,
    userxattr: false,
    bytes,
    entries,
    lines: await digestOfFile(lines),
    images: [],
  };
  if (changed) {
    await syncStore(store, options);
    await clearAway(look(tree.tree) === null ? [] : [tree.tree], options);
    makeDirectory(tree.tree, 0o700);
    // Before what it is of: a directory without it would be taken for a tree that was made by hand.
    replaceFile(tree.manifest, formatRecord(manifest), 0o600);
    attempt("put in place", tree.lines, () => Deno.renameSync(lines, tree.lines));
    attempt("put in place", tree.rootfs, () => Deno.renameSync(root, tree.rootfs));
    options.checkpoint?.("rootfs");
  }
  const image = name ?? null;
  await writeTree(store, manifest, {
    image: { name: image, digest: null, config: null },
    options,
  });
  tellLeftOut([summary], options);
  return { id, image, digest: null, layers: 1, bytes, entries, changed };
}

/**
 * Imports an image into the tree store.
 *
 * Every blob is checked against its digest and its size, and every layer against its diff id. A layer is
 * unpacked once, whatever images have it. What an import that was killed left is cleared away by the next.
 *
 * Requires the permissions that {@linkcode importPermissions} computes, and to be root, or in a user
 * namespace with all users and groups.
 *
 * @param request What to import.
 * @param options Who is told what happens, and what can end it.
 * @returns The tree.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {OverlayError} If the image is damaged, hostile or not understood; the store is as it was.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { importTree } from "@overlay/render/tree";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the image");
 *
 * const { id } = await importTree({ source: `${dir}/image`, store: `${dir}/store` });
 * assert(Deno.readTextFileSync(`${dir}/store/tree/${id}/rootfs/hello`) === "from the image");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run
 */
export async function importTree(
  request: ImportRequest,
  options: ImportOptions = {},
): Promise<ImportedTree> {
  const parsed = parseImport(request);
  checkPermissions("import", importPermissions(request));
  checkSource(parsed);
  const { store } = parsed;
  using _lock = await openStore(store, options);
  try {
    const source = await sourceOf(parsed, options);
    const image = await imageOf(source, parsed);
    options.signal?.throwIfAborted();
    if (image === null) return await importDirectory(source.path, parsed, options);
    return await importImage(image, parsed, options);
  } catch (error) {
    tidy(store);
    throw error;
  } finally {
    await clearAway(scratchOf(store), options);
  }
}
