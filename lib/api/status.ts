/**
 * Lists the renders of pods, whether they are mounted, and any drift between `overlay.fstab` and the kernel.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { identifyLowers, look, lookForDirectory } from "../system/disk.ts";
import { MissingPermissionError, OverlayError } from "../core/errors.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import type { MountState, PodSnapshot } from "../plan/snapshot.ts";
import { findMissing, noPodError } from "../pod/record.ts";
import { listPods } from "../pod/list.ts";
import type { PodMounts } from "../pod/mounts.ts";
import type { PodsRequest } from "../pod/list.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { DiskUse } from "../system/disk_use.ts";
import { Call, openAll, openPermissions } from "../pod/open.ts";

/** The pods whose status is asked for. */
export type StatusRequest = PodsRequest & {
  /** Set if the size of each upper is measured. @default {false} */
  readonly size?: boolean;
};

/** The listeners of a status call. */
export interface StatusOptions extends Reporter {
  /** Called for each pod of a directory whose status cannot be read. @default {it is left out with a warning} */
  readonly failed?: (pod: string, error: OverlayError) => void;
  /** Called for each mount in a pod that no line names. @default {a warning} */
  readonly unnamed?: (pod: string, target: string) => void;
}

/**
 * A difference between `overlay.fstab` and the kernel.
 *
 * - `not-mounted`: the app has a line without `noauto` and is not mounted, as after a reboot.
 * - `not-recorded`: the app is mounted, but its line has `noauto`, so a restore would not mount it.
 * - `foreign`: another file system is mounted on its rootfs.
 * - `missing`: a lower, the upper, the work or the destination is gone.
 * - `replaced`: a lower of a mounted app is another directory by now, and the mount shows the old one; seen where the
 *   lower may be read.
 * - `options`: the app is mounted read-only, or with or without `volatile`, `userxattr`, `nodev`, `nosuid` or
 *   `noexec`, other than its line says.
 */
export type Drift =
  | "not-mounted"
  | "not-recorded"
  | "foreign"
  | "missing"
  | "replaced"
  | "options";

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
  /** Set if the rootfs is mounted with these directories. */
  readonly mounted: boolean;
  /** Set if the rootfs is a copy of the lower, without a mount. */
  readonly copy?: true;
  /** The difference between `overlay.fstab` and the kernel; absent if they agree. */
  readonly drift?: Drift;
  /** The disk space that the upper uses, if the request asks for it. */
  readonly size?: DiskUse;
}

/**
 * Computes the Deno permissions to read the status of a pod, or of all pods in a directory.
 *
 * Requires no permissions.
 */
export function statusPermissions(directory: string): RequiredPermissions {
  return openPermissions(directory);
}

/**
 * Lists the renders of a pod, or of all pods in a directory, whether they are mounted, and any drift between
 * `overlay.fstab` and the kernel.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, `--allow-run` for
 * findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, as an absolute path; or a directory of pods, and whether sizes are measured.
 * @param options Listeners for programs that are run, warnings, and pods that fail.
 * @returns The apps, in the order of mounting, pod by pod.
 * @throws {InvalidValueError} If the pod is no absolute path.
 * @throws {MissingPermissionError} If a Deno permission is missing.
 * @throws {RefusedError} If another user could change the pod that is named, or its record is damaged.
 * @throws {OverlayError} If there is no such pod, or the one that is named cannot be read.
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
 * @tags allow-read, allow-run, allow-sys
 */
