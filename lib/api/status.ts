/**
 * What is rendered in pods, what of it is mounted, and where `overlay.fstab` and the kernel differ.
 *
 * @module
 */
import { configOfLine } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { look, lookForDirectory } from "../system/disk.ts";
import { MissingPermissionError, OverlayError } from "../core/errors.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { mountTable } from "../system/mount_table.ts";
import type { Mount } from "../system/mount_table.ts";
import { checkTrusted } from "../pod/open.ts";
import type { Trusted } from "../pod/open.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PodMounts } from "../pod/mounts.ts";
import type { MountState } from "../pod/mounts.ts";
import { linePermissions, missingOf, noPodError, readRecord } from "../pod/record.ts";
import { podsOf } from "../pod/list.ts";
import type { PodsRequest } from "../pod/list.ts";
import { refuseElsewhere } from "../pod/refusals.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { DiskUse } from "../system/disk_use.ts";

/** Whose status is asked for. */
export type StatusRequest = PodsRequest & {
  /** Whether the size of each upper is measured. @default {false} */
  readonly size?: boolean;
};

/** Who is told of what, beside the status. */
export interface StatusOptions extends Reporter {
  /** Is told of each pod of a directory whose status cannot be read. @default {it is left out with a warning} */
  readonly failed?: (pod: string, error: OverlayError) => void;
}

/**
 * How `overlay.fstab` and the kernel differ about an app.
 *
 * - `not-mounted`: its line says that it is mounted with the others, and it is not, as after a reboot.
 * - `not-recorded`: it is mounted, and its line says `noauto`: it would not be mounted again.
 * - `foreign`: something else is mounted on its rootfs.
 * - `missing`: a lower, the upper, the work or the destination is gone.
 */
export type Drift = "not-mounted" | "not-recorded" | "foreign" | "missing";

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
  /** Set when the rootfs is a copy of the lower, which nothing is mounted for. */
  readonly copy?: true;
  /** How `overlay.fstab` and the kernel differ; not there when they agree. */
  readonly drift?: Drift;
  /** What the upper takes on the disk, where that was asked for. */
  readonly size?: DiskUse;
}

/**
 * The Deno permissions that asking for the status of a pod, or of all pods in a directory, needs.
 *
 * Requires no permissions.
 */
export function statusPermissions(directory: string): RequiredPermissions {
  return { read: [directory], write: [], run: [PROGRAMS.findmnt, ...TRUST.run], sys: TRUST.sys };
}

/**
 * Says what is rendered in a pod, or in all pods of a directory, and what of it is mounted, as the
 * kernel sees it.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, `--allow-run` for
 * findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, an absolute path; or a directory of pods, and what is to be measured.
 * @param options Who is told what is run.
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
  const records = await trustedPods(wanted, options);
  if (records.length === 0) return [];
  for (const { lines, layout } of records) {
    checkPermissions("read the status", linePermissions(lines, layout));
  }
  const table = await mountTable(programOptions(options));
  for (const record of records) warnOfUnnamed(record, table, options);
  const all = records.flatMap(({ layout, lines }) => {
    try {
      return statusOfPod(layout, lines, table);
    } catch (error) {
      if ("pod" in wanted || !(error instanceof OverlayError)) throw error;
      tellFailure(layout.pod, error, options);
      return [];
    }
  });
  if (!wanted.size) return all;
  const { diskUse } = await import("../system/disk_use.ts");
  const sized: OverlayStatus[] = [];
  for (const status of all) {
    const { upper } = status;
    const isThere = upper !== null && look(upper)?.isDirectory === true;
    sized.push(
      isThere ? { ...status, size: await diskUse(upper, programOptions(options)) } : status,
    );
  }
  return sized;
}

/** A pod and its lines. */
interface Recorded {
  readonly layout: PodLayout;
  readonly lines: readonly AppLine[];
}

/** The pods that only root and the user we are can change; the lines of others may say anything. */
async function trustedPods(request: PodsRequest, options: StatusOptions): Promise<Recorded[]> {
  const trusted: Trusted = new Set();
  const found: Recorded[] = [];
  for (const layout of podsOf(request, options).map((pod) => podLayout(pod))) {
    try {
      if (await checkTrusted(layout, options, trusted) === null) continue;
      const { lines } = readRecord(layout.fstab);
      // Of a pod that is named it is shown what its lines say, wherever it is.
      if ("pods" in request) refuseElsewhere(lines, layout);
      found.push({ layout, lines });
    } catch (error) {
      if ("pod" in request || !(error instanceof OverlayError)) throw error;
      tellFailure(layout.pod, error, options);
    }
  }
  return found;
}

/** A pod of another user is none of ours; what else is wrong with one does not keep the others from being shown. */
function tellFailure(pod: string, error: OverlayError, { failed, warn }: StatusOptions): void {
  if (error instanceof MissingPermissionError) throw error;
  if (error.code !== "shared-pod" && failed !== undefined) return failed(pod, error);
  warn?.(`pod ${quote(pod)} is left out: ${error.message}`);
}

/** A mount whose line was lost would be seen by nobody. */
function warnOfUnnamed({ layout, lines }: Recorded, table: readonly Mount[], to: Reporter): void {
  for (const { target } of new PodMounts(layout, table).unnamed(lines)) {
    const pod = shellQuote(layout.pod);
    to.warn?.(
      `something is mounted on ${quote(target)}, and no line of overlay.fstab names it; ` +
        `to unmount it: overlay-render unmount --foreign --pod ${pod}`,
    );
  }
}

function statusOfPod(
  layout: PodLayout,
  lines: readonly AppLine[],
  table: readonly Mount[],
): OverlayStatus[] {
  const mounts = new PodMounts(layout, table);
  const states = new Map(lines.map((line) => [line, mounts.stateOf(line)]));
  const idle = lines.filter((line) => states.get(line) !== "mounted");
  return lines.map((line) => {
    const { app, tree, rootfs } = line;
    const { lower, upper, work } = configOfLine(line, layout.pod);
    const state = states.get(line) ?? "unmounted";
    const drift = driftOf(line, state, { layout, idle });
    const copy = line.copy ? { copy: true as const } : {};
    const status = { pod: layout.pod, app, tree, rootfs, lower, upper, work, ...copy };
    return { ...status, mounted: state === "mounted", ...(drift === null ? {} : { drift }) };
  });
}

function driftOf(
  line: AppLine,
  state: MountState,
  pod: { readonly layout: PodLayout; readonly idle: readonly AppLine[] },
): Drift | null {
  if (state === "foreign") return "foreign";
  if (state === "mounted") return line.auto ? null : "not-recorded";
  if (missingOf(line, pod.layout, pod.idle) !== null) return "missing";
  return line.auto ? "not-mounted" : null;
}
