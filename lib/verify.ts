/**
 * What has become of a mount, as the mount table tells it.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import { parseMountOptions } from "./mount_config.ts";
import type { Mounting } from "./mounting.ts";
import { mountTable } from "./mount_table.ts";
import { PodMounts, sameDirectory, samePaths } from "./pod_mounts.ts";

/** What has become of the mount of a line. */
export interface FoundMount {
  /** The line. */
  readonly line: AppLine;
  /** Where it is mounted, if it is anywhere. */
  readonly target: string | null;
  /** Whether it is there and as it must be. */
  readonly isRight: boolean;
}

/**
 * Looks for the mounts of lines that were mounted just now. A mount can end in another place, where
 * somebody swapped a directory, and a bind mount can stay writable.
 */
export async function findMounted(
  lines: readonly AppLine[],
  { pod, programs }: Pick<Mounting, "pod" | "programs">,
): Promise<readonly FoundMount[]> {
  const mounts = new PodMounts(pod, await mountTable(programs));
  return lines.map((line) => {
    const rootfs = mounts.targetOf(line.rootfs);
    if (mounts.stateOf(line) === "mounted") return { line, target: rootfs, isRight: true };
    const paths = parseMountOptions(line.options);
    // Only an upper by its absolute path is nobody else's: a view, and a pod beside this one with the same
    // relative paths, look the same.
    const isOnly = paths.upper?.startsWith("/") === true;
    const own = mounts.table.findLast((mount) => {
      if (!isOnly && mount.target !== rootfs) return false;
      if (line.source !== "overlay") return sameDirectory(line.rootfs, line.source);
      return mount.fstype === "overlay" && samePaths(paths, parseMountOptions(mount.options));
    });
    return { line, target: own?.target ?? null, isRight: false };
  });
}
