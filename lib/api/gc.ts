/**
 * Collects pods in two passes, as rkt does: unneeded pods are first set aside, and removed after a grace
 * period. No process runs in between.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { Collection } from "./collection.ts";
import type { Collected, CollectPlan } from "../plan/plan_collect.ts";
import type { Scope } from "./collection.ts";
import { checkPermissions } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import { parsePath } from "../request/names.ts";
import { openPermissions } from "../pod/open.ts";
import { parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { PodsRequest } from "../pod/list.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";

/** The pods to collect, and the rules. */
export type CollectRequest = PodsRequest & {
  /** The pass: `mark` sets pods aside, `sweep` removes those that are aside. @default {both} */
  readonly phase?: "mark" | "sweep";
  /**
   * In a directory of pods, also collects those that are not ephemeral and whose record has not changed for
   * this time, in milliseconds. @default {only pods that were rendered as ephemeral}
   */
  readonly olderThanMs?: number;
  /**
   * How long a pod must have been aside before it is removed, in milliseconds.
   * @default {30 minutes; 0 for a pod that is named}
   */
  readonly gracePeriodMs?: number;
  /** Set if a missing pod or directory is no error. @default {false} */
  readonly ignoreMissing?: boolean;
  /** Set if nothing is changed, and the result shows what would be done. @default {false} */
  readonly dryRun?: boolean;
};

/**
 * Computes the Deno permissions that a collection may need, except reading destinations outside the
 * directory of the pods. Those that it does need are in the plan of {@linkcode collectPlan}.
 *
 * Requires no permissions.
 */
export function collectPermissions(request: PodsRequest): RequiredPermissions {
  const { mount, umount, findmnt, rm } = PROGRAMS;
  const { directory } = scopeOf(request, true);
  const needed = openPermissions(directory);
  const others = needed.run.filter((program) => program !== findmnt);
  return { ...needed, write: [directory], run: [mount, umount, findmnt, rm, ...others] };
}

/** The time that a pod is aside before it is removed. */
const GRACE_PERIOD_MS = 30 * 60_000;

function scopeOf(request: CollectRequest, dryRun = request.dryRun ?? false): Scope {
  const { phase, olderThanMs, ignoreMissing = false } = request;
  const named = "pod" in request ? podLayout(request.pod) : null;
  const directory = "pod" in request
    ? parent(podLayout(request.pod).pod)
    : parsePath("directory of pods", request.pods);
  const gracePeriodMs = request.gracePeriodMs ?? (named === null ? GRACE_PERIOD_MS : 0);
  const rules = {
    named: named !== null,
    gracePeriodMs,
    ...(phase === undefined ? {} : { phase }),
    ...(olderThanMs === undefined ? {} : { olderThanMs }),
  };
  return { directory, named, rules, dryRun, ignoreMissing };
}

/**
 * Plans a collection, see {@linkcode collectPods}, and changes nothing.
 *
 * Requires `--allow-read` permission for the directory of the pods and for destinations outside it,
 * `--allow-run` for findmnt and find, and for mount if a pod is to be set aside; and `--allow-sys=uid`.
 *
 * @param request The pods to collect.
 * @param options Listeners for warnings and programs that are run.
 * @returns The plan; `requiredPermissions` computes the permissions that applying it needs.
 * @throws {InvalidValueError} If a path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing.
 * @throws {RefusedError} If a pod that is named may not be collected.
 * @throws {OverlayError} If there is no such pod.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function collectPlan(
  request: CollectRequest,
  options: ChangeOptions = {},
): Promise<CollectPlan> {
  return await (await Collection.begin(scopeOf(request, true), options)).plan();
}

/**
 * Collects pods, with all data that their apps wrote: renames them to `<directory>/garbage/<name>`, and
 * removes pods that have been there for the grace period. Until then {@linkcode undoCollect} brings a pod
 * back.
 *
 * In a directory of pods it takes those that were rendered as ephemeral, and with `olderThanMs` also those
 * that were not used for that time. It never takes a pod that is in use: a command holds its lock, an app of
 * it is mounted, or its record says that an app is to be mounted again, as after a reboot.
 *
 * A pod that is named is collected whatever its record says: its apps are unmounted first, never lazily. A
 * pod that is pinned by {@linkcode keepPod} is never collected.
 *
 * No pod is removed while anything is mounted in it. Symlinks are not followed, other devices are not
 * entered, and `overlay.fstab` is removed last, so that an interrupted run can be continued. Source: rkt
 * `gc`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory of the pods, `--allow-read`
 * for destinations outside it, `--allow-run` for mount, umount, findmnt, find and rm, and
 * `--allow-sys=uid`. With `--allow-write` for a destination outside it, the directories that a render made
 * there are removed if they are empty.
 *
 * @param request The pods to collect.
 * @param options Listeners, the time to wait for locks, and a signal, which ends the call between two pods.
 * @returns The pods that were set aside and removed, and those that were kept, each with the reason.
 * @throws {InvalidValueError} If a path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {UnmountError} If an app of a pod that is named is in use.
 * @throws {RefusedError} If a pod that is named is kept, or must not be changed.
 * @throws {OverlayError} If there is no such pod, or a file cannot be removed.
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
  const scope = scopeOf(request);
  const collection = await Collection.begin(scope, options);
  const plan = await collection.plan();
  const { marked, removed, kept } = plan;
  if (scope.dryRun) return { marked, removed, kept };
  checkPermissions("collect", requiredPermissions(plan));
  return await collection.carryOut(plan);
}
