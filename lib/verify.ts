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
    const own = mounts.table.findLast((mount) => {
      if (line.source !== "overlay") {
        return mount.target === rootfs && sameDirectory(line.rootfs, line.source);
      }
      return mount.fstype === "overlay" && samePaths(paths, parseMountOptions(mount.options));
    });
    return { line, target: own?.target ?? null, isRight: false };
  });
}
