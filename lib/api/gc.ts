/**
 * Collecting pods in two passes, as rkt does: what nobody needs is first put aside, and what has been
 * aside for long enough is removed. Nothing runs in between.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { formatDuration } from "../core/duration.ts";
import {
  asFailure,
  InvalidValueError,
  MissingPermissionError,
  OverlayError,
  RefusedError,
} from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { garbageIn, graceLeft, isOf } from "./garbage.ts";
import { removeIfEmpty } from "../system/directory.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { checkAbove } from "../system/trust.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { checkGarbage, setAsidePod } from "./set_aside.ts";
import { parsePath } from "../request/names.ts";
import { Call, openAll } from "../pod/open.ts";
import { child, nameOf, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { noPodError } from "../pod/record.ts";
import type { PodRecord } from "../plan/snapshot.ts";
import { GARBAGE, podsOf } from "../pod/list.ts";
import type { PodsRequest } from "../pod/list.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { sweepPod } from "./sweep.ts";

/** What to collect. */
export type CollectRequest = PodsRequest & {
  /** Which pass: putting pods aside, or removing those that are aside. @default {both} */
  readonly phase?: "mark" | "sweep";
  /**
   * Of a directory of pods, also collects those that are not ephemeral, and whose record has not changed
   * for this long, in milliseconds. @default {only pods that were rendered as ephemeral}
   */
  readonly olderThanMs?: number;
  /**
   * How long a pod must have been aside before it is removed, in milliseconds.
   * @default {30 minutes; 0 for a pod that is named}
   */
  readonly gracePeriodMs?: number;
  /** Set if a pod or a directory that is not there is no error. @default {false} */
  readonly ignoreMissing?: boolean;
  /** Whether it is only said what would be done. @default {false} */
  readonly dryRun?: boolean;
};

/** A pod that was left alone. */
export interface Kept {
  /** The pod. */
  readonly pod: string;
  /** Why, in one word: `kept`, `not-due`, `locked`, `in-use`, `grace-period`, or the code of what went wrong. */
  readonly code: ErrorCode | "grace-period";
  /** Why, in a sentence. */
  readonly reason: string;
  /** What to do about it, or `null`. */
  readonly hint: string | null;
  /** Whether something went wrong; otherwise it is only not its time. */
  readonly failed: boolean;
}

/** What was collected. */
export interface Collected {
  /** The pods that were put aside, and where. */
  readonly marked: readonly { readonly pod: string; readonly garbage: string }[];
  /** What was removed, by the path that it had aside. */
  readonly removed: readonly { readonly garbage: string }[];
  /** What was left alone, and why. */
  readonly kept: readonly Kept[];
}

/** How long a pod is aside before it is removed. */
const GRACE_PERIOD_MS = 30 * 60_000;

/** A run of gc: what it has done so far. */
interface Run {
  readonly marked: { pod: string; garbage: string }[];
  readonly removed: { garbage: string }[];
  readonly kept: Kept[];
}

/**
 * The Deno permissions that collecting needs: the directory that the pods are in, where they are put
 * aside.
 *
 * Requires no permissions.
 */
export function collectPermissions(request: PodsRequest): RequiredPermissions {
  const directory = "pods" in request
    ? parsePath("directory of pods", request.pods)
    : parent(podLayout(request.pod).pod);
  const { mount, umount, findmnt, rm } = PROGRAMS;
  const run = [mount, umount, findmnt, rm, ...TRUST.run];
  return { read: [directory], write: [directory], run, sys: TRUST.sys };
}

