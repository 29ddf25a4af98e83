/**
 * The facts about a mount that need a program, which `kernel_rules.ts` judges. An ordinary render does not
 * need them; they are collected when a mount is only planned, or has failed.
 *
 * @module
 */
import { ifAny } from "../system/disk.ts";
import type { Facts } from "./disk_facts.ts";
import { isGranted } from "../system/permissions.ts";
import type { KernelAnswer, KernelProbe } from "./kernel_probe.ts";
import { isBind, parseMountOptions } from "../overlay/mount_config.ts";
import { formatMountLabel } from "../overlay/mount_label.ts";
import { hasSelinux } from "../system/selinux.ts";
import type { Mount } from "../system/mount_table.ts";
import { isWithin } from "../core/path.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { ProgramVersion } from "../system/util_linux.ts";

/** The mount that a lower lies in. */
export interface LowerMount {
  /** The lower. */
  readonly path: string;
  /** The type of its file system. */
  readonly type: string;
  /** The number of overlays stacked there; 0 when there is none. */
  readonly overlays: number;
}

/** The facts about a mount; `null` stands for unknown. */
export interface MountingFacts {
  /** The version of mount(8). */
  readonly mount: ProgramVersion | null;
  /** The kernel's answer to an overlay of this user. */
  readonly kernel: KernelAnswer | null;
  /** The options that this kernel does not know, as far as it reports them. */
  readonly unknown: readonly string[];
  /** The mounts of the lowers, as far as they are known. */
  readonly lowers: readonly LowerMount[];
  /** The mount points above upper and work. */
  readonly points: { readonly upper: string; readonly work: string } | null;
  /** Set if SELinux is enabled. */
  readonly selinux: boolean | null;
  /** Set when the kernel reports that its policy has no such label. */
  readonly badLabel: boolean;
  /** The checks that could not be made, in words. */
  readonly unchecked: readonly string[];
}

/** Finds the mount of a path: the last of the mounts above it, which hides the earlier ones. */
function mountOf(path: string, table: readonly Mount[]): Mount | undefined {
  return table.findLast(({ target }) => isWithin(path, target));
}

/** Resolves a path; without permission it is returned unchanged, because asking for it could prompt. */
function realOf(path: string): string {
  if (!isGranted({ name: "read", path })) return path;
  return ifAny(() => Deno.realPathSync(path)) ?? path;
}

/**
 * Counts the overlays stacked on one another. The paths in a mount's options may be those of another mount
 * namespace; a path that cannot be resolved counts as no overlay.
 */
function overlaysBelow(
  mount: Mount,
  table: readonly Mount[],
  around: readonly Mount[] = [],
): number {
  if (mount.fstype !== "overlay") return 0;
  const seen = [...around, mount];
  const counts = parseMountOptions(mount.options).lower.map((lower) => {
    if (!lower.startsWith("/")) return 0;
    const below = mountOf(realOf(lower), table);
    return below === undefined || seen.includes(below) ? 0 : overlaysBelow(below, table, seen);
  });
  return 1 + Math.max(0, ...counts);
}

function lowerMounts({ lowers }: Facts, table: readonly Mount[]): LowerMount[] {
  return lowers.flatMap(({ path, real }) => {
    const mount = real === null ? undefined : mountOf(real, table);
    if (mount === undefined) return [];
    return [{ path, type: mount.fstype, overlays: overlaysBelow(mount, table) }];
  });
}

function pointsOf({ real }: Facts, table: readonly Mount[]): MountingFacts["points"] {
  if (real === null) return null;
  const [upper, work] = [mountOf(real.upper, table), mountOf(real.work, table)];
  if (upper === undefined || work === undefined) return null;
  return { upper: upper.target, work: work.target };
}

/** The file systems that record file types in directories (d_type) only if they were made that way. */
const TYPES_UNKNOWN = /^(ext[234]|xfs)$/;

function uncheckedOf(
  mount: MountPlan,
  facts: Facts,
  found: Omit<MountingFacts, "unchecked">,
): readonly string[] {
  const { upper, label } = mount;
  const onDisk = upper !== null && TYPES_UNKNOWN.test(facts.fileSystem?.type ?? "");
  return [
    ...(found.mount === null ? ["which mount there is"] : []),
    ...(found.kernel === null ? ["whether this user may mount, and the kernel takes it"] : []),
    ...(found.selinux === null ? ["what the lowers and the pod are mounted from"] : []),
    ...(found.selinux === null && label !== null ? ["whether SELinux is enabled"] : []),
    ...(onDisk ? ["whether deleted files are seen as deleted (d_type), which doctor tries"] : []),
  ];
}

/**
 * Collects the facts about a mount.
 *
 * Requires no permissions; facts that need `--allow-run` for mount or findmnt are skipped without it.
 *
 * @param facts The facts that need no program.
 */
export async function collectMountingFacts(
  mount: MountPlan,
  facts: Facts,
  probe: KernelProbe,
): Promise<MountingFacts> {
  const table = await probe.table();
  // A read-only view of one lower does not use overlayfs.
  const bind = isBind(mount);
  const selinux = table === null ? null : hasSelinux(table);
  const context = selinux ? formatMountLabel("", mount.label) : "";
  const found = {
    mount: await probe.version(),
    kernel: await probe.kernel(),
    unknown: bind ? [] : await probe.unknown(mount.options),
    lowers: bind || table === null ? [] : lowerMounts(facts, table),
    points: table === null ? null : pointsOf(facts, table),
    selinux,
    badLabel: context !== "" && (await probe.unknown([context])).length > 0,
  };
  return { ...found, unchecked: uncheckedOf(mount, facts, found) };
}
