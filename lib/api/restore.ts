/**
 * Mounting again what `overlay.fstab` says, as after a reboot.
 *
 * @module
 */
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { checkPermissions } from "../system/permissions.ts";
import { openPermissions } from "../pod/open.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { joinPlans } from "../plan/plan_restore.ts";
import type { Plan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { requireOpen, Restoring, warningOnce } from "./restore_run.ts";
import type { Restored, RestoreRequest } from "./restore_run.ts";

/**
 * The Deno permissions that restoring a pod, or all pods in a directory, needs, beside reading lowers
 * and destinations outside it.
 *
 * Requires no permissions.
 */
export function restorePermissions(directory: string): RequiredPermissions {
  const { run, ...more } = openPermissions(directory, true);
  return { ...more, run: [PROGRAMS.mount, PROGRAMS.umount, ...run] };
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
  const run = new Restoring(request, warningOnce(options));
  const { directory } = run;
  checkPermissions("restore", openPermissions(directory), restorePermissions(directory));
  const pods = await run.lookAtAll();
  // Before the first pod is touched.
  const operations = pods.flatMap(({ plan }) => plan?.operations ?? []);
  checkPermissions("restore", requiredPermissions({ operations }));
  await run.restoreAll(pods);
  return { restored: run.restored, failed: run.failed };
}

/**
 * Plans what {@linkcode restoreOverlays} would do now, and touches nothing. Whether an app is in use where
 * nobody sees it is not asked.
 *
 * Requires `--allow-read` permission for the pods, for lowers and for destinations outside them,
 * `--allow-run` for findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, or a directory of pods.
 * @param options Who is told, as a warning, what could not be mounted.
 * @returns The plan of all pods; `requiredPermissions` computes of it what restoring needs.
 * @throws As {@linkcode restoreOverlays} does before it mounts anything.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function restorePlan(
  request: RestoreRequest,
  options: Reporter = {},
): Promise<Plan> {
  const run = new Restoring(request, warningOnce(options));
  const { directory } = run;
  checkPermissions("plan to restore", openPermissions(directory));
  const plans: Plan[] = [];
  for (const pod of await run.lookAtAll()) {
    await run.keepGoing(pod.layout, async () => {
      const { plan, problems } = await run.judge(requireOpen(pod), false);
      run.noteAll(pod.layout, problems);
      plans.push(plan);
    });
  }
  for (const { reason } of run.failed) options.warn?.(reason);
  return joinPlans(plans, directory);
}
