/**
 * Rendering several apps of a pod in one call.
 *
 * @module
 */
import { applyPlan } from "../apply/apply.ts";
import { runPreflight } from "../preflight/run_preflight.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { checkPermissions } from "../system/permissions.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { planPod } from "../plan/pod_plan.ts";
import { checkPodRequest } from "../request/pod_request.ts";
import type { PodRequest } from "../request/options.ts";
import { disposalOf, renderOf, tellReachable } from "./render.ts";
import type { Outcome, Render } from "./render.ts";
import { resolvePodRequest } from "./resolve_request.ts";

/** A pod as it was prepared or rendered. */
export interface PodRender {
  /** The pod. */
  readonly pod: string;
  /** The apps of the call, in the order of mounting. */
  readonly renders: readonly Render[];
}

/** A rendered pod. Disposing it unmounts the apps that the call mounted. */
export interface RenderedPod extends PodRender, AsyncDisposable {}

async function applyRequest(
  action: "prepare" | "render",
  given: PodRequest,
  options: ChangeOptions,
): Promise<Outcome<PodRender>> {
  checkPodRequest(given);
  const request = await resolvePodRequest(given);
  const plan = planPod(request, { mount: action === "render" });
  checkPermissions(action, requiredPermissions(plan));
  await runPreflight(plan.mounts, options);
  const { apps, mounts } = await applyPlan(plan, options);
  await tellReachable(plan.mounts, options);
  const renders = apps.map(({ mount, line, live, changed }) => {
    const mounted = !mount.copy && (mounts || live);
    return renderOf(mount, line.options, { mounted, changed });
  });
  const mounted = apps.filter(({ mount, live }) => !mount.copy && mounts && !live);
  return {
    result: { pod: plan.pod, renders },
    mounted: mounted.map(({ mount }) => mount.app),
  };
}

/**
 * Makes everything that the mounts of several apps need, and does not mount them.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that `requiredPermissions` computes.
 *
 * @param request What to prepare.
 * @param options Who is told what happens, and what can end it.
 * @returns The mount configuration of each app.
 * @throws {InvalidValueError} If a part of the request is not usable; it names the part.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {PodError} If one or more apps fail; each is named, and what was made is taken back.
 * @throws {OverlayError} If something else fails; what was made is taken back.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { preparePod } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const { renders } = await preparePod({
 *   pod: `${dir}/pod`,
 *   apps: [{ app: "web", lower: `${dir}/image` }, { app: "db", lower: `${dir}/image` }],
 * });
 * assert(renders.length === 2 && !renders[0]?.mounted);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function preparePod(
  request: PodRequest,
  options: ChangeOptions = {},
): Promise<PodRender> {
  return (await applyRequest("prepare", request, options)).result;
}

/**
 * Renders several apps of a pod: all directories, one `overlay.fstab`, and one mount process for all of
 * them, or one more where apps lie in the rootfs of others of the call.
 *
 * All or nothing: when one app fails, those of this call are taken back. What was mounted before stays.
 * Rendering twice is the same as once.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that `requiredPermissions` computes; and the right to mount: root, or a user namespace.
 *
 * @param request What to render.
 * @param options Who is told what happens, and what can end it.
 * @returns The renders. Disposing them unmounts the apps that this call mounted, and keeps what they wrote.
 * @throws {InvalidValueError} If a part of the request is not usable; it names the part, such as
 * `apps[3].lower`.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {PodError} If one or more apps fail; each is named, and what was made is taken back.
 * @throws {RefusedError} If a safety check refuses the pod; nothing was touched.
 * @throws {OverlayError} If something else fails; what was made is taken back.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderPod } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * {
 *   const app = { lower: `${dir}/image`, options: ["userxattr"] };
 *   await using pod = await renderPod({
 *     pod: `${dir}/pod`,
 *     apps: [{ ...app, app: "web" }, { ...app, app: "db" }],
 *   });
 *   for (const { rootfs } of pod.renders) await Deno.writeTextFile(`${rootfs}/ready`, "");
 * } // unmounted here
 * assert(Deno.statSync(`${dir}/pod/overlay/image/upper/db/ready`).isFile);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function renderPod(
  request: PodRequest,
  options: ChangeOptions = {},
): Promise<RenderedPod> {
  const { result, mounted } = await applyRequest("render", request, options);
  return { ...result, [Symbol.asyncDispose]: disposalOf(result.pod, mounted, options) };
}
