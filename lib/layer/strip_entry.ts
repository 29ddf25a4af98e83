/**
 * Removes attributes and mode bits that a file of an image must not have.
 *
 * Requires no permissions.
 *
 * @module
 */
import { NO_ATTRIBUTES } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";

const CAPABILITY = "security.capability";

/** Attributes that belong to one machine, and are never taken from or put into an image. */
export const OF_MACHINE: ReadonlySet<string> = new Set([
  "security.selinux",
  "security.ima",
  "security.evm",
  "system.nfs4_acl",
]);

/** An attribute of overlayfs itself, in either class. */
const OVERLAY_ATTRIBUTE = /^(trusted|user)\.overlay\./;

/** Tells whether a file gives privileges when it is run: by setuid, setgid or capabilities. */
export function isPrivileged({ type, mode, attributes }: TarEntry): boolean {
  return type === "file" && ((mode & 0o6000) !== 0 || attributes.has(CAPABILITY));
}

/** Removes the attributes of a machine, and on request the privileges. */
export function stripEntry(entry: TarEntry, unprivileged: boolean): TarEntry {
  if (!unprivileged && entry.attributes.size === 0) return entry;
  const attributes = [...entry.attributes]
    .filter(([name]) => !(unprivileged && name === CAPABILITY) && !OF_MACHINE.has(name))
    .map(([name, value]) => [escapeName(name), value] as const);
  return {
    ...entry,
    mode: unprivileged ? entry.mode & 0o1777 : entry.mode,
    attributes: attributes.length === 0 ? NO_ATTRIBUTES : new Map(attributes),
  };
}

/**
 * Escapes an attribute that overlayfs would take for its own, so that it stays visible (kernel, overlayfs.rst,
 * "Nesting overlayfs mounts"). Both classes are escaped, since the layer may be mounted with either.
 */
function escapeName(name: string): string {
  return OVERLAY_ATTRIBUTE.test(name) ? name.replace(".overlay.", ".overlay.overlay.") : name;
}
