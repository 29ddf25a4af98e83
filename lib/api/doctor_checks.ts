/**
 * The checks of the doctor that need programs: versions, file system, overlays, SELinux.
 *
 * @module
 */
import { isAtLeast, readVersion, UTIL_LINUX_MIN } from "../system/util_linux.ts";
import { printable } from "../core/quote.ts";
import { FORBIDDEN } from "../preflight/kernel_probe.ts";
import { DENIALS } from "../preflight/kernel_rules.ts";
import { mountTable } from "../system/mount_table.ts";
import { hasSelinux } from "../system/selinux.ts";
import { isGranted } from "../system/permissions.ts";
import { look } from "../system/disk.ts";
import { basename } from "../core/path.ts";
import { probeMount } from "./probe.ts";
import type { ProgramOptions } from "../system/run.ts";
import { findFileSystem } from "../preflight/disk_facts.ts";

/** The result of one check. */
export interface Check {
  /** The subject of the check. */
  readonly name: string;
  /** Set if it works; `null` if it could not be tried. */
  readonly ok: boolean | null;
  /** Set if no render works without it. */
  readonly needed: boolean;
  /** The way in which it was checked. */
  readonly how: string;
  /** The result, in words. */
  readonly found: string;
  /** A hint how to make it work, or `null`. */
  readonly hint: string | null;
}

/** The place and the options of the checks. */
export interface Bench {
  /** The directory in which mounts are tried. */
  readonly directory: string;
  /** The options with which programs are run. */
  readonly programs: ProgramOptions;
  /** Ends the run between two checks. */
  readonly signal: AbortSignal | undefined;
}

/** Makes the result of a check. */
export function check(
  name: string,
  ok: boolean | null,
  rest: Partial<Check> & { how: string },
): Check {
  return { name, ok, needed: false, found: ok ? "yes" : "no", hint: null, ...rest };
}

/** Checks the version of a program of util-linux. */
export async function checkProgram(program: string, bench: Bench): Promise<Check> {
  const name = basename(program);
  const { version, said } = await readVersion(program, bench.programs);
  const ok = version !== null && isAtLeast(version, UTIL_LINUX_MIN);
  const found = version ?? (said.startsWith("Cannot run") ? said : `not of util-linux: ${said}`);
  return check(name, ok, {
    needed: true,
    how: `${program} --version`,
    found: printable(found),
    hint: ok ? null : `install util-linux ${UTIL_LINUX_MIN} or newer`,
  });
}

/** Checks that the file system of the directory can be written to. */
export async function checkFileSystem({ directory, programs }: Bench): Promise<Check> {
  const found = await findFileSystem(directory, programs);
  const how = `findmnt --target ${directory}`;
  if (found === null) return check("file system", null, { how, found: "findmnt does not say" });
  const text = `${found.type}${found.readOnly ? ", read-only" : ""}`;
  return check("file system", !found.readOnly, { how, found: text });
}

/** Tries an overlay with these mount options. */
export async function checkOverlay(bench: Bench, options: readonly string[]): Promise<Check> {
  const how = `mounted in ${bench.directory}, written, deleted, made again, unmounted`;
  const failed = await probeMount(bench.directory, options, bench.programs);
  const name = options.length === 0 ? "overlayfs" : `overlayfs with ${options.join(",")}`;
  return check(name, failed === null, {
    how,
    found: failed ?? "works",
    hint: failed === null ? null : hintFor(failed),
  });
}

function hintFor(failed: string): string {
  if (FORBIDDEN.test(failed)) return `run in a domain that may mount; ${DENIALS}`;
  if (/superuser|permission denied|not permitted/i.test(failed)) {
    return "run as root, or inside: unshare --user --map-root-user --mount";
  }
  if (/unknown filesystem type/.test(failed)) {
    return "load it: modprobe overlay; or --overlay never";
  }
  if (/d_type/.test(failed)) {
    return "make the file system again, with mkfs.ext4 -O filetype or mkfs.xfs -n ftype=1; or " +
      "give a pod on another one: --pod DIR";
  }
  const elsewhere = "give a pod on a disk with ext4, xfs or btrfs, or on a tmpfs: --pod DIR";
  if (/opaque/.test(failed)) {
    return `give the option userxattr, as a user namespace needs; or ${elsewhere}`;
  }
  return `${elsewhere}; or --overlay never`;
}

/** Checks whether labels are set. */
export async function checkSelinux({ programs }: Bench): Promise<Check> {
  const table = await mountTable(programs, "selinuxfs");
  const how = "findmnt --types selinuxfs";
  if (table.length === 0) {
    return check("SELinux", false, { how, found: "not enabled: labels are left out" });
  }
  if (!hasSelinux(table)) {
    const found = "not enabled for programs, since selinuxfs is read-only: labels are left out";
    return check("SELinux", false, { how, found });
  }
  if (isGranted({ name: "read", path: SELINUX_CONFIG }) && look(SELINUX_CONFIG) === null) {
    const found = `enabled, but ${SELINUX_CONFIG} is missing, so that mount takes no label`;
    return check("SELinux", false, { how, found, hint: `make ${SELINUX_CONFIG}` });
  }
  return check("SELinux", true, { how, found: "enabled" });
}

/** Without this file, programs take SELinux for disabled. */
const SELINUX_CONFIG = "/etc/selinux/config";

/** Checks the version of mount(8): before 2.39 it accepts `X-mount.idmap` and ignores it. */
export function checkIdmap(mount: Check): Check {
  const ok = isAtLeast(mount.found, "2.39");
  const found = ok ? "can be asked for" : "not by this mount: it ignores X-mount.idmap";
  return check("idmapped mounts", ok, { how: "the version of mount, 2.39 or newer", found });
}
