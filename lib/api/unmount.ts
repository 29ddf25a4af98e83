/**
 * Unmounts the apps of a pod.
 *
 * @module
 */
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { RefusedError } from "../core/errors.ts";
import { look } from "../system/disk.ts";
import { checkPermissions } from "../system/permissions.ts";
import { Call, openPermissions, openPod } from "../pod/open.ts";
import type { OpenPod } from "../pod/open.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { noPodError } from "../pod/record.ts";
import type { UnmountOperation } from "../plan/operation.ts";
import { chooseLines, planUnmount } from "../plan/plan_unmount.ts";
import { parseUnmount } from "../request/unmount_request.ts";
import { applyPlan } from "../apply/apply.ts";
import type { ParsedUnmount, UnmountRequest } from "../request/unmount_request.ts";
import { uninterrupted } from "../system/change_options.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import type { Plan } from "../plan/plan.ts";
import { selectOperations } from "../plan/plan.ts";
import { checkAbove } from "../system/trust.ts";

/** The result of an unmount. */
export interface Unmounted {
  /** The pod. */
  readonly pod: string;
  /** The apps that were unmounted, in the order of unmounting. */
  readonly unmounted: readonly { readonly app: string; readonly rootfs: string }[];
  /** The mount points without a line, in the order of unmounting; only if the request asks for them. */
  readonly foreign?: readonly string[];
}

/**
 * Computes the Deno permissions to unmount, except reading a destination outside the pod. For ephemeral apps
 * `--allow-run` for mount and rm is needed too; {@linkcode unmountPlan} knows.
 *
 * Requires no permissions.
 */
export function unmountPermissions(pod: string): RequiredPermissions {
  const { run, ...more } = openPermissions(pod, true);
  return { ...more, run: [PROGRAMS.umount, ...run] };
}

/**
 * Unmounts all or some apps of a pod: deepest first, in one process, and lazily only on request. Their line in
 * `overlay.fstab` is kept, now with `noauto`, and so is their data, unless they are ephemeral. Data of an
 * ephemeral app that another mount uses stays, and the next call removes it.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, `--allow-read` for destinations
 * outside it, `--allow-run` for umount, findmnt and find, and `--allow-sys=uid`. With `--allow-run` for
 * fuser, the error for an app in use names the processes that use it.
 *
 * @param request The pod, and the apps to unmount.
 * @param options Listeners, and the time to wait for the pod's lock.
 * @returns The apps that were unmounted; none if none was mounted.
 * @throws {InvalidValueError} If the pod is no absolute path or the app no name.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod, a foreign file system is mounted on a rootfs,
 * or the whole pod is to be unmounted and has a mount without a line; nothing was touched.
 * @throws {UnmountError} If a rootfs is in use; the others are unmounted.
 * @throws {OverlayError} If there is no such pod or app, or the data of an ephemeral app is in use elsewhere.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay, unmountOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const options = ["userxattr"];
 * await renderOverlay({ lower: `${dir}/image`, pod: `${dir}/pod`, app: "web", options });
 *
 * const { unmounted } = await unmountOverlay({ pod: `${dir}/pod` });
 * assert(unmounted[0]?.app === "web");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function unmountOverlay(
  request: UnmountRequest,
  options: ChangeOptions = {},
): Promise<Unmounted> {
  const wanted = parseUnmount(request);
  const { pod } = wanted.pod;
  checkPermissions("unmount", openPermissions(pod, true), unmountPermissions(pod));
  const call = new Call(options);
  if (await isUnused(wanted, call)) return unmountedBy([], wanted);
  call.forgetMounts();
  using open = await openPod(wanted.pod, call);
  if (open === null) throw noPodError(pod);
  return await unmountOpen(wanted, open);
}

/** Unmounts apps of a pod that is open and locked. */
export async function unmountOpen(wanted: ParsedUnmount, open: OpenPod): Promise<Unmounted> {
  const { call } = open;
  const plan = await planOpen(wanted, open);
  checkPermissions("unmount", requiredPermissions(plan));
  const { outcome } = await applyPlan(plan, { ...uninterrupted(call.options), open: [open] });
  return unmountedBy(outcome.gone, wanted);
}

/**
 * Plans {@linkcode unmountOverlay}, and changes nothing.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, `--allow-run` for findmnt
 * and find, and `--allow-sys=uid`.
 *
 * @returns The plan; `requiredPermissions` computes the permissions that unmounting needs.
 * @throws As {@linkcode unmountOverlay} does before it unmounts anything.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function unmountPlan(
  request: UnmountRequest,
  options: Reporter = {},
): Promise<Plan> {
  const wanted = parseUnmount(request);
  checkPermissions("plan to unmount", openPermissions(wanted.pod.pod));
  const open = await openPod(wanted.pod, new Call(options), { lock: false });
  if (open === null) throw noPodError(wanted.pod.pod);
  return await planOpen(wanted, open);
}

/**
 * Plans to unmount apps of a pod that is open.
 *
 * @throws {RefusedError} As {@linkcode planUnmount} does; or if another user could rename a directory that
 * leads to a mount inside an app, so that umount(8) would find another one by its name.
 */
export async function planOpen(wanted: ParsedUnmount, open: OpenPod): Promise<Plan> {
  const lines = chooseLines(open.record, wanted);
  const snapshot = await open.snapshot("unmount", lines);
  const plan = planUnmount(snapshot, wanted);
  if (!wanted.recursive) return plan;
  const inside = selectOperations(plan, "unmount").filter(({ line }) => line === undefined);
  await checkAbove(inside.map(({ path }) => path), open.call.programs);
  return plan;
}

/** Tells whether a pod has no lines, lock or mounts, so that no lock file is made in it. */
async function isUnused(wanted: ParsedUnmount, call: Call): Promise<boolean> {
  const open = await openPod(wanted.pod, call, { lock: false });
  if (open === null) throw noPodError(wanted.pod.pod);
  const isLocked = () => look(wanted.pod.lock) !== null;
  if (open.record.lines.length > 0 || isLocked()) return false;
  try {
    const { operations } = await planOpen(wanted, open);
    return !operations.some(({ kind }) => kind === "unmount");
  } catch (error) {
    // A render that began after the look at the record has made the mount that no line names.
    if (error instanceof RefusedError && isLocked()) return false;
    throw error;
  }
}

function unmountedBy(
  gone: readonly UnmountOperation[],
  { pod: { pod }, foreign, recursive }: ParsedUnmount,
): Unmounted {
  const unmounted = gone.flatMap(({ line }) => {
    return line === undefined ? [] : [{ app: line.app, rootfs: line.rootfs }];
  });
  if (!foreign && !recursive) return { pod, unmounted };
  const others = gone.filter(({ line }) => line === undefined).map(({ path }) => path);
  return { pod, unmounted, foreign: others };
}
