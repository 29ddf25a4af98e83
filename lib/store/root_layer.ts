/**
 * The layer that holds only the root directory of a tree. Overlayfs takes mode, owner, times and attributes of
 * the root from the first layer alone. A render sets them on its upper, which a read-only view lacks.
 *
 * @module
 */
import type { Blob } from "../image/blob.ts";
import { hexDigest } from "../core/digest.ts";
import { attempt, look } from "../system/disk.ts";
import type { LayerImport } from "./stage_layer.ts";
import { parseDirectory, parseLines } from "../tar/mtree.ts";
import { child } from "../core/path.ts";
import { storedTreeLayout } from "./layout.ts";
import { findLayers } from "./layer_key.ts";
import { END_OF_ARCHIVE, formatEntry, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import type { Directory } from "../tar/tar_entry.ts";
import { ifSound, isWhole, readTree } from "./tree_manifest.ts";
import type { LayerRecord, TreeManifest } from "./tree_manifest.ts";

/**
 * Makes the root layer of a tree whose first layer has no entry for the root.
 *
 * @param layers The layers of the tree, the lowest first.
 * @returns The record of the layer; `null` if the tree needs none, or was imported without it before, so that
 * existing views keep their lowers.
 */
export async function makeRootLayer(
  { id, rootLike }: TreeManifest,
  layers: readonly LayerRecord[],
  { store, policy, options }: LayerImport,
): Promise<LayerRecord | null> {
  const like = layers.findLast(({ hasRoot }) => hasRoot);
  if (rootLike === null || like === undefined) return null;
  const tree = storedTreeLayout(store, id);
  const before = isWhole(tree) ? ifSound(() => readTree(tree)) : null;
  if (before !== null && before.root === undefined) return null;
  const root = readRoot(child(store.records, `${like.key}.mtree`));
  if (root === null) return null;
  const blob = await makeRootBlob(root);
  const wanted = { store, policy: { ...policy, maxEntries: 1 } };
  const found = await findLayers([blob.diffId], wanted);
  const [known = null] = found;
  if (known !== null) return known;
  const { importLayers } = await import("./import_layers.ts");
  // This layer is not part of the image, so it is left out of the progress.
  const { onHave: _, onRead: __, onUnpacked: ___, ...quiet } = options;
  const [made = null] = await importLayers([blob], found, { ...wanted, options: quiet });
  return made;
}

/** The line of the root directory. */
const ROOT_LINE = /^\. .*$/gm;

/** Reads the root of a layer in its record; `null` if the record is lost, which a check reports. */
function readRoot(lines: string): Directory | null {
  if (look(lines) === null) return null;
  const text = attempt("read", lines, () => Deno.readTextFileSync(lines));
  const keywords = parseLines(text.match(ROOT_LINE)?.at(-1) ?? "").get("");
  return keywords === undefined ? null : parseDirectory(keywords);
}

/** Makes an archive that holds only a root directory. */
async function makeRootBlob(root: Directory): Promise<Blob> {
  // The attributes were escaped when the layer was unpacked, and will be again.
  const attributes = new Map([...root.attributes].map(([name, value]) => {
    return [name.replace(/^(trusted|user)\.overlay\.overlay\./, "$1.overlay."), value];
  }));
  const blocks = formatEntry({ ...PLAIN_DIRECTORY, ...root, attributes, name: "./" });
  const pieces = [...blocks, END_OF_ARCHIVE].map((block) => new Uint8Array(block));
  const archive = new Uint8Array(await new globalThis.Blob(pieces).arrayBuffer());
  const diffId = `sha256:${await hexDigest("SHA-256", archive)}`;
  const at = { path: "", offset: 0, size: archive.length };
  return { name: "the root", ...at, digest: null, diffId, read: () => onlyPiece(archive) };
}

/** A stream of one piece. */
export async function* onlyPiece<T>(piece: T): AsyncGenerator<T> {
  yield await Promise.resolve(piece);
}
