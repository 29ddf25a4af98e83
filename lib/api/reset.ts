/**
 * Throws away what apps wrote, and keeps the apps.
 *
 * @module
 */
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { uninterrupted } from "../system/change_options.ts";
import { checkPermissions } from "../system/permissions.ts";
import { Call, openPermissions, openPod } from "../pod/open.ts";
import type { OpenPod } from "../pod/open.ts";
import { noPodError } from "../pod/record.ts";
import { applyPlan } from "../apply/apply.ts";
import type { Plan } from "../plan/plan.ts";
import { selectOperations } from "../plan/plan.ts";
import { planReset } from "../plan/plan_reset.ts";
import { chooseLines } from "../plan/plan_unmount.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { parseUnmount } from "../request/unmount_request.ts";
import type { ParsedUnmount } from "../request/unmount_request.ts";

/** A request to reset a pod or some of its apps. */
export interface ResetRequest {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app, or several; empty for the pod's own image. @default {all apps of the pod} */
  readonly app?: string | readonly string[];
}

/** The result of a reset. */
export interface ResetPod {
  /** The pod. */
  readonly pod: string;
  /** The rootfs of each app that was reset. */
  readonly reset: readonly string[];
}

/**
 * Throws away what apps of a pod wrote, and keeps the apps: each is as after its first render. An app that is
 * mounted is unmounted, never lazily, and mounted again afterwards; if a process uses it, it stays as it is.
 *
 * An end at any moment leaves what an app wrote as it was, or nothing of it. What a render itself puts into
 * a rootfs, such as `etc/mtab`, goes too; the next render makes it again.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, `--allow-read` for destinations
 * outside it, `--allow-run` for mount, umount, findmnt, rm and find, and `--allow-sys=uid`.
 *
 * @param request The pod, and the apps.
 * @param options Listeners, and the time to wait for the pod's lock.
 * @returns The apps that were reset; a read-only view is none.
 * @throws {InvalidValueError} If the pod is no absolute path or the app no name.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod, an app is in use in another mount namespace, its
 * rootfs is a copy, or another app lies in it.
 * @throws {UnmountError} If a rootfs is in use; the others are reset.
 * @throws {OverlayError} If there is no such pod or app, or an app cannot be mounted again.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { overlayChanges, renderOverlay, resetOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * {
 *   const request = { lower: `${dir}/image`, pod: `${dir}/pod`, options: ["userxattr"] };
 *   await using app = await renderOverlay(request);
 *   await Deno.writeTextFile(`${app.rootfs}/new`, "from the app");
 *   await resetOverlay({ pod: `${dir}/pod` });
 *   assert((await overlayChanges({ pod: `${dir}/pod` })).length === 0);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function resetOverlay(
  request: ResetRequest,
  options: ChangeOptions = {},
): Promise<ResetPod> {
  const wanted = parseUnmount(request);
  const { pod } = wanted.pod;
  checkPermissions("reset", openPermissions(pod, true));
  using open = await openPod(wanted.pod, new Call(options));
  if (open === null) throw noPodError(pod);
  const plan = await planOf(wanted, open);
  checkPermissions("reset", requiredPermissions(plan));
  const { outcome } = await applyPlan(plan, { ...uninterrupted(options), open: [open] });
  const [failed] = outcome.failures;
  if (failed !== undefined) throw failed.error;
  return { pod, reset: selectOperations(plan, "reset").map(({ rootfs }) => rootfs) };
}

/**
 * Plans {@linkcode resetOverlay}, and changes nothing.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, `--allow-run` for findmnt
 * and find, and `--allow-sys=uid`.
 *
 * @returns The plan; `requiredPermissions` computes the permissions that a reset needs.
 * @throws As {@linkcode resetOverlay} does before it changes anything.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function resetPlan(request: ResetRequest, options: Reporter = {}): Promise<Plan> {
  const wanted = parseUnmount(request);
  checkPermissions("plan to reset", openPermissions(wanted.pod.pod));
  const open = await openPod(wanted.pod, new Call(options), { lock: false });
  if (open === null) throw noPodError(wanted.pod.pod);
  return await planOf(wanted, open);
}

async function planOf(wanted: ParsedUnmount, open: OpenPod): Promise<Plan> {
  return planReset(await open.snapshot("reset", chooseLines(open.record, wanted)));
}
