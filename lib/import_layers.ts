/**
 * Putting layers into the store: each is unpacked beside, checked, written to the disk, and put in place
 * at once. A layer that is in its place is whole.
 *
 * @module
 */
import type { Blob } from "./blob.ts";
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { hexDigest } from "./digest.ts";
import { attempt, look, replaceFile } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import type { LayerPolicy } from "./layer_filter.ts";
import { namesLayers } from "./docker_archive.ts";
import { digestOfFile } from "./hash_file.ts";
import { filesOfDirectory } from "./image_files.ts";
import { isLayout } from "./oci_image.ts";
import { fitLayer, LayerLines } from "./inherit.ts";
import { makeLink } from "./link.ts";
import { child } from "./path.ts";
import { quote } from "./quote.ts";
import type { StoreLayout } from "./store.ts";
import { syncDirectory, syncStore } from "./store_disk.ts";
import { belowOf, keyOf } from "./stored_layer.ts";
import { formatRecord, ifSound, readLayer } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import { unpackLayer } from "./unpack.ts";
import type { Unpacked } from "./unpack.ts";
import { Writeback } from "./writeback.ts";

/** Who is told how an import goes on. */
export interface ImportProgress {
  /** A layer is in the store already. */
  readonly onHave?: (layer: number, blob: Blob) => void;
  /** So many more bytes of a layer were read. */
  readonly onRead?: (layer: number, bytes: number, blob: Blob) => void;
  /** A layer is unpacked. */
  readonly onUnpacked?: (layer: number, blob: Blob, unpacked: Unpacked) => void;
}

/** What putting layers into the store needs to know. */
export interface LayerImport {
  /** The store, which is locked. */
  readonly store: StoreLayout;
  /** What is let through. */
  readonly policy: LayerPolicy;
  /** Who is told what is done. */
  readonly options: ChangeOptions & ImportProgress;
}

/** A layer that is unpacked, and not yet in its place. */
export interface Staged {
  /** The directory it is unpacked in. */
  readonly root: string;
  /** The file with the lines of its entries. */
  readonly lines: string;
  /** What it turned out to be. */
  readonly unpacked: Unpacked;
}

/** Of layers that are unpacked at once, one waits for the disk or for tar while the other computes. */
const AT_ONCE = 2;

/** Unpacks one layer into a directory of the store that is not in its place. */
export async function stageLayer(
  blob: Blob,
  layer: number,
  { store, policy, options }: LayerImport,
): Promise<Staged> {
  const scratch = child(store.scratch, String(layer));
  const target = { root: child(scratch, "root"), lines: child(scratch, "mtree") };
  attempt("make directory", target.root, () => {
    Deno.mkdirSync(target.root, { recursive: true, mode: 0o700 });
    // What the archive does not say of its root.
    Deno.chmodSync(target.root, 0o755);
  });
  await using writeback = new Writeback(() => syncStore(store, options));
  const unpacked = await unpackLayer(blob, target, {
    policy,
    signal: options.signal,
    trace: programOptions(options).trace,
    onRead: (bytes) => options.onRead?.(layer, bytes, blob),
    onWritten: (bytes) => writeback.wrote(bytes),
  });
  await writeback.end();
  refuseImage(blob, target.root);
  options.onUnpacked?.(layer, blob, unpacked);
  options.checkpoint?.("unpacked");
  return { ...target, unpacked };
}

/** An image in a compressed archive would become a tree of its blobs, which nobody wants. */
function refuseImage({ name, path, diffId, read }: Blob, root: string): void {
  if (diffId !== null || read !== undefined) return;
  const files = filesOfDirectory(root);
  if (!isLayout(files) && !namesLayers(files)) return;
  throw new OverlayError(
    "bad-image",
    `Cannot use image ${quote(name)}: it is an archive of an image that is compressed as a whole`,
    { path, hint: "decompress it first, such as by zcat FILE | overlay-render tree import -" },
  );
}

/**
 * Puts layers into the store, those that are not there yet.
 *
 * @param blobs The layers, the lowest first.
 * @param found What is known of those that are there; `null` of the others.
 * @returns What is known of each, in their order.
 * @throws {OverlayError} If one of them cannot be put there; then none is.
 */