/**
 * Collects pods, with all that their apps wrote: renames them to `<directory>/garbage/<name>`, and removes
 * what has been there for the grace period. Until then {@linkcode undoCollect} brings a pod back.
 *
 * Of a directory of pods it takes those that were rendered as ephemeral, and with `olderThanMs` those that
 * were not used for so long; never one that is held: while a command works on it, an app of it is mounted,
 * or its lines say that one is to be mounted again, as after a reboot.
 *
 * A pod that is named is collected whatever its lines say: its apps are unmounted first, never lazily. A
 * pod that is kept ({@linkcode keepPod}) is not collected in any way.
 *
 * Nothing is removed while anything is mounted below it. Links are not followed, other devices not
 * entered, and `overlay.fstab` goes last, so that an interrupted run can be taken up again. Source: rkt
 * `gc`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory of the pods, `--allow-read`
 * for destinations outside it, `--allow-run` for mount, umount, findmnt, find and rm, and
 * `--allow-sys=uid`. With `--allow-write` for a destination outside it, the directories that a render made
 * there are removed if they are empty.
 *
 * @param request Which pods.
 * @param options Who is told what happens, and what can end it between two pods.
 * @returns What was collected; what was not, and why.
 * @throws {InvalidValueError} If a path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {UnmountError} If an app of a pod that is named is in use.
 * @throws {RefusedError} If a pod that is named holds something that must not be touched.
 * @throws {OverlayError} If there is no such pod, or something cannot be removed.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { collectPods, prepareOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.mkdir(`${dir}/pods`);
 * await prepareOverlay({ lower: `${dir}/image`, pod: `${dir}/pods/one`, app: "web" });
 *
 * const one = `${dir}/pods/one`;
 * const { marked, removed } = await collectPods({ pod: one });
 * assert(marked.length === 1 && removed.length === 1);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function collectPods(
  request: CollectRequest,
  options: ChangeOptions = {},
): Promise<Collected> {
  const needed = collectPermissions(request);
  checkPermissions("collect", needed);
  await checkAbove(needed.write.map((path) => child(path, GARBAGE)), programOptions(options));
  const run: Run = { marked: [], removed: [], kept: [] };
  if ("pod" in request) await collectOne(request, run, options);
  else await collectAll(request, run, options);
  return run;
}

/** Why a pod is left alone that nothing is wrong with. */
const NOT_NOW: readonly ErrorCode[] = ["locked", "in-use", "busy", "kept", "not-due"];

async function collectAll(
  request: CollectRequest & { readonly pods: string },
  run: Run,
  options: ChangeOptions,
): Promise<void> {
  const { phase, dryRun = false, gracePeriodMs = GRACE_PERIOD_MS } = request;
  const directory = parsePath("directory of pods", request.pods);
  if (request.ignoreMissing && look(directory) === null) return;
  const patient = { ...options, waitMs: options.waitMs ?? 0 };
  const call = new Call(patient);
  const pods = podsOf({ pods: directory }, options).map((pod) => podLayout(pod));
  // Before the first pod is touched.
  await openAll("collect", pods, call);
  for (const pod of phase === "sweep" ? [] : pods) {
    options.signal?.throwIfAborted();
    const check = (record: PodRecord) => refuseUndue(pod, record, request);
    await keepGoing(pod.pod, run, async () => {
      const how = { named: false, dryRun, check, options: patient, call };
      const garbage = await setAsidePod(pod, how);
      if (garbage !== null) run.marked.push({ pod: pod.pod, garbage });
    });
  }
  if (phase === "mark") return;
  for (const garbage of asideIn(directory, dryRun ? run.marked : [])) {
    options.signal?.throwIfAborted();
    await keepGoing(garbage, run, async () => {
      checkGarbage(directory);
      await sweepOld(garbage, { gracePeriodMs, dryRun, options: patient, call, run });
    });
  }
  if (!dryRun) removeIfEmpty(child(directory, GARBAGE));
}

/**
 * Refuses a pod that nobody said may go.
 *
 * @throws {RefusedError} If neither it was rendered as ephemeral nor its record is as old as asked for.
 */
