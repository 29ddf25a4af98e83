/**
 * Pinning a pod against gc, by the file `overlay.keep` in it.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import { checkPermissions } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { Call, openPod } from "../pod/open.ts";
import { noPodError } from "../pod/record.ts";
import { isPod } from "../pod/list.ts";
import { quote } from "../core/quote.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { applyPlan } from "../apply/apply.ts";
import type { Plan } from "../plan/plan.ts";

/** The result of pinning or unpinning a pod. */
export interface KeptPod {
  /** The pod. */
  readonly pod: string;
  /** Set if it is pinned now. */
  readonly kept: boolean;
  /** Set if this call has changed that. */
  readonly changed: boolean;
}

/**
 * Pins a pod: no gc collects it, not even one that names it, until {@linkcode unkeepPod}. Pinning a pinned
 * pod changes nothing.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, `--allow-run` for find, and
 * `--allow-sys=uid`.
 *
 * @param pod The pod, an absolute path.
 * @param options The time to wait for the pod's lock.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod, or another process holds its lock.
 * @throws {OverlayError} If there is no such pod.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { keepPod, prepareOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await prepareOverlay({ lower: `${dir}/image`, pod: `${dir}/pod` });
 * assert((await keepPod(`${dir}/pod`)).changed);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export function keepPod(pod: string, options: ChangeOptions = {}): Promise<KeptPod> {
  return setKept(podLayout(pod), true, options);
}

/**
 * Unpins a pod, see {@linkcode keepPod}; parameters, permissions and errors are the same.
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export function unkeepPod(pod: string, options: ChangeOptions = {}): Promise<KeptPod> {
  return setKept(podLayout(pod), false, options);
}

/**
 * Plans to pin or unpin a pod, and changes nothing.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @param pod The pod, an absolute path.
 * @param kept `true` to pin it, `false` to unpin it.
 * @throws As {@linkcode keepPod} does before it changes anything.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function keepPlan(
  pod: string,
  kept: boolean,
  options: ChangeOptions = {},
): Promise<Plan> {
  const layout = podLayout(pod);
  const plan = planKeep(layout, kept);
  checkPermissions(plan.action, { ...requiredPermissions(plan), write: [] });
  await checkPod(layout, plan, new Call(options));
  return plan;
}

async function setKept(
  layout: PodLayout,
  kept: boolean,
  options: ChangeOptions,
): Promise<KeptPod> {
  const { pod } = layout;
  const plan = planKeep(layout, kept);
  checkPermissions(plan.action, requiredPermissions(plan));
  const call = new Call(options);
  await checkPod(layout, plan, call);
  using open = await openPod(layout, call);
  if (open === null) throw noPodError(pod);
  const { changed } = await applyPlan(plan, { ...options, open: [open] });
  return { pod, kept, changed };
}

/** Nothing is written into a directory that is no pod. */
async function checkPod(layout: PodLayout, { action, pod }: Plan, call: Call): Promise<void> {
  if (await openPod(layout, call, { lock: false }) === null) throw noPodError(pod);
  if (isPod(pod)) return;
  throw new RefusedError("refused", `Cannot ${action} ${quote(pod)}: it is no pod`, {
    path: pod,
    hint: "check --pod; a pod is made by prepare and render",
  });
}

function planKeep({ pod, lock, keep }: PodLayout, kept: boolean): Plan {
  return {
    action: kept ? "keep" : "unkeep",
    pod,
    operations: [
      { kind: "trust", path: pod },
      { kind: "lock", path: lock },
      { kind: "keep", path: keep, kept },
    ],
    mounts: [],
  };
}
