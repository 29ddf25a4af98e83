/**
 * What is rendered in a pod, and what of it is mounted.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import { programOptions } from "./change_options.ts";
import type { Reporter } from "./change_options.ts";
import { lookForDirectory } from "./disk.ts";
import { checkPermissions } from "./grants.ts";
import { podLayout } from "./layout.ts";
import { mountTable } from "./mount_table.ts";
import { PROGRAMS } from "./permissions.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { PodMounts } from "./pod_mounts.ts";
import { linePermissions, noPodError, readRecord } from "./pod_state.ts";

/** The status of an app. */
export interface OverlayStatus {
  /** The pod. */
  readonly pod: string;
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
  /** The tree id. */
  readonly tree: string;
  /** The mount point. */
  readonly rootfs: string;
  /** The lowers, top first. */
  readonly lower: readonly string[];
  /** The upper, or `null` for a read-only view. */
  readonly upper: string | null;
  /** The work, or `null` for a read-only view. */
  readonly work: string | null;
  /** Whether the rootfs is mounted, with these directories. */
  readonly mounted: boolean;
}

/**
 * The Deno permissions that asking for a pod's status needs.
 *
 * Requires no permissions.
 */
export function statusPermissions(pod: string): RequiredPermissions {
  return { read: [pod], write: [], run: [PROGRAMS.findmnt] };
}

/**
 * Says what is rendered in a pod, and what of it is mounted, as the kernel sees it.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, and `--allow-run` for
 * findmnt.
 *
 * @param pod The pod, an absolute path.
 * @param options Who is told what is run.
 * @returns Its apps, in the order of mounting.
 * @throws {InvalidValueError} If the pod is no absolute path.
 * @throws {MissingPermissionError} If a Deno permission is missing.
 * @throws {OverlayError} If there is no such pod, or it cannot be read.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { overlayStatus, prepareOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await prepareOverlay({ lower: `${dir}/image`, pod: `${dir}/pod`, app: "web" });
 *
 * const [web] = await overlayStatus(`${dir}/pod`);
 * assert(web?.app === "web" && !web.mounted);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-run
 */
export async function overlayStatus(
  pod: string,
  options: Reporter = {},
): Promise<readonly OverlayStatus[]> {
  const layout = podLayout(pod);
  checkPermissions("read the status", statusPermissions(layout.pod));
  if (lookForDirectory(layout.pod) === null) throw noPodError(layout.pod);
  const { lines } = readRecord(layout.fstab);
  if (lines.length === 0) return [];
  checkPermissions("read the status", linePermissions(lines, layout));
  const mounts = new PodMounts(layout, await mountTable(programOptions(options)));
  return lines.map((line) => {
    const { app, tree, rootfs } = line;
    const { lower, upper, work } = configOfLine(line, layout.pod);
    const mounted = mounts.stateOf(line) === "mounted";
    return { pod: layout.pod, app, tree, rootfs, lower, upper, work, mounted };
  });
}