function refuseUndue(
  pod: PodLayout,
  { lines }: PodRecord,
  { olderThanMs }: CollectRequest,
): void {
  if (lines.length > 0 && lines.every((line) => line.ephemeral)) return;
  const refuse = (reason: string, hint: string): never => {
    const message = `Cannot collect pod ${quote(pod.pod)}: ${reason}`;
    throw new RefusedError("not-due", message, { path: pod.pod, hint });
  };
  const byName = `to collect it all the same: overlay-render gc --pod ${shellQuote(pod.pod)}`;
  if (olderThanMs === undefined) refuse("it was not rendered as ephemeral", byName);
  // The record changes with every render, unmount and restore; a pod without one has only its lock.
  const changed = (look(pod.fstab) ?? look(pod.lock))?.mtime?.getTime() ?? Date.now();
  const age = Date.now() - changed;
  if (age < 0) refuse("its record is of a time in the future", byName);
  if (age >= (olderThanMs ?? Infinity)) return;
  const used = formatDuration(Math.ceil(age / 1000) * 1000);
  refuse(`it was last used ${used} ago`, byName);
}

/** The pods that are set aside, and in a dry run those that would be. */
function asideIn(directory: string, planned: Run["marked"]): readonly string[] {
  return [...garbageIn(directory), ...planned.map(({ garbage }) => garbage)];
}

async function collectOne(
  request: CollectRequest & { readonly pod: string },
  run: Run,
  options: ChangeOptions,
): Promise<void> {
  const { phase, dryRun = false, gracePeriodMs = 0 } = request;
  const layout = podLayout(request.pod);
  const { pod } = layout;
  if (nameOf(pod) === GARBAGE) throw noPodName(pod);
  const directory = parent(pod);
  checkGarbage(directory);
  // Before the pod is touched: a record that is aside may be damaged.
  const aside = garbageIn(directory).filter((path) => isOf(path, pod));
  const there = look(pod) !== null;
  if (there && phase !== "sweep") {
    const garbage = await setAsidePod(layout, { named: phase !== "mark", dryRun, options });
    if (garbage !== null) {
      run.marked.push({ pod, garbage });
      aside.push(garbage);
    }
  }
  if (!there && aside.length === 0) {
    if (!dryRun) removeIfEmpty(child(directory, GARBAGE));
    if (request.ignoreMissing) return;
    throw noPodError(pod);
  }
  if (phase === "mark") return;
  for (const garbage of aside) {
    try {
      await sweepOld(garbage, { gracePeriodMs, dryRun, options, run });
    } catch (error) {
      throw run.marked.length === 0 && run.removed.length === 0 ? error : asFailure(error);
    }
  }
  if (!dryRun) removeIfEmpty(child(directory, GARBAGE));
}

/** Removes a pod that was put aside, unless it is not there for its grace period. */
async function sweepOld(
  garbage: string,
  how: {
    readonly gracePeriodMs: number;
    readonly dryRun: boolean;
    readonly options: ChangeOptions;
    readonly call?: Call;
    readonly run: Run;
  },
): Promise<void> {
  const { gracePeriodMs, run, ...sweeping } = how;
  const left = graceLeft(garbage, gracePeriodMs, how.dryRun);
  if (left > 0) {
    const reason = `its grace period ends in ${formatDuration(Math.ceil(left / 1000) * 1000)}`;
    run.kept.push({ pod: garbage, code: "grace-period", reason, hint: null, failed: false });
  } else if (await sweepPod(podLayout(garbage), sweeping)) {
    run.removed.push({ garbage });
  }
}

function noPodName(pod: string): InvalidValueError {
  const message = `Cannot collect pod ${quote(pod)}: that is no name of a pod`;
  return new InvalidValueError("invalid-value", message, { path: pod });
}

/** A pod that cannot be collected does not keep the others from being collected. */
async function keepGoing(pod: string, run: Run, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
    if (error instanceof MissingPermissionError) throw error;
    const { code, message: reason, hint } = error;
    const failed = !(error instanceof RefusedError && NOT_NOW.includes(code));
    run.kept.push({ pod, code, reason, hint, failed });
  }
}
