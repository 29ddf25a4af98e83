/**
 * Finding a layer in the store. What was left out of it is a part of its key.
 *
 * @module
 */
import { hexDigest } from "../core/digest.ts";
import type { LayerPolicy } from "../layer/layer_policy.ts";
import type { StoreLayout } from "./layout.ts";
import { ifSound, listNames, readLayer } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";

/** The parts of a layer's key. */
export type KeyParts = Pick<
  LayerRecord,
  "diffId" | "devices" | "setuid" | "attributes" | "below"
>;

/**
 * Makes the name of a layer's directory, of its digest and of what makes it another one than a layer
 * of the same archive.
 */
export function formatLayerKey({ diffId, devices, setuid, attributes, below }: KeyParts): string {
  return [
    formatBase(diffId),
    ...(devices.left > 0 ? ["nodev"] : []),
    ...(setuid.left > 0 ? ["nosuid"] : []),
    // Also where nothing is marked: how a tree is mounted decides how its uppers are marked.
    ...(attributes === "user" ? ["user"] : []),
    ...(below === null ? [] : [below]),
  ].join("-");
}

function formatBase(diffId: string): string {
  return diffId.replace(/^sha256:/, "").replace(":", "-");
}

/** Tells whether a layer is the one that this policy would make on these layers. */
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
  /** The policy. */
  readonly policy: LayerPolicy;
}

/**
 * The layer of a diff id that is in the store already.
 *
 * @param among The keys of all layers, and what stands for the layers below it; `null` when they are not
 * known.
 * @returns What is known of it; `null` when there is none that will do.
 */
function findLayer(
  diffId: string,
  { store, policy }: WantedLayers,
  among: { readonly keys: readonly string[]; readonly below: string | null },
): LayerRecord | null {
  const { keys, below } = among;
  const base = formatBase(diffId);
  for (const key of keys) {
    if (key !== base && !key.startsWith(`${base}-`)) continue;
    const record = ifSound(() => readLayer(store, key));
    if (record !== null && suits(record, policy, below)) return record;
  }
  return null;
}

/** Makes the part of a key that stands for the layers below, lowest first. */
export async function hashBelow(keys: readonly string[]): Promise<string> {
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
export async function findLayers(
  diffIds: readonly (string | null)[],
  wanted: WantedLayers,
): Promise<readonly (LayerRecord | null)[]> {
  const found: (LayerRecord | null)[] = [];
  const keys = listNames(wanted.store.layers);
  for (const [at, diffId] of diffIds.entries()) {
    // A layer right above the same one changes nothing.
    if (isAgain(diffIds, at)) {
      found.push(found[at - 1] ?? null);
      continue;
    }
    const lower = found.map((record) => record?.key ?? "");
    const below = lower.includes("") ? null : await hashBelow(lower);
    found.push(diffId === null ? null : findLayer(diffId, wanted, { keys, below }));
  }
  return found;
}

/** Tells whether a layer lies right above the same one. */
export function isAgain(diffIds: readonly (string | null)[], at: number): boolean {
  return at > 0 && diffIds[at] !== null && diffIds[at] === diffIds[at - 1];
}
