/**
 * Taking away from an entry what a file of an image must not have.
 *
 * Requires no permissions.
 *
 * @module
 */
import { NO_ATTRIBUTES } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";

const CAPABILITY = "security.capability";

/** Attributes that tell how a machine treats its file; those of an image are never taken. */
const OF_MACHINE: ReadonlySet<string> = new Set([
  "security.selinux",
  "security.ima",
  "security.evm",
  "system.nfs4_acl",
]);

/** An attribute of overlayfs itself, in either class. */
const OVERLAY_ATTRIBUTE = /^(trusted|user)\.overlay\./;

/** Tells whether a file gives privileges to who runs it: by setuid, setgid or capabilities. */
export function isPrivileged({ type, mode, attributes }: TarEntry): boolean {
  return type === "file" && ((mode & 0o6000) !== 0 || attributes.has(CAPABILITY));
}

/** Takes away the attributes of a machine, and the privileges if they are to go. */
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
 * Attributes of an archive that overlayfs would take for its own are escaped, so that they show as they
 * are (kernel, overlayfs.rst, "Nesting overlayfs mounts"). Those of both classes are: the layer may be
 * mounted in either way.
 */
function escapeName(name: string): string {
  return OVERLAY_ATTRIBUTE.test(name) ? name.replace(".overlay.", ".overlay.overlay.") : name;
}
