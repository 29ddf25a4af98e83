/**
 * Finding a layer in the store. What was left out of it is a part of its key.
 *
 * @module
 */
import { hexDigest } from "../core/digest.ts";
import type { LayerPolicy } from "../layer/layer_filter.ts";
import type { StoreLayout } from "./layout.ts";
import { ifSound, namesIn, readLayer } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";

/** What a layer's key is made of. */
export type KeyParts = Pick<
  LayerRecord,
  "diffId" | "devices" | "setuid" | "attributes" | "below"
>;

/**
 * What the directory of a layer is called: by its digest, and by what makes it another one than a layer
 * of the same archive.
 */
export function keyOf({ diffId, devices, setuid, attributes, below }: KeyParts): string {
  return [
    baseOf(diffId),
    ...(devices.left > 0 ? ["nodev"] : []),
    ...(setuid.left > 0 ? ["nosuid"] : []),
    // Also where nothing is marked: how a tree is mounted decides how its uppers are marked.
    ...(attributes === "user" ? ["user"] : []),
    ...(below === null ? [] : [below]),
  ].join("-");
}

function baseOf(diffId: string): string {
  return diffId.replace(/^sha256:/, "").replace(":", "-");
}

/** Whether a layer is what unpacking it with this policy, on these layers, would make. */
function suits(record: LayerRecord, policy: LayerPolicy, below: string | null): boolean {
  const { devices, setuid, attributes } = record;
  const judged = (kept: boolean, { kept: had, left }: { kept: number; left: number }) => {
    return kept ? left === 0 : had === 0;
  };
  return judged(policy.devices, devices) && judged(policy.setuid, setuid) &&
    attributes === policy.attributes &&
    (record.below === null || record.below === below);
}

/** Where layers are looked for, and what must be so of them. */
export interface WantedLayers {
  /** The store. */
  readonly store: StoreLayout;
  /** What was let through. */
  readonly policy: LayerPolicy;
}

/**
 * The layer of a diff id that is in the store already.
 *
 * @param among The keys of all layers, and what stands for the layers below it; `null` when they are not
 * known.
 * @returns What is known of it; `null` when there is none that will do.
 */
function storedLayer(
  diffId: string,
  { store, policy }: WantedLayers,
  among: { readonly keys: readonly string[]; readonly below: string | null },
): LayerRecord | null {
  const { keys, below } = among;
  const base = baseOf(diffId);
  for (const key of keys) {
    if (key !== base && !key.startsWith(`${base}-`)) continue;
    const record = ifSound(() => readLayer(store, key));
    if (record !== null && suits(record, policy, below)) return record;
  }
  return null;
}

/** What stands for layers, lowest first, in the key of one above them. */
export async function belowOf(keys: readonly string[]): Promise<string> {
  if (keys.length === 0) return "lowest";
  const content = new TextEncoder().encode(keys.join(","));
  return (await hexDigest("SHA-256", content)).slice(0, 16);
}

/**
 * The layers of an image that are in the store already.
 *
 * @param diffIds The lowest first; `null` where it is not known.
 * @returns What is known of each; `null` of those that are not there.
 */
export async function storedLayers(
  diffIds: readonly (string | null)[],
  wanted: WantedLayers,
): Promise<readonly (LayerRecord | null)[]> {
  const found: (LayerRecord | null)[] = [];
  const keys = namesIn(wanted.store.layers);
  for (const [at, diffId] of diffIds.entries()) {
    // A layer right above the same one changes nothing.
    if (isAgain(diffIds, at)) {
      found.push(found[at - 1] ?? null);
      continue;
    }
    const lower = found.map((record) => record?.key ?? "");
    const below = lower.includes("") ? null : await belowOf(lower);
    found.push(diffId === null ? null : storedLayer(diffId, wanted, { keys, below }));
  }
  return found;
}

/** Tells whether a layer lies right above the same one. */
export function isAgain(diffIds: readonly (string | null)[], at: number): boolean {
  return at > 0 && diffIds[at] !== null && diffIds[at] === diffIds[at - 1];
}