export async function overlayStatus(
  request: string | StatusRequest,
  options: StatusOptions = {},
): Promise<readonly OverlayStatus[]> {
  const wanted = typeof request === "string" ? { pod: request } : request;
  const directory = "pod" in wanted ? podLayout(wanted.pod).pod : wanted.pods;
  checkPermissions("read the status", statusPermissions(directory));
  if ("pod" in wanted && lookForDirectory(directory) === null) throw noPodError(directory);
  const call = new Call(options);
  const pods = listPods(wanted, options).map((pod) => podLayout(pod));
  const all: OverlayStatus[] = [];
  for (const pod of await openAll("read the status", pods, call)) {
    try {
      if ("error" in pod) throw pod.error;
      // A pod that is named is shown by its lines, even if it was moved.
      if ("pods" in wanted) refuseElsewhere(pod.open.record.lines, pod.layout);
      const snapshot = await pod.open.snapshot("read the status");
      tellUnnamed(snapshot, options);
      all.push(...statusOfPod(snapshot, await pod.open.mounts()));
    } catch (error) {
      if ("pod" in wanted || !(error instanceof OverlayError)) throw error;
      tellFailure(pod.layout.pod, error, options);
    }
  }
  return wanted.size ? await withSizes(all, options) : all;
}

/** Reports a pod of a directory that failed, without stopping the others. Pods of other users are skipped. */
function tellFailure(pod: string, error: OverlayError, { failed, warn }: StatusOptions): void {
  if (error instanceof MissingPermissionError) throw error;
  if (error.code !== "shared-pod" && failed !== undefined) return failed(pod, error);
  warn?.(`pod ${quote(pod)} is left out: ${error.message}`);
}

async function withSizes(
  all: readonly OverlayStatus[],
  options: StatusOptions,
): Promise<readonly OverlayStatus[]> {
  const { diskUse } = await import("../system/disk_use.ts");
  const sized: OverlayStatus[] = [];
  for (const status of all) {
    const { upper } = status;
    const isThere = upper !== null && look(upper)?.isDirectory === true;
    const size = isThere ? { size: await diskUse(upper, programOptions(options)) } : {};
    sized.push({ ...status, ...size });
  }
  return sized;
}

/** Reports mounts without a line, which would not be listed. */
function tellUnnamed(
  { pod: { pod }, unnamed }: PodSnapshot,
  { warn, unnamed: tell }: StatusOptions,
): void {
  for (const { target } of unnamed) {
    if (tell !== undefined) {
      tell(pod, target);
      continue;
    }
    warn?.(
      `something is mounted on ${quote(target)}, and no line of overlay.fstab names it; ` +
        `to unmount it: overlay-render unmount --foreign --pod ${shellQuote(pod)}`,
    );
  }
}

function statusOfPod({ pod: layout, seen }: PodSnapshot, mounts: PodMounts): OverlayStatus[] {
  const idle = seen.filter(({ state }) => state !== "mounted").map(({ line }) => line);
  return seen.map(({ line, state }) => {
    const { app, tree, rootfs } = line;
    const { lower, upper, work } = readLineConfig(line, layout.pod);
    const drift = driftOf(line, state, { layout, idle, mounts });
    const copy = line.copy ? { copy: true as const } : {};
    const status = { pod: layout.pod, app, tree, rootfs, lower, upper, work, ...copy };
    return { ...status, mounted: state === "mounted", ...(drift === null ? {} : { drift }) };
  });
}

/** Tells whether a lower of a mounted line is another directory by now; what may not be read is not asked for. */
function isReplaced(line: AppLine, { pod }: PodLayout): boolean {
  if (line.lowerIds === undefined) return false;
  const { lower } = readLineConfig(line, pod);
  if (!lower.every((path) => isGranted({ name: "read", path }))) return false;
  const now = identifyLowers(line, lower);
  return now !== undefined && now !== line.lowerIds;
}

function driftOf(
  line: AppLine,
  state: MountState,
  pod: {
    readonly layout: PodLayout;
    readonly idle: readonly AppLine[];
    readonly mounts: PodMounts;
  },
): Drift | null {
  if (state === "foreign") return "foreign";
  if (state === "mounted") {
    if (!line.auto) return "not-recorded";
    if (pod.mounts.hasOtherOptions(line)) return "options";
    return isReplaced(line, pod.layout) ? "replaced" : null;
  }
  if (findMissing(line, pod.layout, pod.idle) !== null) return "missing";
  return line.auto ? "not-mounted" : null;
}
