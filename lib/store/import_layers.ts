/**
 * Putting layers into the store: each is unpacked beside, checked, written to the disk, and put in place
 * at once. A layer that is in its place is whole.
 *
 * @module
 */
import type { Blob } from "../image/blob.ts";
import { Budget } from "./import_budget.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { hexDigest } from "../core/digest.ts";
import { attempt, look } from "../system/disk.ts";
import { replaceFile } from "../system/own_file.ts";
import { OverlayError } from "../core/errors.ts";
import type { LayerPolicy } from "../layer/layer_filter.ts";
import { digestOfFile } from "../system/hash_file.ts";
import { fitLayer, LayerLines } from "../layer/fit_layer.ts";
import { makeLink } from "../system/symlink.ts";
import { keywordsLine, parseLines } from "../tar/mtree.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { linkTo } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { syncDirectory, syncStore } from "./open.ts";
import { belowOf, isAgain, keyOf } from "./layer_key.ts";
import { contentsOf } from "./tree_check.ts";
import { formatRecord, ifSound, readLayer } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import { unpackLayer } from "../layer/unpack.ts";
import type { Unpacked } from "../layer/unpack.ts";
import { Writeback } from "../layer/writeback.ts";

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
  if (unpacked.unset > 0) await recordAttributes(target, options);
  options.onUnpacked?.(layer, blob, unpacked);
  options.checkpoint?.("unpacked");
  return { ...target, unpacked };
}

/** Attributes of these names, in the record of an entry. */
const ATTRIBUTE = /^xattr\./;

/**
 * Corrects the record of a layer of which some attributes could not be set: it says what is there. Tar says
 * that of each, but which names it means cannot be told for sure.
 */
async function recordAttributes(
  { root, lines }: Pick<Staged, "root" | "lines">,
  options: ChangeOptions,
): Promise<void> {
  const is = await contentsOf(root, options);
  const must = parseLines(await Deno.readTextFile(lines));
  const corrected: string[] = [];
  for (const [path, keywords] of must) {
    const found = is.get(path);
    const kept = [...keywords].filter(([key, value]) => {
      return !ATTRIBUTE.test(key) || found?.get(key) === value;
    });
    if (kept.length < keywords.size) corrected.push(keywordsLine(path, new Map(kept)));
  }
  await Deno.writeTextFile(lines, corrected.join(""), { append: true });
}

/**
 * Puts layers into the store, those that are not there yet. A layer that an image has several times is
 * unpacked once, unless what it depends on has changed in between.
 *
 * @param blobs The layers, the lowest first.
 * @param found What is known of those that are there; `null` of the others.
 * @param ready Layers that are unpacked already, by their places.
 * @returns What is known of each, in their order.
 * @throws {OverlayError} If one of them cannot be put there; then none is.
 */
export async function importLayers(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
  how: LayerImport & { readonly ready?: ReadonlyMap<number, Staged> },
): Promise<readonly LayerRecord[]> {
  const budget = new Budget(how.policy, found);
  const staged = await stageAll(firstOf(blobs, found), { ...how, budget });
  const { records, fresh } = await complete(blobs, found, { ...how, budget, staged });
  if (fresh.size > 0) await syncStore(how.store, how.options);
  how.options.checkpoint?.("synced");
  how.options.signal?.throwIfAborted();
  const placed = new Map<string, LayerRecord>();
  for (const [at, mine] of fresh) {
    const record = records[at];
    if (record !== undefined) placed.set(record.key, await placeLayer(mine, record, how));
  }
  if (fresh.size > 0) syncDirectory(how.store.layers);
  return records.map((record) => placed.get(record.key) ?? record);
}

/** A layer, and its place among those of its image. */
interface PlacedBlob {
  readonly blob: Blob;
  readonly at: number;
}

/** Those that are not in the store, each once. */
function firstOf(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
): readonly PlacedBlob[] {
  const seen = new Set<string>();
  return blobs.map((blob, at) => ({ blob, at })).filter(({ blob: { diffId }, at }) => {
    if (found[at] !== null || (diffId !== null && seen.has(diffId))) return false;
    if (diffId !== null) seen.add(diffId);
    return true;
  });
}

