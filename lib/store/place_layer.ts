/**
 * Moves an unpacked and synced layer to its place in the store.
 *
 * @module
 */
import { formatRecord, ifSound, readLayer } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import { attempt, look } from "../system/disk.ts";
import { programOptions } from "../system/change_options.ts";
import type { LayerImport, Staged } from "./stage_layer.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { formatLinkTarget } from "./layout.ts";
import { quote } from "../core/quote.ts";
import { child } from "../core/path.ts";
import { replaceFile } from "../system/own_file.ts";
import { OverlayError } from "../core/errors.ts";
import { syncDirectory } from "./open.ts";
import { hexDigest } from "../core/digest.ts";
import { makeLink } from "../system/symlink.ts";
import type { StoreLayout } from "./layout.ts";

/** Moves a synced layer to its place. Its record is written first. */
export async function placeLayer(
  { root, lines }: Staged,
  unnamed: LayerRecord,
  { store, options }: LayerImport,
): Promise<LayerRecord> {
  const { key } = unnamed;
  const [place, kept] = [child(store.layers, key), child(store.records, `${key}.mtree`)];
  const isThere = look(place) !== null;
  const known = isThere ? ifSound(() => readLayer(store, key)) : null;
  if (known !== null) return known;
  const record = { ...unnamed, link: await linkLayer(key, store, options) };
  attempt("put in place", kept, () => Deno.renameSync(lines, kept));
  replaceFile(child(store.records, `${key}.json`), formatRecord(record), 0o600);
  syncDirectory(store.records);
  syncDirectory(store.links);
  options.checkpoint?.("record");
  // A layer with a damaged record may be mounted, so it is not replaced.
  if (!isThere) attempt("put in place", place, () => Deno.renameSync(root, place));
  options.checkpoint?.("layer");
  return record;
}

const LINK_LENGTH = 8;

/** Makes the short symlink to a layer, which need not exist yet. */
async function linkLayer(
  key: string,
  { links }: StoreLayout,
  options: ChangeOptions,
): Promise<string> {
  const to = formatLinkTarget(key);
  const content = new TextEncoder().encode(key);
  const digest = await hexDigest("SHA-256", content);
  for (let length = LINK_LENGTH; length <= digest.length; length++) {
    const name = digest.slice(0, length);
    const path = child(links, name);
    if (look(path) !== null) {
      if (await Deno.readLink(path) === to) return name;
      continue;
    }
    await makeLink(path, to, programOptions(options));
    return name;
  }
  throw new OverlayError("failed", `Cannot make a link to ${quote(key)}: all names are taken`);
}
