/**
 * Preparing and rendering an app: what the project is for.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { ApplyOptions } from "../apply/apply_run.ts";
import { applyPlan } from "../apply/apply.ts";
import { deviceAt, ifAny, majorOf } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import type { FactsCache } from "../preflight/disk_facts.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import { askAbove } from "../system/trust.ts";
import { parsePath } from "../request/names.ts";
import { isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { configOf, planRender } from "../plan/plan.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { RenderPlan } from "../plan/plan.ts";
import { checkRequest } from "../request/request.ts";
import type { RenderRequest } from "../request/options.ts";
import { resolveRequest } from "./resolve_request.ts";
import type { OverlayStatus } from "./status.ts";

/** An app as it was prepared or rendered. */
export interface Render extends OverlayStatus {
  /** The option string, as mount(8) takes it. */
  readonly options: string;
  /** Whether anything was changed; `false` when all was as asked for already. */
  readonly changed: boolean;
}

/**
 * A rendered app. Disposing it unmounts what the call mounted: `await using rootfs = await renderOverlay(…)`.
 * An app that was mounted before stays so.
 */
export interface RenderedOverlay extends Render, AsyncDisposable {}

/** The outcome of a call. */
export interface Outcome<T> {
  /** The value that the call returns. */
  readonly result: T;
  /** The apps that it mounted, without those that were mounted before. */
  readonly mounted: readonly string[];
}

async function applyRequest(
  action: "prepare" | "render",
  given: RenderRequest,
  options: ChangeOptions,
): Promise<Outcome<Render>> {
  checkRequest(given);
  // Median of 100 pairs: begun here, find adds 3.7 ms to a render of 64 ms; run where its answer is
  // needed, synchronously, 1.5 ms more.
  const asked = askAbove(parsePath("pod", given.pod), programOptions(options));
  try {
    return await applyChecked(action, given, { ...options, asked });
  } finally {
    await asked?.done;
  }
}

async function applyChecked(
  action: "prepare" | "render",
  given: RenderRequest,
  options: ApplyOptions,
): Promise<Outcome<Render>> {
  const request = await resolveRequest(given);
  const ahead = await lookAtPlace(request, options);
  try {
    const plan = planRender(request, { mount: action === "render" });
    checkPermissions(action, requiredPermissions(plan));
    const apply = (plan: RenderPlan) => applyOne(plan, options, ahead?.cache);
    return await (request.overlay === "auto"
      ? applyOrCopy(request, plan, { apply, options })
      : apply(plan));
  } finally {
    await ahead?.done;
  }
}

async function applyOrCopy(
  request: RenderRequest,
  plan: RenderPlan,
  { apply, options }: {
    readonly apply: (plan: RenderPlan) => Promise<Outcome<Render>>;
    readonly options: ChangeOptions;
  },
): Promise<Outcome<Render>> {
  const { copyAgain, copyInstead } = await import("./fallback.ts");
  try {
    return await apply(copyAgain(request, plan));
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    return await apply(copyInstead(request, plan, { error, options }));
  }
}

/**
 * A pod on a file system without a disk may be where no upper can lie: what type it has is asked for while
 * the plan is made, before it is known that all permissions are there; findmnt changes nothing. All else
 * that can be wrong with the place shows when the pod is made.
 */
async function lookAtPlace(
  { pod, overlay, readOnly }: RenderRequest,
  options: ChangeOptions,
): Promise<{ readonly cache: FactsCache; readonly done: Promise<unknown> } | null> {
  if (readOnly === true || overlay === "never") return null;
  const path = parsePath("pod", pod);
  const above = parent(path);
  if (!isGranted({ name: "read", path: above })) return null;
  // A pod that is there may be a mount of its own, which is read-only or is not by itself.
  const ofPod = isGranted({ name: "read", path }) ? deviceAt(path) : null;
  const device = ofPod ?? deviceAt(above);
  if (device === null || majorOf(device) !== 0) return null;
  if (!isGranted({ name: "run", command: PROGRAMS.findmnt })) return null;
  const { lookAhead } = await import("../preflight/run_preflight.ts");
  return lookAhead(ofPod === null ? above : path, device, options);
}

async function applyOne(
  plan: RenderPlan,
  options: ApplyOptions,
  cache?: FactsCache,
): Promise<Outcome<Render>> {
  const [mount] = plan.mounts;
  const lowers = isOdd(mount);
  if (lowers || cache !== undefined) {
    const { runPreflight } = await import("../preflight/run_preflight.ts");
    await runPreflight([mount], options, {
      lowers,
      ...(cache === undefined ? {} : { cache }),
    });
  }
  const { apps: [app], mounts, changed } = await applyPlan(plan, options);
  await tellReachable([mount], options);
  const mounted = !mount.copy && (mounts || app?.live === true);
  return {
    result: renderOf(mount, app?.line.options ?? mount.optionString, { mounted, changed }),
    mounted: mounted && app?.live !== true ? [mount.app] : [],
  };
}