/** The records of all layers, and by their places those layers that are to be put in place. */
interface Completed {
  readonly records: readonly LayerRecord[];
  readonly fresh: ReadonlyMap<number, Staged>;
}

async function complete(
  blobs: readonly Blob[],
  found: readonly (LayerRecord | null)[],
  how: LayerImport & { readonly budget: Budget; readonly staged: ReadonlyMap<number, Staged> },
): Promise<Completed> {
  const records: LayerRecord[] = [];
  const fresh = new Map<number, Staged>();
  const lines = new Map<string, LayerLines>();
  const diffIds = blobs.map(({ diffId }) => diffId);
  for (const [at, blob] of blobs.entries()) {
    const record = found[at] ?? (isAgain(diffIds, at) ? records[at - 1] : undefined);
    const mine = record === undefined
      ? await stagedFor({ blob, at }, { ...how, blobs, fresh })
      : null;
    const made = mine === null ? record : await completeLayer(mine, { records, lines }, how);
    if (made === undefined) throw new OverlayError("failed", "Cannot import: a layer is missing");
    if (mine !== null && !lines.has(made.key)) fresh.set(at, mine);
    records.push(made);
    const file = mine?.lines ?? child(how.store.records, `${made.key}.mtree`);
    if (!lines.has(made.key)) lines.set(made.key, new LayerLines(file));
  }
  return { records, fresh };
}

/** The layer as it was unpacked; what was fitted to other layers below is unpacked again. */
async function stagedFor(
  { blob, at }: PlacedBlob,
  how: LayerImport & Pick<Completed, "fresh"> & {
    readonly blobs: readonly Blob[];
    readonly budget: Budget;
    readonly staged: ReadonlyMap<number, Staged>;
  },
): Promise<Staged> {
  const first = [...how.staged.keys()].find((key) => {
    return key === at || (blob.diffId !== null && how.blobs[key]?.diffId === blob.diffId);
  });
  const known = first === undefined ? undefined : how.staged.get(first);
  if (known === undefined) throw new OverlayError("failed", "Cannot import: a layer is missing");
  if (first === at || !depends(known)) return known;
  return await how.budget.spend((policy) => stageLayer(blob, at, { ...how, policy }));
}

/** Tells whether a layer must be fitted to those below it. */
function depends({ unpacked: { implicit, whiteouts, emptied } }: Staged): boolean {
  return implicit.length + whiteouts.length + emptied.length > 0;
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
  const { diffId, archive, summary, unset, implicit, whiteouts, emptied } = unpacked;
  const { attributes } = policy;
  const isFitted = depends({ root, lines, unpacked });
  const below = isFitted ? await belowOf(lower.records.map(({ key }) => key)) : null;
  if (isFitted) {
    // What lies below a layer that hides all is not to be seen.
    const seen = lower.records.slice(Math.max(lower.records.findLastIndex(hidesAll), 0));
    const layers = seen.toReversed().flatMap(({ key }) => lower.lines.get(key) ?? []);
    const layer = { root, lines, implicit, whiteouts, emptied, attributes };
    if (!summary.opaqueRoot) {
      await fitLayer(layer, layers, { ...programOptions(options), signal: options.signal });
    }
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
    ...(unset === 0 ? {} : { unset }),
  };
}

function hidesAll({ opaqueRoot }: LayerRecord): boolean {
  return opaqueRoot;
}

/** Unpacks layers, some at once; by their places. */
async function stageAll(
  wanted: readonly PlacedBlob[],
  how: LayerImport & {
    readonly budget: Budget;
    readonly ready?: ReadonlyMap<number, Staged>;
  },
): Promise<ReadonlyMap<number, Staged>> {
  const staged = new Map(how.ready);
  const ended = new AbortController();
  const signals = [ended.signal, ...(how.options.signal === undefined ? [] : [how.options.signal])];
  const options = { ...how.options, signal: AbortSignal.any(signals) };
  const queue = wanted.filter(({ at }) => !staged.has(at));
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const { blob, at } = next;
      const stage = (policy: LayerPolicy) => stageLayer(blob, at, { ...how, policy, options });
      staged.set(at, await how.budget.spend(stage));
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
  const to = linkTo(key);
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
