/**
 * What has become of a mount, as the mount table tells it.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import type { Application } from "./application.ts";
import { parseMountOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import { mountState, realRootfs, sameDirectory, samePaths } from "./pod_state.ts";

/**
 * Looks for the mount of a line that was mounted just now.
 *
 * @returns Where it is, if it is anywhere, and whether it is there and as it must be. A mount can end
 * in another place, where somebody swapped a directory, and a bind mount can stay writable.
 */
export async function findMounted(
  line: AppLine,
  run: Application,
): Promise<{ readonly target: string | null; readonly isRight: boolean }> {
  const table = await mountTable(run.programs);
  const rootfs = realRootfs(line.rootfs, run.pod);
  if (mountState(line, run.pod, table) === "mounted") return { target: rootfs, isRight: true };
  const paths = parseMountOptions(line.options);
  const own = table.findLast((mount) => {
    if (line.source !== "overlay") {
      return mount.target === rootfs && sameDirectory(line.rootfs, line.source);
    }
    return mount.fstype === "overlay" && samePaths(paths, parseMountOptions(mount.options));
  });
  return { target: own?.target ?? null, isRight: false };
}
