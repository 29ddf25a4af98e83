/**
 * Imports a directory as a tree of one directory.
 *
 * @module
 */
import { computeTreeId, directoryManifest, writeTree } from "./write_tree.ts";
import { attempt, look } from "../system/disk.ts";
import { formatLayerKey } from "./layer_key.ts";
import { clearAway, syncStore } from "./open.ts";
import { formatRecord, isWhole } from "./tree_manifest.ts";
import { limitPolicy, tellLeftOut } from "./import_policy.ts";
import type { Staged } from "./stage_layer.ts";
import type { ImportedTree, ImportOptions } from "./import_options.ts";
import type { ParsedImport } from "./import_request.ts";
import type { TreeManifest } from "./tree_manifest.ts";
import { makeDirectory } from "../system/directory.ts";
import { replaceFile } from "../system/own_file.ts";
import { storedTreeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";

/** Imports a directory as a tree of one directory. */
export async function importDirectory(
  path: string,
  { store, policy, name, keepBlobs }: ParsedImport,
  options: ImportOptions,
): Promise<ImportedTree> {
  if (keepBlobs) options.warn?.("no blobs are kept: a directory has none");
  const { stageLayer } = await import("./stage_layer.ts");
  const possible = await limitPolicy({ store, policy }, options);
  const { hashFile } = await import("../system/hash_file.ts");
  const { archiveDirectory } = await import("../layer/archive.ts");
  const read = () => archiveDirectory(path, options);
  const blob = { name: path, path, offset: 0, size: 0, digest: null, diffId: null, read };
  const how = { store, policy: { ...possible, whiteouts: false }, options };
  const staged = await stageLayer(blob, 0, how);
  const { diffId, summary, unset } = staged.unpacked;
  const { attributes } = policy;
  const id = await computeTreeId([formatLayerKey({ diffId, ...summary, attributes, below: null })]);
  const { bytes, entries } = summary;
  const userxattr = attributes === "user";
  const manifest = directoryManifest(
    { id, userxattr, bytes, entries },
    await hashFile(staged.lines),
  );
  const changed = !isWhole(storedTreeLayout(store, id));
  if (changed) await placeDirectory(staged, manifest, { store, options });
  const image = { name, digest: null, config: null };
  await writeTree(store, manifest, { image, options });
  tellLeftOut([{ ...summary, unset }], policy, options);
  return { id, image: name, digest: null, layers: 1, bytes, entries, changed };
}

/** Puts an unpacked directory in the place of an unfinished tree. */
async function placeDirectory(
  { root, lines }: Staged,
  manifest: TreeManifest,
  { store, options }: { readonly store: StoreLayout; readonly options: ImportOptions },
): Promise<void> {
  const tree = storedTreeLayout(store, manifest.id);
  await syncStore(store, options);
  await clearAway(look(tree.tree) === null ? [] : [tree.tree], options);
  makeDirectory(tree.tree, 0o700);
  // Before the directory, which without a manifest would be taken for a tree made by hand.
  replaceFile(tree.manifest, formatRecord(manifest), 0o600);
  attempt("put in place", tree.lines, () => Deno.renameSync(lines, tree.lines));
  attempt("put in place", tree.rootfs, () => Deno.renameSync(root, tree.rootfs));
  options.checkpoint?.("rootfs");
}
