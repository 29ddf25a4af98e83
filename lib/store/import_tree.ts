/**
 * Importing an image into the tree store: from an archive or a directory to a tree that can be rendered.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { makeDirectory } from "../system/directory.ts";
import { hexDigest } from "../core/digest.ts";
import { attempt, errno, look } from "../system/disk.ts";
import { replaceFile, writeScratch } from "../system/own_file.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { brief } from "../image/image.ts";
import type { Image } from "../image/image.ts";
import type { ImportProgress, Staged } from "./import_layers.ts";
import { isName, parseImport } from "./import_request.ts";
import type { ImportRequest, ParsedImport } from "./import_request.ts";
import { checkSource, imageIn, imageOf, refuseChoice, sourceOf } from "./import_source.ts";
import type { SourceOptions } from "./import_source.ts";
import type { AttributeClass, LayerPolicy, LayerSummary } from "../layer/layer_filter.ts";
import { child, nameOf, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { onlyPiece, rootLayerOf } from "./root_layer.ts";
import { keyOf, storedLayers } from "./layer_key.ts";
import type { WantedLayers } from "./layer_key.ts";
import { storedTreeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { clearAway, mendLinks, openStore, scratchOf, syncStore, tidy } from "./open.ts";
import { allLayers, formatRecord, isWhole } from "./tree_manifest.ts";
import type { LayerRecord, TreeManifest } from "./tree_manifest.ts";
import type { Blob } from "../image/blob.ts";
import { directoryManifest, manifestOf, sum, treeIdOf, withRoot, writeTree } from "./write_tree.ts";

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
export type ImportOptions = ChangeOptions & ImportProgress & SourceOptions;

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
    run: [ln, tar, sync, rm, ...TRUST.run],
    sys: TRUST.sys,
  };
}

/** An image becomes a tree of layers. */
async function importImage(
  image: Image,
  parsed: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  const { store, name, choice } = parsed;
  if (typeof image.note === "string") options.warn?.(image.note);
  const blobs = image.layers.length === 0 ? [await emptyLayer(parsed)] : image.layers;
  const diffIds = await Promise.all(blobs.map((blob) => diffIdOf(blob, store)));
  const { found, policy } = await foundLayers(diffIds, parsed, options);
  const ready = new Map<number, Staged>();
  if (image.digest === null) {
    const inner = found[0] === null
      ? await stageArchive(blobs, { ...parsed, policy }, options)
      : null;
    if (inner !== null && "layers" in inner) return await importImage(inner, parsed, options);
    refuseChoice(blobs[0]?.name ?? "", choice);
    if (inner !== null) ready.set(0, inner);
  }
  const { layers, changed } = await completed(blobs, found, { store, policy, options, ready });
  const plain = await manifestOf(layers);
  const root = await rootLayerOf(plain, layers, { store, policy, options });
  await mendLinks(root === null ? layers : [...layers, root], store, options);
  const manifest = root === null ? plain : withRoot(plain, root);
  const stored = {
    name: name ?? usableName(image, options),
    digest: image.digest,
    config: image.config,
  };
  await writeTree(store, manifest, { image: stored, options });
  tellLeftOut(layers, parsed.policy, options);
  const { id, bytes, entries } = manifest;
  const { name: called, digest } = stored;
  return { id, image: called, digest, layers: image.layers.length, bytes, entries, changed };
}

/** The name that an image gives itself, unless nobody could give it by `--name`. */
function usableName({ name }: Image, { warn }: ImportOptions): string | null {
  if (name === null || isName(name)) return name;
  warn?.(`the image's own name ${brief(name)} is left out: --name gives it another one`);
  return null;
}

/** An image without layers has one that is empty: overlayfs takes no less. */
async function emptyLayer({ source }: ParsedImport): Promise<Blob> {
  const archive = new Uint8Array(1024);
  const diffId = `sha256:${await hexDigest("SHA-256", archive)}`;
  const at = { path: source, offset: 0, size: archive.length };
  return { name: "no layers", ...at, digest: null, diffId, read: () => onlyPiece(archive) };
}