export async function importLayers(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
  how: LayerImport,
): Promise<readonly LayerRecord[]> {
  const wanted = blobs.map((blob, at) => ({ blob, at })).filter(({ at }) => found[at] === null);
  const staged = await stageAll(wanted, how);
  const records: LayerRecord[] = [];
  const lines = new Map<string, LayerLines>();
  for (const at of blobs.keys()) {
    const mine = staged[wanted.findIndex((one) => one.at === at)];
    const below = { records, lines };
    const record = found[at] ?? (mine === undefined ? null : await completeLayer(mine, below, how));
    if (record === null) throw new OverlayError("failed", "Cannot import: a layer is missing");
    records.push(record);
    lines.set(
      record.key,
      new LayerLines(mine?.lines ?? child(how.store.records, `${record.key}.mtree`)),
    );
  }
  if (staged.length > 0) await syncStore(how.store, how.options);
  how.options.checkpoint?.("synced");
  how.options.signal?.throwIfAborted();
  for (const [place, { at }] of wanted.entries()) {
    const [mine, record] = [staged[place], records[at]];
    if (mine !== undefined && record !== undefined) {
      records[at] = await placeLayer(mine, record, how);
    }
  }
  if (staged.length > 0) syncDirectory(how.store.layers);
  return records;
}

/** The record of a layer that lies on others, which it is fitted to where it must. */
async function completeLayer(
  { root, lines, unpacked }: Staged,
  lower: {
    readonly records: readonly LayerRecord[];
    readonly lines: ReadonlyMap<string, LayerLines>;
  },
  { policy, options }: LayerImport,
): Promise<LayerRecord> {
  const { diffId, archive, summary, implicit, whiteouts, emptied } = unpacked;
  const { attributes } = policy;
  const depends = implicit.length + whiteouts.length + emptied.length > 0;
  const below = depends ? await belowOf(lower.records.map(({ key }) => key)) : null;
  if (depends) {
    // What lies below a layer that hides all is not to be seen.
    const seen = lower.records.slice(Math.max(lower.records.findLastIndex(hidesAll), 0));
    const layers = seen.toReversed().flatMap(({ key }) => lower.lines.get(key) ?? []);
    const layer = { root, lines, implicit, whiteouts, emptied, attributes };
    if (!summary.opaqueRoot) await fitLayer(layer, layers, programOptions(options));
  }
  const key = keyOf({ diffId, ...summary, attributes, below });
  return {
    version: 1,
    key,
    diffId,
    link: "",
    attributes,
    below,
    archive,
    lines: await digestOfFile(lines),
    ...summary,
  };
}

function hidesAll({ opaqueRoot }: LayerRecord): boolean {
  return opaqueRoot;
}

async function stageAll(
  wanted: readonly { readonly blob: Blob; readonly at: number }[],
  how: LayerImport,
): Promise<readonly Staged[]> {
  const staged: Staged[] = [];
  const ended = new AbortController();
  const signals = [ended.signal, ...(how.options.signal === undefined ? [] : [how.options.signal])];
  const options = { ...how.options, signal: AbortSignal.any(signals) };
  const queue = [...wanted.entries()];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [place, { blob, at }] = next;
      staged[place] = await stageLayer(blob, at, { ...how, options });
    }
  };
  const workers = Array.from({ length: AT_ONCE }, () => {
    return work().catch((error) => {
      // The others need not go on; of their ends, the first is the cause.
      ended.abort(error);
      throw error;
    });
  });
  const results = await Promise.allSettled(workers);
  const failed = results.find(({ status }) => status === "rejected");
  if (failed !== undefined) throw ended.signal.reason;
  return staged;
}

/** Puts a layer that is on the disk in its place. What is known of it is there before it is. */
async function placeLayer(
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
  // One whose record was damaged may be mounted, and is not replaced.
  if (!isThere) attempt("put in place", place, () => Deno.renameSync(root, place));
  options.checkpoint?.("layer");
  return record;
}

const LINK_LENGTH = 8;

/** Makes the link with a short name; it need not lead anywhere yet. */
async function linkLayer(
  key: string,
  { links }: StoreLayout,
  options: ChangeOptions,
): Promise<string> {
  const to = `../layer/${key}`;
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
