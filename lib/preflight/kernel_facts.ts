/**
 * What is known of a mount that takes a program to find out: the facts that `mounting_rules.ts` judges.
 * An ordinary render does without; they are collected when a mount is only planned, or has failed.
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
  /** How many overlays lie on one another there; 0 when there is none. */
  readonly overlays: number;
}

/** What is known of a mount; `null` is what is not. */
export interface MountingFacts {
  /** What mount(8) is. */
  readonly mount: ProgramVersion | null;
  /** Whether the kernel takes an overlay of this user. */
  readonly kernel: KernelAnswer | null;
  /** The options that this kernel does not know, as far as it says. */
  readonly unknown: readonly string[];
  /** Where the lowers lie, as far as that could be found out. */
  readonly lowers: readonly LowerMount[];
  /** The mount points that upper and work lie below, or will. */
  readonly points: { readonly upper: string; readonly work: string } | null;
  /** Whether SELinux is enabled. */
  readonly selinux: boolean | null;
  /** Set when the kernel says that its policy has no such label. */
  readonly badLabel: boolean;
  /** What could not be found out, in words. */
  readonly unchecked: readonly string[];
}

/** The mount that a path lies in: of those around it the last one, which hides what was there before. */
function mountOf(path: string, table: readonly Mount[]): Mount | undefined {
  return table.findLast(({ target }) => isWithin(path, target));
}

/** Without permission the name has to do: asking for it could prompt. */
function realOf(path: string): string {
  if (!isGranted({ name: "read", path })) return path;
  return ifAny(() => Deno.realPathSync(path)) ?? path;
}

/**
 * How many overlays lie on one another. The names in a mount's options are those that it was given, perhaps
 * in another mount namespace: what cannot be told from them counts as no overlay.
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

/** Which file systems keep the types of files in their directories or do not, as they were made. */
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
 * Collects what is known of a mount.
 *
 * Requires no permissions; what needs `--allow-run` for mount or findmnt is not asked without.
 *
 * @param facts What was found out without a program.
 */
export async function collectMountingFacts(
  mount: MountPlan,
  facts: Facts,
  probe: KernelProbe,
): Promise<MountingFacts> {
  const table = await probe.table();
  // A read-only view of one lower asks nothing of overlayfs.
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
