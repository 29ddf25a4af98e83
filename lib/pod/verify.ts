/**
 * Verifies mounts against the mount table after they were made.
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

/** The mount of a line, as the mount table shows it. */
export interface FoundMount {
  /** The line. */
  readonly line: AppLine;
  /** The mount point; `null` if it is not mounted. */
  readonly target: string | null;
  /** Set if it is mounted in its place with the right directories and label. */
  readonly isRight: boolean;
  /** The label of the line, if the mount lacks it; with SELinux that is an error. */
  readonly lostLabel: string | null;
}

/**
 * Finds the mounts of lines that were just mounted. A mount can land in another place if a directory was
 * replaced, a bind mount can stay writable, and mount(8) drops a label when it takes SELinux for
 * disabled.
 *
 * @param before The mount table before. If it is given, a mount in another place is found even if the
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

/** Finds the label that a line asks for and its mount, which is in its place, lacks. */
function lostLabel(line: AppLine, target: string | null, mounts: PodMounts): string | null {
  const { label } = parseMountOptions(line.options);
  if (label === null || target === null || target !== mounts.targetOf(line.rootfs)) return null;
  const mount = mounts.index.at(target);
  return parseMountOptions(mount?.options ?? "").label === null ? label : null;
}

/** The id alone does not identify a mount: the kernel reuses ids. */
function keyOf({ id, target, options }: Mount): string {
  return `${id} ${target} ${options}`;
}

/** An absolute path names one upper; the same relative path can name that of another pod. */
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
 * Finds the mount of a line among the new mounts, wherever it is: the root of an overlay has the inode of
 * its upper or first lower, and that of a bind mount the inode of its source.
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

/** Reads the inodes of directories by find(1), since Deno may not be allowed to read there. */
async function inodesOf(
  paths: readonly string[],
  programs: ProgramOptions,
): Promise<ReadonlyMap<string, string>> {
  const { records } = await findPrinted([...paths, "-maxdepth", "0"], ["%p", "%i"], programs);
  return new Map(records.map(([path = "", inode = ""]) => [path, inode]));
}
