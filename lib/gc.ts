/**
 * Collecting pods in two passes, as rkt does: what nobody needs is first put aside, and what has been
 * aside for long enough is removed. Nothing runs in between.
 *
 * @module
 */
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { attempt, look } from "./disk.ts";
import { errno, InvalidValueError, OverlayError, RefusedError } from "./errors.ts";
import type { ErrorCode } from "./errors.ts";
import { checkPermissions } from "./grants.ts";
import { checkAbove } from "./guard.ts";
import { podLayout } from "./layout.ts";
import { configOfLine } from "./app_line.ts";
import { formatDuration } from "./duration.ts";
import { quote } from "./quote.ts";
import { checkGarbage, markPod } from "./mark.ts";
import { parsePath } from "./names.ts";
import type { Trusted } from "./open_pod.ts";
import { child, isWithin, parent } from "./path.ts";
import { PROGRAMS, TRUST } from "./permissions.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { noPodError, readRecord } from "./pod_state.ts";
import { directoriesIn, GARBAGE, podsOf } from "./pods.ts";
import type { PodsRequest } from "./pods.ts";
import { sweepPod } from "./sweep.ts";

/** What to collect. */
export type CollectRequest = PodsRequest & {
  /** Which pass: putting pods aside, or removing those that are aside. @default {both} */
  readonly phase?: "mark" | "sweep";
  /**
   * How long a pod must have been aside before it is removed, in milliseconds.
   * @default {30 minutes; 0 for a pod that is named}
   */
  readonly gracePeriodMs?: number;
  /** Whether it is only said what would be done. @default {false} */
  readonly dryRun?: boolean;
};

/** A pod that was left alone. */
export interface Kept {
  /** The pod. */
  readonly pod: string;
  /** Why, in one word: `locked`, `in-use`, `young`, or the code of what went wrong. */
  readonly code: ErrorCode | "young";
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
  const { mount, umount, findmnt } = PROGRAMS;
  const run = [mount, umount, findmnt, ...TRUST.run];
  return { read: [directory], write: [directory], run, sys: TRUST.sys };
}

/**
 * Collects pods: renames those that nothing holds to `<directory>/garbage/<name>`, and removes what has
 * been there for the grace period. A pod is held while a command works on it, an app of it is mounted,
 * or its lines say that one is to be mounted again, as after a reboot.
 *
 * A pod that is named is collected whatever its lines say: its apps are unmounted first, never lazily.
 *
 * Nothing is removed while anything is mounted below it. Links are not followed, other devices not
 * entered, and `overlay.fstab` goes last, so that an interrupted run can be taken up again. Source: rkt
 * `gc`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory of the pods, `--allow-read`
 * for destinations outside it, and `--allow-run` for mount, umount and findmnt.
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
 * const { marked, removed } = await collectPods({ pods: `${dir}/pods`, gracePeriodMs: 0 });
 * assert(marked.length === 1 && removed.length === 1);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run
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

async function collectAll(
  request: CollectRequest & { readonly pods: string },
  run: Run,
  options: ChangeOptions,
): Promise<void> {
  const { phase, dryRun = false, gracePeriodMs = GRACE_PERIOD_MS } = request;
  const directory = parsePath("directory of pods", request.pods);
  const patient = { ...options, waitMs: options.waitMs ?? 0 };
  const trusted: Trusted = new Set();
  for (const pod of phase === "sweep" ? [] : podsOf({ pods: directory })) {
    options.signal?.throwIfAborted();
    await keepGoing(pod, run, async () => {
      const garbage = await markPod(podLayout(pod), {
        named: false,
        dryRun,
        options: patient,
        trusted,
      });
      if (garbage !== null) run.marked.push({ pod, garbage });
    });
  }
  if (phase === "mark") return;
  for (const garbage of garbageIn(directory, dryRun ? run.marked : [])) {
    options.signal?.throwIfAborted();
    const left = youngFor(garbage, gracePeriodMs);
    if (left > 0) {
      run.kept.push(youngOne(garbage, left));
      continue;
    }
    await keepGoing(garbage, run, async () => {
      checkGarbage(directory);
      const removed = await sweepPod(podLayout(garbage), { dryRun, options: patient, trusted });
      if (removed) run.removed.push({ garbage });
    });
  }
  if (!dryRun) removeIfEmpty(child(directory, GARBAGE));
}

async function collectOne(
  request: CollectRequest & { readonly pod: string },
  run: Run,
  options: ChangeOptions,
): Promise<void> {
  const { phase, dryRun = false, gracePeriodMs = 0 } = request;
  const { pod } = podLayout(request.pod);
  const name = pod.slice(pod.lastIndexOf("/") + 1);
  if (pod === "/" || name === GARBAGE) throw noPodName(pod);
  const there = look(pod) !== null;
  if (there && phase !== "sweep") {
    const how = { named: phase !== "mark", dryRun, options };
    const garbage = await markPod(podLayout(pod), how);
    if (garbage !== null) run.marked.push({ pod, garbage });
  }
  checkGarbage(parent(pod));
  const planned = dryRun ? run.marked : [];
  const aside = garbageIn(parent(pod), planned).filter((path) => {
    return planned.some(({ garbage }) => garbage === path) || isOf(path, pod);
  });
  if (!there && aside.length === 0) {
    if (!dryRun) removeIfEmpty(child(parent(pod), GARBAGE));
    throw noPodError(pod);
  }
  if (phase === "mark") return;
  for (const garbage of aside) {
    const left = youngFor(garbage, gracePeriodMs);
    if (left > 0) {
      run.kept.push(youngOne(garbage, left));
      continue;
    }
    try {
      const removed = await sweepPod(podLayout(garbage), { dryRun, options });
      if (removed) run.removed.push({ garbage });
    } catch (error) {
      throw run.marked.length === 0 ? error : asFailure(error);
    }
  }
  if (!dryRun) removeIfEmpty(child(parent(pod), GARBAGE));
}

/** Once a pod is put aside, something was touched, and what is refused then has failed. */
function asFailure(error: unknown): unknown {
  if (!(error instanceof RefusedError)) return error;
  const { code, message, path, hint } = error;
  return new OverlayError(code, message, {
    ...(path === null ? {} : { path }),
    hint: hint ?? undefined,
    cause: error,
  });
}