/** Unpacks a mere archive, which may turn out to be one of an image that is compressed as a whole. */
async function stageArchive(
  [blob]: readonly Blob[],
  { store, policy, choice }: ParsedImport,
  options: ImportOptions,
): Promise<Staged | Image | null> {
  if (blob === undefined) return null;
  const { stageLayer } = await import("./import_layers.ts");
  const { filesOfDirectory } = await import("../image/image_files.ts");
  const staged = await stageLayer(blob, 0, { store, policy, options });
  const image = await imageIn(filesOfDirectory(staged.root, blob.name), choice, false);
  if (image === null) return staged;
  // Its own layers are unpacked beside it.
  const place = child(store.scratch, "image");
  attempt("put aside", place, () => Deno.renameSync(parent(staged.root), place));
  return await imageIn(
    filesOfDirectory(child(place, nameOf(staged.root)), blob.name),
    choice,
    false,
  );
}

/** The layers of an image, with those that are not in the store; nothing is loaded where all are. */
async function completed(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
  how: WantedLayers & {
    readonly options: ImportOptions;
    readonly ready: ReadonlyMap<number, Staged>;
  },
): Promise<{ readonly layers: readonly LayerRecord[]; readonly changed: boolean }> {
  blobs.forEach((blob, at) => found[at] !== null && how.options.onHave?.(at, blob));
  const layers = found.filter((record) => record !== null);
  if (layers.length === blobs.length) return { layers, changed: false };
  const { importLayers } = await import("./import_layers.ts");
  return { layers: await importLayers(blobs, found, how), changed: true };
}

/**
 * The layers that are in the store, and what can be let through of the others. Where no devices can be made,
 * layers without them are as good as an import can make them.
 */
async function foundLayers(
  diffIds: readonly (string | null)[],
  { store, policy }: ParsedImport,
  options: ImportOptions,
): Promise<{ readonly found: readonly (LayerRecord | null)[]; readonly policy: LayerPolicy }> {
  const found = await storedLayers(diffIds, { store, policy });
  if (!found.includes(null)) return { found, policy };
  const possible = await possiblePolicy({ store, policy }, options);
  if (possible.devices === policy.devices) return { found, policy };
  return { found: await storedLayers(diffIds, { store, policy: possible }), policy: possible };
}

/** The policy that was asked for, without device nodes where none can be made, as in a user namespace. */
async function possiblePolicy(
  { store, policy }: WantedLayers,
  options: ImportOptions,
): Promise<LayerPolicy> {
  if (!policy.devices) return policy;
  const { canMakeDevices } = await import("../layer/unpack.ts");
  return { ...policy, devices: await canMakeDevices(store.scratch, programOptions(options)) };
}

/** The diff id of an archive that nobody says it of, if a layer was unpacked from the same before. */
async function diffIdOf(blob: Blob, store: StoreLayout): Promise<string | null> {
  if (blob.diffId !== null) return blob.diffId;
  const alike = allLayers(store).filter(({ archive }) => archive.size === blob.size);
  if (alike.length === 0) return null;
  const { digestOfFile } = await import("../system/hash_file.ts");
  const digest = `sha256:${await digestOfFile(blob.path)}`;
  return alike.find(({ archive }) => archive.digest === digest)?.diffId ?? null;
}

/** A number and the noun for it. */
function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Warns of what is not in the tree though the image has it. */
function tellLeftOut(
  layers: readonly (LayerSummary & Pick<LayerRecord, "unset">)[],
  policy: LayerPolicy,
  options: ImportOptions,
): void {
  const devices = sum(layers.map(({ devices }) => devices.left));
  const setuid = sum(layers.map(({ setuid }) => setuid.left));
  const why = policy.devices
    ? "none can be made here, as in a user namespace"
    : "as --strip devices says";
  if (devices > 0) options.warn?.(`left out ${counted(devices, "device node")}: ${why}`);
  const privileges = `setuid, setgid and capabilities of ${counted(setuid, "file")}`;
  if (setuid > 0) options.warn?.(`left out ${privileges}: as --strip setuid says`);
  const unset = sum(layers.map((layer) => layer.unset ?? 0));
  const reason =
    "the file system of the store, the type of file or the user namespace takes none such";
  if (unset > 0) options.warn?.(`left out ${counted(unset, "extended attribute")}: ${reason}`);
}

