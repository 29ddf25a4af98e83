/**
 * Finds layers in the store. The key of a layer includes the policy by which it was unpacked.
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
 * Makes the key of a layer, the name of its directory, from its digest and the options that make it differ
 * from other layers of the same archive.
 */
export function formatLayerKey({ diffId, devices, setuid, attributes, below }: KeyParts): string {
  return [
    formatBase(diffId),
    ...(devices.left > 0 ? ["nodev"] : []),
    ...(setuid.left > 0 ? ["nosuid"] : []),
    // Also without opaque directories: the class of attributes in the uppers depends on the tree.
    ...(attributes === "user" ? ["user"] : []),
    ...(below === null ? [] : [below]),
  ].join("-");
}

function formatBase(diffId: string): string {
  return diffId.replace(/^sha256:/, "").replace(":", "-");
}

/** Tells whether a layer is the one that this policy would produce on these layers. */
function suits(record: LayerRecord, policy: LayerPolicy, below: string | null): boolean {
  const { devices, setuid, attributes } = record;
  const judged = (kept: boolean, { kept: had, left }: { kept: number; left: number }) => {
    return kept ? left === 0 : had === 0;
  };
  return judged(policy.devices, devices) && judged(policy.setuid, setuid) &&
    attributes === policy.attributes &&
    (record.below === null || record.below === below);
}

/** The store in which layers are searched, and the policy that they must have. */
export interface WantedLayers {
  /** The store. */
  readonly store: StoreLayout;
  /** The policy. */
  readonly policy: LayerPolicy;
}

/**
 * Finds a layer of a diff id in the store.
 *
 * @param among The keys of all layers, and the hash of the layers below it; `null` if they are not known.
 * @returns The record of the layer; `null` if no layer fits.
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

/** Hashes the keys of the layers below, lowest first, for the key of a layer. */
export async function hashBelow(keys: readonly string[]): Promise<string> {
  if (keys.length === 0) return "lowest";
  const content = new TextEncoder().encode(keys.join(","));
  return (await hexDigest("SHA-256", content)).slice(0, 16);
}

/**
 * Finds the layers of an image that are in the store already.
 *
 * @param diffIds The diff ids, lowest first; `null` for an unknown one.
 * @returns The record of each; `null` for those that are missing.
 */
export async function findLayers(
  diffIds: readonly (string | null)[],
  wanted: WantedLayers,
): Promise<readonly (LayerRecord | null)[]> {
  const found: (LayerRecord | null)[] = [];
  const keys = listNames(wanted.store.layers);
  for (const [at, diffId] of diffIds.entries()) {
    // A layer directly above the same layer changes nothing.
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

/** Tells whether a layer lies directly above the same layer. */
export function isAgain(diffIds: readonly (string | null)[], at: number): boolean {
  return at > 0 && diffIds[at] !== null && diffIds[at] === diffIds[at - 1];
}