function noPodName(pod: string): InvalidValueError {
  const message = `Cannot collect pod ${quote(pod)}: that is no name of a pod`;
  return new InvalidValueError("invalid-value", message, { path: pod });
}

/** Whether what is aside was this pod: its name tells, and its lines, which keep their paths. */
function isOf(garbage: string, pod: string): boolean {
  const [own, name] = [garbage, pod].map((path) => path.slice(path.lastIndexOf("/") + 1));
  const number = own?.slice(`${name}~`.length) ?? "";
  if (own !== name && !(own?.startsWith(`${name}~`) && /^\d+$/.test(number))) return false;
  const { lines } = readRecord(podLayout(garbage).fstab);
  const first = lines.find(({ source }) => source === "overlay") ?? lines[0];
  if (first === undefined) return own === name;
  const { upper } = configOfLine(first, pod);
  return isWithin(upper ?? first.rootfs, pod) || (own === name && upper === null);
}

/** What is aside; in a dry run with what would be put there. */
function garbageIn(
  directory: string,
  planned: readonly { readonly pod: string; readonly garbage: string }[],
): readonly string[] {
  const aside = child(directory, GARBAGE);
  const names = look(aside)?.isDirectory ? directoriesIn(aside) : [];
  return [...names.map((name) => child(aside, name)), ...planned.map(({ garbage }) => garbage)];
}

/** How long a pod must still be aside, in milliseconds; when it was put there is its time of change. */
function youngFor(garbage: string, gracePeriodMs: number): number {
  const since = look(garbage)?.mtime?.getTime() ?? Date.now();
  return since + gracePeriodMs - Date.now();
}

function youngOne(pod: string, left: number): Kept {
  const reason = `its grace period ends in ${formatDuration(Math.ceil(left / 1000) * 1000)}`;
  return { pod, code: "young", reason, hint: null, failed: false };
}

/** A pod that cannot be collected does not keep the others from being collected. */
async function keepGoing(pod: string, run: Run, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof OverlayError) || error.code === "interrupted") throw error;
    const { code, message: reason, hint } = error;
    const failed = !(error instanceof RefusedError && ["locked", "in-use"].includes(code));
    run.kept.push({ pod, code, reason, hint, failed });
  }
}

function removeIfEmpty(garbage: string): void {
  if (look(garbage)?.isDirectory !== true) return;
  attempt("remove", garbage, () => {
    try {
      Deno.removeSync(garbage);
    } catch (error) {
      if (errno(error) !== "ENOENT" && errno(error) !== "ENOTEMPTY") throw error;
    }
  });
}
