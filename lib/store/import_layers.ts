/**
 * Imports layers into the store. It is atomic: each is unpacked in a scratch directory, verified, synced and
 * renamed into place.
 *
 * @module
 */
import type { Blob } from "../image/blob.ts";
import { Budget } from "./import_budget.ts";
import { programOptions } from "../system/change_options.ts";
import { OverlayError } from "../core/errors.ts";
import type { LayerPolicy } from "../layer/layer_policy.ts";
import { hashFile } from "../system/hash_file.ts";
import { fitLayer } from "../layer/fit_layer.ts";
import { LayerLines, readLines } from "../layer/layer_lines.ts";
import { inLanes, joinSignals } from "../core/lanes.ts";
import { child } from "../core/path.ts";
import { syncDirectory, syncStore } from "./open.ts";
import { formatLayerKey, hashBelow, isAgain } from "./layer_key.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import { stageLayer } from "./stage_layer.ts";
import type { LayerImport, Staged } from "./stage_layer.ts";
import { placeLayer } from "./place_layer.ts";

/** The number of layers that are unpacked at once: while one waits for the disk or tar, the other computes. */
const AT_ONCE = 2;

/**
 * Imports the missing layers into the store. A layer that an image has several times is unpacked once,
 * unless it depends on layers below that differ.
 *
 * @param blobs The layers, the lowest first.
 * @param found The records of the layers in the store; `null` for the others.
 * @param ready Layers that are unpacked already, by their positions.
 * @returns The record of each layer, in their order.
 * @throws {OverlayError} If one of them cannot be imported; then none is.
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

/** A layer, and its position in its image. */
interface PlacedBlob {
  readonly blob: Blob;
  readonly at: number;
}

/** Returns the layers that are not in the store, each once. */
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

/** The records of all layers, and the unpacked layers by their positions. */
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
    if (!lines.has(made.key)) lines.set(made.key, new LayerLines(() => readLines(file)));
  }
  return { records, fresh };
}

/** Returns the unpacked layer. One that was fitted to other layers below is unpacked again. */
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

/** Makes the record of a layer, after fitting it to the layers below if needed. */
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
  const below = isFitted ? await hashBelow(lower.records.map(({ key }) => key)) : null;
  if (isFitted) {
    // Layers below one with an opaque root are hidden.
    const seen = lower.records.slice(Math.max(lower.records.findLastIndex(hidesAll), 0));
    const layers = seen.toReversed().flatMap(({ key }) => lower.lines.get(key) ?? []);
    const layer = { root, lines, implicit, whiteouts, emptied, attributes };
    if (!summary.opaqueRoot) {
      await fitLayer(layer, layers, { ...programOptions(options), signal: options.signal });
    }
  }
  const key = formatLayerKey({ diffId, ...summary, attributes, below });
  return {
    version: 1,
    key,
    diffId,
    link: "",
    attributes,
    below,
    archive,
    lines: await hashFile(lines),
    ...summary,
    ...(unset === 0 ? {} : { unset }),
  };
}

function hidesAll({ opaqueRoot }: LayerRecord): boolean {
  return opaqueRoot;
}

/** The number of layers that are fetched at once. */
const FETCHES_AT_ONCE = 3;

/** Fetches layers before they are unpacked. The layer that is unpacked reports an error of its fetch. */
async function fetchAhead(blobs: readonly Blob[], signal: AbortSignal): Promise<void> {
  const remote = blobs.filter(({ isRemote }) => isRemote);
  await inLanes(remote, FETCHES_AT_ONCE, async (blob) => {
    if (!signal.aborted) await blob.obtain?.().catch(() => {});
  });
}

/** Unpacks layers, several at once. Returns them by their positions. */
async function stageAll(
  wanted: readonly PlacedBlob[],
  how: LayerImport & {
    readonly budget: Budget;
    readonly ready?: ReadonlyMap<number, Staged>;
  },
): Promise<ReadonlyMap<number, Staged>> {
  const staged = new Map(how.ready);
  const ended = new AbortController();
  const options = { ...how.options, signal: joinSignals(ended.signal, how.options.signal) };
  const missing = wanted.filter(({ at }) => !staged.has(at));
  const fetching = fetchAhead(missing.map(({ blob }) => blob), options.signal);
  await inLanes(missing, AT_ONCE, async ({ blob, at }) => {
    const stage = (policy: LayerPolicy) => stageLayer(blob, at, { ...how, policy, options });
    try {
      staged.set(at, await how.budget.spend(stage));
    } catch (error) {
      // Stops the others; the first error is the cause.
      ended.abort(error);
      throw error;
    }
  });
  await fetching;
  return staged;
}
