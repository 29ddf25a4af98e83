/**
 * Mounts the lines of `overlay.fstab` again, as after a reboot.
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
 * Computes the Deno permissions to restore a pod, or all pods in a directory, except reading lowers and
 * destinations outside it.
 *
 * Requires no permissions.
 */
export function restorePermissions(directory: string): RequiredPermissions {
  const { run, ...more } = openPermissions(directory, true);
  return { ...more, run: [PROGRAMS.mount, PROGRAMS.umount, ...run] };
}

/**
 * Mounts the apps of a pod, or of all pods in a directory, that were mounted when the machine stopped, as
 * recorded in `overlay.fstab`. Apps that were unmounted or only prepared stay unmounted. An app that cannot
 * be mounted is reported, and does not keep the others from being mounted.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pods, `--allow-read` for lowers and for
 * destinations outside them, `--allow-run` for mount, umount, findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, or a directory of pods.
 * @param options Listeners, the time to wait for locks, and a signal, which ends the call between two pods.
 * @returns The apps that were mounted, and those that could not be, each with the reason.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod that is named, or another command holds its
 * lock.
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
  // Before the first pod is changed.
  const operations = pods.flatMap(({ plan }) => plan?.operations ?? []);
  checkPermissions("restore", requiredPermissions({ operations }));
  await run.restoreAll(pods);
  return { restored: run.restored, failed: run.failed };
}

/**
 * Plans {@linkcode restoreOverlays}, and changes nothing. It does not check whether an app is in use in another
 * mount namespace.
 *
 * Requires `--allow-read` permission for the pods, for lowers and for destinations outside them,
 * `--allow-run` for findmnt and find, and `--allow-sys=uid`.
 *
 * @param request A pod, or a directory of pods.
 * @param options Listeners; a warning names each app that could not be mounted.
 * @returns The plan for all pods; `requiredPermissions` computes the permissions that restoring needs.
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
