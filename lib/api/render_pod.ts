/**
 * Renders several apps of a pod in one call.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import type { PodRequest } from "../request/options.ts";
import type { Render } from "./render.ts";
import { resolvePodRequest } from "./resolve_request.ts";
import type { AppliedRender } from "./apply_request.ts";
import type { RequestKind } from "./request_kind.ts";
import { parseCheckedPod } from "../request/pod_request.ts";
import { applyRequest, describeRender, makeDisposal } from "./apply_request.ts";
import { planParsedPod } from "../plan/pod_plan.ts";

/** A pod that was prepared or rendered. */
export interface PodRender {
  /** The pod. */
  readonly pod: string;
  /** The apps of the call, in the order of mounting. */
  readonly renders: readonly Render[];
}

/** A rendered pod. Disposing it unmounts the apps that the call mounted. */
export interface RenderedPod extends PodRender, AsyncDisposable {}

const SEVERAL_APPS: RequestKind<PodRequest> = {
  resolve: resolvePodRequest,
  plan: (request, options) => planParsedPod(parseCheckedPod(request), options),
};

function describePod({ apps, mounts }: AppliedRender): PodRender {
  const [{ mount: { pod } }] = apps;
  return { pod, renders: apps.map((app) => describeRender(app, { mounts, changed: app.changed })) };
}

/**
 * Makes everything that the mounts of several apps need, without mounting them.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that `requiredPermissions` computes.
 *
 * @param request The apps to prepare.
 * @param options Listeners, the time to wait for the pod's lock, and a signal that ends the call.
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
  return describePod(await applyRequest("prepare", request, { kind: SEVERAL_APPS, options }));
}

/**
 * Renders several apps of a pod with one `overlay.fstab` and one mount process, or two if apps lie in the
 * rootfs of others of the call.
 *
 * It is atomic: if one app fails, all changes of the call are undone. Earlier mounts stay.
 * Rendering is idempotent.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that `requiredPermissions` computes; and the right to mount: root, or a user namespace.
 *
 * @param request The apps to render.
 * @param options Listeners, the time to wait for the pod's lock, and a signal that ends the call.
 * @returns The renders. Disposing them unmounts the apps that this call mounted, and keeps their data, unless they
 * are ephemeral.
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
  const applied = await applyRequest("render", request, { kind: SEVERAL_APPS, options });
  return { ...describePod(applied), [Symbol.asyncDispose]: makeDisposal(applied, options) };
}
