/**
 * The policy of an import, limited to the devices and attributes that this machine and user can make.
 *
 * @module
 */
import type { ImportOptions } from "./import_options.ts";
import type { ImportRequest } from "./import_request.ts";
import type { LayerRecord } from "./tree_manifest.ts";
import type { AttributeClass, LayerPolicy, LayerSummary } from "../layer/layer_policy.ts";
import { errno } from "../system/disk.ts";
import type { WantedLayers } from "./layer_key.ts";
import { child } from "../core/path.ts";
import { writeScratch } from "../system/own_file.ts";
import type { StoreLayout } from "./layout.ts";
import { sum } from "./write_tree.ts";
import { programOptions } from "../system/change_options.ts";

/** Limits the requested policy: without device nodes if none can be made, as in a user namespace. */
export async function limitPolicy(
  { store, policy }: WantedLayers,
  options: ImportOptions,
): Promise<LayerPolicy> {
  if (!policy.devices) return policy;
  const { canMakeDevices } = await import("../layer/probe_devices.ts");
  return { ...policy, devices: await canMakeDevices(store.scratch, programOptions(options)) };
}

/** A number and the noun for it. */
function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Warns of parts of the image that are left out of the tree. */
export function tellLeftOut(
  layers: readonly (LayerSummary & Pick<LayerRecord, "unset">)[],
  policy: LayerPolicy,
  options: ImportOptions,
): void {
  const devices = sum(layers.map(({ devices }) => devices.left));
  const setuid = sum(layers.map(({ setuid }) => setuid.left));
  const why = policy.devices
    ? "none can be made here, as in a user namespace"
    : "as --strip devices says";
  if (devices > 0) options.warn?.(`left out ${count(devices, "device node")}: ${why}`);
  const privileges = `setuid, setgid and capabilities of ${count(setuid, "file")}`;
  if (setuid > 0) options.warn?.(`left out ${privileges}: as --strip setuid says`);
  const unset = sum(layers.map((layer) => layer.unset ?? 0));
  const reason =
    "the file system of the store, the type of file or the user namespace takes none such";
  if (unset > 0) options.warn?.(`left out ${count(unset, "extended attribute")}: ${reason}`);
}

/**
 * The largest user id. Only root can give a file to it: a user namespace does not map it, and other users may
 * not change owners.
 */
const LAST_USER = 4294967294;

/** Chooses the class of attributes. Only root outside a user namespace can set trusted ones; others use `userxattr`. */
export function chooseAttributes(
  { userxattr }: ImportRequest,
  { scratch }: StoreLayout,
): AttributeClass {
  if (userxattr !== undefined) return userxattr ? "user" : "trusted";
  const probe = child(scratch, "owner");
  writeScratch(probe, new Uint8Array());
  try {
    Deno.chownSync(probe, LAST_USER, null);
    return "trusted";
  } catch (error) {
    if (!["EINVAL", "EPERM"].includes(errno(error) ?? "")) throw error;
    return "user";
  } finally {
    Deno.removeSync(probe);
  }
}
