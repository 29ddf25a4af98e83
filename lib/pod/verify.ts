/**
 * What has become of a mount, as the mount table tells it.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { PodLayout } from "../request/layout.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import type { Mounting } from "./mount_context.ts";
import { mountTable } from "../system/mount_table.ts";
import type { Mount } from "../system/mount_table.ts";
import { PodMounts, sameDirectory, samePaths } from "./mounts.ts";
import type { ProgramOptions } from "../system/run.ts";
import { findPrinted } from "../system/find.ts";

/** What has become of the mount of a line. */
export interface FoundMount {
  /** The line. */
  readonly line: AppLine;
  /** Where it is mounted, if it is anywhere. */
  readonly target: string | null;
  /** Whether it is there and as it must be. */
  readonly isRight: boolean;
  /** Set when it lacks the label of the line: right without SELinux, wrong with it. */
  readonly lostLabel: string | null;
}

/**
 * Looks for the mounts of lines that were mounted just now. A mount can end in another place, where
 * somebody swapped a directory, a bind mount can stay writable, and mount(8) drops a label where it takes
 * SELinux for disabled.
 *
 * @param before The mount table before; where it is given, a mount in another place is found though the
 * paths in its options are relative.
 */
export async function findMounted(
  lines: readonly AppLine[],
  { pod, programs }: Pick<Mounting, "pod" | "programs">,
  before?: readonly Mount[],
): Promise<readonly FoundMount[]> {
  const mounts = new PodMounts(pod, await mountTable(programs));
  const old = before === undefined ? null : new Set(before.map(keyOf));
  const found: FoundMount[] = [];
  for (const line of lines) {
    const isRight = mounts.stateOf(line) === "mounted";
    const target = isRight
      ? mounts.targetOf(line.rootfs)
      : isOnly(line) || old === null
      ? findByPath(line, mounts)
      : await findByInode(
        line,
        mounts.table.filter((mount) => !old.has(keyOf(mount))),
        pod,
        programs,
      );
    found.push({ line, target, isRight, lostLabel: lostLabel(line, target, mounts) });
  }
  return found;
}

/** The label that a line asks for and its mount lacks, which is where it should be. */
function lostLabel(line: AppLine, target: string | null, mounts: PodMounts): string | null {
  const { label } = parseMountOptions(line.options);
  if (label === null || target === null || target !== mounts.targetOf(line.rootfs)) return null;
  const mount = mounts.index.at(target);
  return parseMountOptions(mount?.options ?? "").label === null ? label : null;
}

/** An id is given again when its mount is gone. */
function keyOf({ id, target, options }: Mount): string {
  return `${id} ${target} ${options}`;
}

/** An upper by its absolute path is nobody else's; by a relative one, a pod beside this one can name its own. */
function isOnly(line: AppLine): boolean {
  return parseMountOptions(line.options).upper?.startsWith("/") === true;
}

function findByPath(line: AppLine, mounts: PodMounts): string | null {
  const rootfs = mounts.targetOf(line.rootfs);
  const own = mounts.table.findLast((mount) => {
    return (isOnly(line) || mount.target === rootfs) && isLike(mount, line);
  });
  return own?.target ?? null;
}

function isLike(mount: Mount, line: AppLine): boolean {
  if (line.source !== "overlay") return sameDirectory(line.rootfs, line.source);
  const paths = parseMountOptions(line.options);
  return mount.fstype === "overlay" && samePaths(paths, parseMountOptions(mount.options));
}

/**
 * Finds the mount of a line among those that were not there before, wherever it is: the root of an overlay
 * has the inode of its upper, or of its first lower; that of a bind mount is what is bound.
 */
async function findByInode(
  line: AppLine,
  fresh: readonly Mount[],
  pod: PodLayout,
  programs: ProgramOptions,
): Promise<string | null> {
  const like = fresh.filter((mount) => line.source !== "overlay" || isLike(mount, line));
  if (like.length === 0) return null;
  const { upper, lower } = readLineConfig(line, pod.pod);
  const shown = upper ?? lower[0] ?? line.source;
  const inodes = await inodesOf([shown, ...like.map(({ target }) => target)], programs);
  return like.findLast(({ target }) => inodes.get(target) === inodes.get(shown))?.target ?? null;
}

/** The inodes of directories, by find(1): a mount can be where Deno may not look. */
async function inodesOf(
  paths: readonly string[],
  programs: ProgramOptions,
): Promise<ReadonlyMap<string, string>> {
  const { records } = await findPrinted([...paths, "-maxdepth", "0"], ["%p", "%i"], programs);
  return new Map(records.map(([path = "", inode = ""]) => [path, inode]));
}
