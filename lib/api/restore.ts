/**
 * Mounting again what `overlay.fstab` says, as after a reboot.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { MissingPermissionError, OverlayError, RefusedError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { FactsCache } from "../preflight/disk_facts.ts";
import { checkRecordedLine, LineJudge } from "../pod/judge.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { mountTable } from "../system/mount_table.ts";
import { tryMount, unmountAll } from "../pod/mounting.ts";
import type { Mounting } from "../pod/mount_context.ts";
import { parsePath } from "../request/names.ts";
import { imagesAround, linesWithin } from "../overlay/overlaps.ts";
import { checkLinePermissions, checkTrusted, openPod } from "../pod/open.ts";
import type { Trusted } from "../pod/open.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PodMounts } from "../pod/mounts.ts";
import { linePermissions, noPodError, readRecord } from "../pod/record.ts";
import type { PodRecord } from "../pod/record.ts";
import { podsOf } from "../pod/list.ts";
import type { PodsRequest } from "../pod/list.ts";
import { appWords } from "../core/quote.ts";
import { refuseElsewhere } from "../pod/refusals.ts";

/** The pod, or the directory of pods, to mount again. */
export type RestoreRequest = PodsRequest & {
  /**
   * Says that nothing runs in an image that is mounted, so that an app whose destination lies in it may
   * be mounted again. @default {false}
   */
  readonly live?: boolean;
};

/** An app that could not be mounted again. */
export interface NotRestored {
  /** The pod. */
  readonly pod: string;
  /** The app's name; `null` when it is the pod that is wrong. */
  readonly app: string | null;
  /** What kind of failure it is. */
  readonly code: ErrorCode;
  /** Why, in a sentence. */
  readonly reason: string;
  /** What to do about it, or `null`. */
  readonly hint: string | null;
}

/** What was mounted again. */
export interface Restored {
  /** The apps that were not mounted and are now, in the order of mounting. */
  readonly restored: readonly {
    readonly pod: string;
    readonly app: string;
    readonly rootfs: string;
  }[];
  /** What could not be mounted, and why. */
  readonly failed: readonly NotRestored[];
}

interface Run {
  readonly restored: { pod: string; app: string; rootfs: string }[];
  readonly failed: NotRestored[];
  /** The directories above pods that were checked already. */
  readonly trusted: Trusted;
  /** Apps may be mounted in images that are mounted. */
  readonly live: boolean;
}

/**
 * The Deno permissions that restoring a pod, or all pods in a directory, needs, beside reading lowers
 * and destinations outside it.
 *
 * Requires no permissions.
 */
export function restorePermissions(directory: string): RequiredPermissions {
  const { mount, umount, findmnt } = PROGRAMS;
  const run = [mount, umount, findmnt, ...TRUST.run];
  return { read: [directory], write: [directory], run, sys: TRUST.sys };
}

/**
 * Mounts again what the lines of a pod, or of all pods in a directory, say, in one mount process a pod:
 * the apps that were mounted when the machine stopped. Those that were unmounted or only prepared are
 * left alone. A line that cannot be mounted is reported, and does not keep the others from it.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pods, `--allow-read` for lowers and for
 * destinations outside them, `--allow-run` for mount, umount, findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, or a directory of pods.
 * @param options Who is told what happens, and what can end it between two pods.
 * @returns What was mounted, and what could not be.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod that is named, or a command works on it.
 * @throws {OverlayError} If there is no such pod or directory.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { restoreOverlays } from "@overlay/render";
 *
 * const pods = await Deno.makeTempDir();
 * const { restored } = await restoreOverlays({ pods });
 * assert(restored.length === 0);
 *
 * await Deno.remove(pods);
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function restoreOverlays(
  request: RestoreRequest,
  options: ChangeOptions = {},
): Promise<Restored> {
  const directory = "pod" in request
    ? podLayout(request.pod).pod
    : parsePath("directory of pods", request.pods);
  checkPermissions("restore", restorePermissions(directory));
  if ("pod" in request && look(podLayout(request.pod).pod) === null) throw noPodError(request.pod);
  const run: Run = { restored: [], failed: [], trusted: new Set(), live: request.live ?? false };
  const once = warningOnce(options);
  const pods = podsOf(request, options).map((path) => podLayout(path));
  const { trusted } = run;
  await checkLinePermissions("restore", pods, { options, trusted, isWanted });
  for (const pod of pods) {
    options.signal?.throwIfAborted();
    try {
      await restorePod(pod, run, once);
    } catch (error) {
      if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
      // A pod that was named is all that was asked for.
      if ("pod" in request || error instanceof MissingPermissionError) throw error;
      run.failed.push(notRestored(pod, null, error));
    }
  }
  return { restored: run.restored, failed: run.failed };
}

/** Many pods may have a label in common, which is left out of each. */
function warningOnce(options: ChangeOptions): ChangeOptions {
  const said = new Set<string>();
  const warn = (text: string) => {
    if (!said.has(text)) options.warn?.(text);
    said.add(text);
  };
  return { ...options, warn };
}