/** The disposal of what a call mounted; a signal that has ended the work does not keep it from it. */
export function disposalOf(
  pod: string,
  app: readonly string[],
  { signal: _, ...options }: ChangeOptions,
): () => Promise<void> {
  return async () => {
    if (app.length === 0) return;
    // Loaded when it is needed: most processes that render do not unmount.
    const { unmountOverlay } = await import("./unmount.ts");
    await unmountOverlay({ pod, app }, options);
  };
}

/** Warns of apps that other users can reach; of those in a pod that is closed nothing need be looked up. */
export async function tellReachable(
  mounts: readonly MountPlan[],
  { warn }: ChangeOptions,
): Promise<void> {
  if (warn === undefined) return;
  const outside = mounts.filter(({ dest, pod }) => !isWithin(dest, pod) || isOpen(pod));
  if (outside.length === 0) return;
  const { warnReachable } = await import("../preflight/reachable.ts");
  warnReachable(outside, warn);
}

function isOpen(pod: string): boolean {
  return ((ifAny(() => Deno.lstatSync(pod))?.mode ?? 0) & 1) !== 0;
}

/**
 * Whether anything can be wrong with a pod that is yet to be made, but what making it shows: there are
 * several lowers, options that may exclude each other, a destination elsewhere, or a link by which the pod
 * may lie in the lower. A pod that is there is looked at when it is locked.
 */
function isOdd({ lower, options, dest, pod }: MountPlan): boolean {
  if (lower.length > 1 || options.length > 1 || !isWithin(dest, pod)) return true;
  const above = parent(pod);
  // Where one of the two may not be looked up, nothing is known of whether the one lies in the other.
  return isGranted({ name: "read", path: above }) && [above, lower[0] ?? "/"].some(isLinked);
}

/** Whether a path leads through a symlink, or nowhere. */
function isLinked(path: string): boolean {
  return isGranted({ name: "read", path }) && ifAny(() => Deno.realPathSync(path)) !== path;
}

/** What became of an app. */
export function renderOf(
  mount: MountPlan,
  options: string,
  result: { readonly mounted: boolean; readonly changed: boolean },
): Render {
  const { pod, app, tree, rootfs, upper, work } = mount;
  const { lower } = configOf(mount);
  const { mounted, changed } = result;
  return { pod, app, tree, rootfs, lower, upper, work, options, mounted, changed };
}

/**
 * Makes everything an app's mount needs, and does not mount it.
 *
 * The disk is then as {@linkcode renderOverlay} leaves it but for the mount; the app's line in
 * `overlay.fstab` says `noauto`. Who mounts it does so with `mount -t overlay overlay -o <options>
 * <rootfs>`, or with `mount --fstab <pod>/overlay.fstab <rootfs>`. Source: rkt `prepareOverlay`.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that {@linkcode requiredPermissions} computes.
 *
 * @param request What to prepare.
 * @param options Who is told what happens, and what can end it.
 * @returns The mount configuration.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If it fails; what was made is taken back.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { prepareOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 *
 * const { options, rootfs } = await prepareOverlay({
 *   lower: `${dir}/image`,
 *   pod: `${dir}/pod`,
 *   app: "web",
 * });
 * assert(options.startsWith(`lowerdir=${dir}/image,upperdir=${dir}/pod/overlay/image/`));
 * assert(Deno.statSync(rootfs).isDirectory);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function prepareOverlay(
  request: RenderRequest,
  options: ChangeOptions = {},
): Promise<Render> {
  return (await applyRequest("prepare", request, options)).result;
}

/**
 * Turns a read-only tree into a writable root filesystem: prepares it and mounts it.
 *
 * Rendering twice is the same as once. What the app wrote before is there again.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that {@linkcode requiredPermissions} computes; and the right to mount: root, or a user namespace.
 * Source: rkt `overlayRender`.
 *
 * @param request What to render.
 * @param options Who is told what happens, and what can end it.
 * @returns The render. Disposing it unmounts the app if this call mounted it, and keeps what it wrote.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {MountError} If the kernel does not mount it; what was made is taken back.
 * @throws {OverlayError} If something else fails; what was made is taken back.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/motd`, "from the tree");
 * {
 *   await using app = await renderOverlay({
 *     lower: `${dir}/image`,
 *     pod: `${dir}/pod`,
 *     options: ["userxattr"], // works without root too, in a user namespace
 *   });
 *   await Deno.writeTextFile(`${app.rootfs}/motd`, "from the app");
 * } // unmounted here
 * assert(Deno.readTextFileSync(`${dir}/image/motd`) === "from the tree");
 * assert(Deno.readTextFileSync(`${dir}/pod/overlay/image/upper/motd`) === "from the app");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function renderOverlay(
  request: RenderRequest,
  options: ChangeOptions = {},
): Promise<RenderedOverlay> {
  const { result, mounted } = await applyRequest("render", request, options);
  return { ...result, [Symbol.asyncDispose]: disposalOf(result.pod, mounted, options) };
}