/** A directory becomes a tree of one directory. */
async function importDirectory(
  path: string,
  { store, policy, name }: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  const { stageLayer } = await import("./import_layers.ts");
  const possible = await possiblePolicy({ store, policy }, options);
  const { digestOfFile } = await import("../system/hash_file.ts");
  const { archiveOf } = await import("../layer/archive.ts");
  const read = () => archiveOf(path, options);
  const blob = { name: path, path, offset: 0, size: 0, digest: null, diffId: null, read };
  const how = { store, policy: { ...possible, whiteouts: false }, options };
  const staged = await stageLayer(blob, 0, how);
  const { diffId, summary, unset } = staged.unpacked;
  const { attributes } = policy;
  const id = await treeIdOf([keyOf({ diffId, ...summary, attributes, below: null })]);
  const { bytes, entries } = summary;
  const userxattr = attributes === "user";
  const manifest = directoryManifest(
    { id, userxattr, bytes, entries },
    await digestOfFile(staged.lines),
  );
  const changed = !isWhole(storedTreeLayout(store, id));
  if (changed) await placeDirectory(staged, manifest, { store, options });
  const image = { name, digest: null, config: null };
  await writeTree(store, manifest, { image, options });
  tellLeftOut([{ ...summary, unset }], policy, options);
  return { id, image: name, digest: null, layers: 1, bytes, entries, changed };
}

/** Puts a directory that is unpacked in the place of a tree that is not whole yet. */
async function placeDirectory(
  { root, lines }: Staged,
  manifest: TreeManifest,
  { store, options }: { readonly store: StoreLayout; readonly options: ImportOptions },
): Promise<void> {
  const tree = storedTreeLayout(store, manifest.id);
  await syncStore(store, options);
  await clearAway(look(tree.tree) === null ? [] : [tree.tree], options);
  makeDirectory(tree.tree, 0o700);
  // Before what it is of: a directory without it would be taken for a tree that was made by hand.
  replaceFile(tree.manifest, formatRecord(manifest), 0o600);
  attempt("put in place", tree.lines, () => Deno.renameSync(lines, tree.lines));
  attempt("put in place", tree.rootfs, () => Deno.renameSync(root, tree.rootfs));
  options.checkpoint?.("rootfs");
}

/**
 * The largest user id there is. Every one may own a file for root; a user namespace does not map it, and
 * other users may not give files away.
 */
const LAST_USER = 4294967294;

/** Only root outside a user namespace can set attributes that are trusted; others render with `userxattr`. */
function attributesFor({ userxattr }: ImportRequest, { scratch }: StoreLayout): AttributeClass {
  if (userxattr !== undefined) return userxattr ? "user" : "trusted";
  const probe = child(scratch, "owner");
  writeScratch(probe, new Uint8Array());
  try {
    Deno.chownSync(probe, LAST_USER, null);
    return "trusted";
  } catch (error) {
    if (!["EINVAL", "EPERM"].includes(errno(error) ?? "")) throw error;
    return "user";
  } finally {
    Deno.removeSync(probe);
  }
}

/**
 * Imports an image into the tree store.
 *
 * Every blob is checked against its digest and its size, and every layer against its diff id. A layer is
 * unpacked once, whatever images have it. An import that fails takes back what it made; what one that was
 * killed left is cleared away by the next.
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
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function importTree(
  request: ImportRequest,
  options: ImportOptions = {},
): Promise<ImportedTree> {
  const parsed = parseImport(request);
  checkPermissions("import", importPermissions(request));
  await checkSource(parsed, options);
  const { store } = parsed;
  using lock = await openStore(store, options);
  try {
    const policy = { ...parsed.policy, attributes: attributesFor(request, store) };
    const tree = await importFrom({ ...parsed, policy }, options);
    await clearAway(scratchOf(store), options);
    return tree;
  } catch (error) {
    tidy(store);
    await clearAway(scratchOf(store), options);
    lock.takeBack();
    throw error;
  }
}

async function importFrom(parsed: ParsedImport, options: ImportOptions): Promise<ImportedTree> {
  const source = await sourceOf(parsed, options);
  const image = await imageOf(source, parsed, options);
  options.signal?.throwIfAborted();
  if (image === null) return await importDirectory(source.path, parsed, options);
  return await importImage(image, parsed, options);
}
