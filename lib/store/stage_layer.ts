/**
 * Unpacks a layer in the scratch directory of the store.
 *
 * @module
 */
import type { Blob } from "../image/blob.ts";
import { syncStore } from "./open.ts";
import { formatKeywordsLine, parseLines } from "../tar/mtree.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { Unpacked } from "../layer/unpack.ts";
import { Writeback } from "../layer/writeback.ts";
import { listWithContents } from "../layer/list_contents.ts";
import type { LayerPolicy } from "../layer/layer_policy.ts";
import { child } from "../core/path.ts";
import { attempt } from "../system/disk.ts";
import type { StoreLayout } from "./layout.ts";
import { programOptions } from "../system/change_options.ts";
import { unpackLayer } from "../layer/unpack.ts";

/** The listeners for the progress of an import. */
export interface ImportProgress {
  /** Called for a layer that is in the store already. */
  readonly onHave?: (layer: number, blob: Blob) => void;
  /** Called with the number of further bytes of a layer that were read. */
  readonly onRead?: (layer: number, bytes: number, blob: Blob) => void;
  /** Called when a layer is unpacked. */
  readonly onUnpacked?: (layer: number, blob: Blob, unpacked: Unpacked) => void;
}

/** The store, the policy and the options of an import. */
export interface LayerImport {
  /** The store, which is locked. */
  readonly store: StoreLayout;
  /** The policy. */
  readonly policy: LayerPolicy;
  /** The options of the import. */
  readonly options: ChangeOptions & ImportProgress;
}

/** A layer that is unpacked in the scratch directory. */
export interface Staged {
  /** The directory with its files. */
  readonly root: string;
  /** The file with the lines of its entries. */
  readonly lines: string;
  /** The result of unpacking it. */
  readonly unpacked: Unpacked;
}

/** Unpacks one layer into the scratch directory of the store. */
export async function stageLayer(
  blob: Blob,
  layer: number,
  { store, policy, options }: LayerImport,
): Promise<Staged> {
  const scratch = child(store.scratch, String(layer));
  const target = { root: child(scratch, "root"), lines: child(scratch, "mtree") };
  attempt("make directory", target.root, () => {
    Deno.mkdirSync(target.root, { recursive: true, mode: 0o700 });
    // The default for an archive without an entry for the root.
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
  // Before it would be synced with the layer.
  blob.release?.();
  await writeback.end();
  if (unpacked.unset > 0) await recordAttributes(target, options);
  options.onUnpacked?.(layer, blob, unpacked);
  options.checkpoint?.("unpacked");
  return { ...target, unpacked };
}

/** Attributes of these names, in the record of an entry. */
const ATTRIBUTE = /^xattr\./;

/**
 * Corrects the record of a layer if some attributes could not be set, so that it matches the disk. The
 * messages of tar do not name the files reliably.
 */
async function recordAttributes(
  { root, lines }: Pick<Staged, "root" | "lines">,
  options: ChangeOptions,
): Promise<void> {
  const is = await listWithContents(root, options);
  const must = parseLines(await Deno.readTextFile(lines));
  const corrected: string[] = [];
  for (const [path, keywords] of must) {
    const found = is.get(path);
    const kept = [...keywords].filter(([key, value]) => {
      return !ATTRIBUTE.test(key) || found?.get(key) === value;
    });
    if (kept.length < keywords.size) corrected.push(formatKeywordsLine(path, new Map(kept)));
  }
  await Deno.writeTextFile(lines, corrected.join(""), { append: true });
}