function notRestored(pod: PodLayout, app: string | null, error: OverlayError): NotRestored {
  const { code, message: reason, hint } = error;
  return { pod: pod.pod, app, code, reason, hint };
}

/** Tells whether anything of a pod is to be mounted again. */
function isWanted({ lines }: PodRecord): boolean {
  return lines.some((line) => line.auto);
}

async function restorePod(
  pod: PodLayout,
  run: Run,
  options: ChangeOptions,
): Promise<void> {
  if (await checkTrusted(pod, options, run.trusted) === null) return;
  if (!isWanted(readRecord(pod.fstab))) return;
  using open = await openPod(pod, options, run.trusted);
  if (open === null) return;
  const { lines } = open.record;
  checkPermissions("restore", linePermissions(lines, pod));
  refuseElsewhere(lines, pod);
  const programs = programOptions(options);
  const mounts = new PodMounts(pod, await mountTable(programs));
  const mounting = { pod, programs, options, isLive: () => run.live };
  const sound = await fitLines(lines, { mounting, mounts, run });
  const asked = imagesAround(sound, lines).filter((line) => mounts.stateOf(line) === "unmounted");
  const fit = await freeLines(sound, asked, { mounting, run });
  if (fit.length === 0) return;
  open.check();
  const { failures, targets } = await tryMount(fit, mounting);
  const failed = new Set(failures.map(({ line }) => line));
  await takeBack(targets, fit.filter((line) => !failed.has(line)), { mounts, mounting });
  for (const { line, error } of failures) run.failed.push(notRestored(pod, line.app, error));
  for (const line of fit) {
    const { app, rootfs } = line;
    if (!failed.has(line)) run.restored.push({ pod: pod.pod, app, rootfs });
  }
}

/** Takes away what was mounted for a line and is not as it must be: elsewhere, or open to be written through. */
async function takeBack(
  targets: readonly string[],
  good: readonly AppLine[],
  known: { readonly mounts: PodMounts; readonly mounting: Mounting },
): Promise<void> {
  const { mounts, mounting } = known;
  const right = new Set(good.flatMap(({ rootfs }) => [rootfs, mounts.targetOf(rootfs)]));
  const wrong = targets.filter((target) => !right.has(target));
  if (wrong.length > 0) await unmountAll(wrong.toReversed(), mounting.programs);
}

/**
 * The lines whose uppers nobody uses since they were unmounted lazily, and which lie in no image that somebody
 * uses; what is wrong with the others is noted.
 */
async function freeLines(
  lines: readonly AppLine[],
  images: readonly AppLine[],
  { mounting, run }: { readonly mounting: Mounting; readonly run: Run },
): Promise<readonly AppLine[]> {
  const asked = new Set([...lines.filter((line) => line.lazy), ...images]);
  if (asked.size === 0) return lines;
  const { refuseInUse } = await import("../pod/in_use.ts");
  const used = new Set<AppLine>();
  for (const line of asked) {
    try {
      await refuseInUse("restore", [line], mounting);
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      used.add(line);
      run.failed.push(notRestored(mounting.pod, line.app, error));
    }
  }
  const within = linesWithin(lines, new Set([...used].map(({ rootfs }) => rootfs)));
  const lost = new Set([...within.values()].flat());
  for (const line of lost) {
    if (!used.has(line)) run.failed.push(notRestored(mounting.pod, line.app, lostError(line)));
  }
  return lines.filter((line) => !used.has(line) && !lost.has(line));
}

function lostError({ app, rootfs }: AppLine): RefusedError {
  const reason = "the image that it lies in is in use where nobody sees it";
  const hint = "end the processes that were started in that one, and run this again";
  const message = `Cannot mount ${appWords(app)} again: ${reason}`;
  return new RefusedError("busy", message, { path: rootfs, hint });
}

/** The lines that are to be mounted and can be; what is wrong with the others is noted. */
async function fitLines(
  lines: readonly AppLine[],
  known: { readonly mounting: Mounting; readonly mounts: PodMounts; readonly run: Run },
): Promise<readonly AppLine[]> {
  const { mounting, mounts, run } = known;
  const { pod, options } = mounting;
  // Further lines of an app would mount it on itself.
  const first = new Map(lines.toReversed().map((line) => [line.app, line]));
  const open = lines.filter((line) => {
    return line.auto && first.get(line.app) === line && mounts.stateOf(line) !== "mounted";
  });
  const judge = new LineJudge({ pod, mounts, recorded: lines, asked: open });
  const judging = { pod, judge, idle: open, cache: new FactsCache(), options, live: run.live };
  const fit: AppLine[] = [];
  for (const line of open) {
    try {
      await checkRecordedLine(line, judging);
      fit.push(line);
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
      run.failed.push(notRestored(pod, line.app, error));
    }
  }
  return fit;
}
