/**
 * Applies the plan of a request, for `prepare` and `render`, for one app and for several.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { AppRun } from "../apply/apply_run.ts";
import { applyPlan } from "../apply/apply.ts";
import type { Applied } from "../apply/apply.ts";
import { ifAny } from "../system/disk.ts";
import { checkPermissions } from "../system/permissions.ts";
import { askAbove } from "../system/trust.ts";
import { isWithin } from "../core/path.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { toMountConfig } from "../plan/render_mount.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { OverlayStatus } from "./status.ts";
import { parsePath } from "../request/names.ts";
import type { RequestKind } from "./request_kind.ts";
import { wantsPull } from "../request/options.ts";

/** An app that was prepared or rendered. */
export interface Render extends OverlayStatus {
  /** The option string, as mount(8) takes it. */
  readonly options: string;
  /** Set if anything was changed; `false` if the app was as requested before. */
  readonly changed: boolean;
}

/** The outcome of a render, which has at least one app. */
export interface AppliedRender extends Applied {
  readonly apps: readonly [AppRun, ...AppRun[]];
}

/**
 * Prepares or renders the apps of a request.
 *
 * @throws {InvalidValueError} If a part of the request is invalid.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {OverlayError} If it fails; all changes are undone.
 */
export async function applyRequest<R extends { readonly pod: string }>(
  action: "prepare" | "render",
  given: R,
  how: { readonly kind: RequestKind<R>; readonly options: ChangeOptions },
): Promise<AppliedRender> {
  const { kind, options } = how;
  const { resolve, plan: makePlan, apply = applyPlan } = kind;
  if (wantsPull(given)) await (await import("./pull_images.ts")).pullImages(action, given, how);
  const request = await resolve(given);
  // Median of 100 pairs: begun here, find adds 3.7 ms to a render of 64 ms; run where its answer is
  // needed, synchronously, 1.5 ms more.
  const asked = askAbove(parsePath("pod", request.pod), programOptions(options));
  try {
    const plan = makePlan(request, { mount: action === "render" });
    checkPermissions(action, requiredPermissions(plan));
    if (plan.mounts.some((mount) => mount.options.length > 1)) {
      const { refuseConflicts } = await import("../preflight/run_preflight.ts");
      await refuseConflicts(plan.mounts);
    }
    const applied = await apply(plan, { ...options, asked }, request) as AppliedRender;
    await warnOfReach(applied.apps.map(({ mount }) => mount), options);
    return applied;
  } finally {
    await asked?.done;
  }
}

/** Tells the state of an app after a call. */
export function describeRender(
  { mount, line, live }: AppRun,
  { mounts, changed }: Pick<Applied, "mounts" | "changed">,
): Render {
  const { pod, app, tree, rootfs, upper, work } = mount;
  const mounted = !mount.copy && (mounts || live);
  const { options } = line;
  const { lower } = toMountConfig(mount);
  return { pod, app, tree, rootfs, lower, upper, work, options, mounted, changed };
}

/**
 * Makes the function that unmounts the apps which a call mounted, and not those mounted before. A signal
 * that has ended the call does not stop it.
 */
export function makeDisposal(
  { apps, mounts }: AppliedRender,
  { signal: _, ...options }: ChangeOptions,
): () => Promise<void> {
  const mounted = apps.filter(({ mount, live }) => mounts && !mount.copy && !live);
  return async () => {
    if (mounted.length === 0) return;
    // Loaded when it is needed: most processes that render do not unmount.
    const { unmountOverlay } = await import("./unmount.ts");
    const app = mounted.map(({ mount }) => mount.app);
    await unmountOverlay({ pod: apps[0].mount.pod, app }, options);
  };
}

/** Warns of apps that other users can reach. For a pod that is closed to others, nothing is looked up. */
async function warnOfReach(mounts: readonly MountPlan[], { warn }: ChangeOptions): Promise<void> {
  if (warn === undefined) return;
  const outside = mounts.filter(({ dest, pod }) => !isWithin(dest, pod) || isOpen(pod));
  if (outside.length === 0) return;
  const { warnReachable } = await import("../preflight/reachable.ts");
  warnReachable(outside, warn);
}

function isOpen(pod: string): boolean {
  return ((ifAny(() => Deno.lstatSync(pod))?.mode ?? 0) & 1) !== 0;
}
