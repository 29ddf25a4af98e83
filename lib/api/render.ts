/**
 * Prepares and renders an app.
 *
 * @module
 */
import { applyPlan } from "../apply/apply.ts";
import { applyRequest, describeRender, makeDisposal } from "./apply_request.ts";
import type { Render } from "./apply_request.ts";
import type { RequestKind } from "./request_kind.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { planParsed } from "../plan/plan.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { RenderRequest } from "../request/options.ts";
import { parseChecked } from "../request/request.ts";
import { resolveRequest } from "./resolve_request.ts";
import { podLayout } from "../request/layout.ts";
export type { Render } from "./apply_request.ts";

/**
 * A rendered app. Disposing it unmounts the app: `await using rootfs = await renderOverlay(…)`. An app that
 * was mounted before the call stays mounted.
 */
export interface RenderedOverlay extends Render, AsyncDisposable {}

const ONE_APP: RequestKind<RenderRequest> = {
  resolve: resolveRequest,
  plan: (request, options) => planParsed(parseChecked(request, podLayout(request.pod)), options),
  apply: async (plan, options, request) => {
    if (request.overlay !== "auto") return await applyPlan(plan, options);
    const { applyOrCopy } = await import("./fallback.ts");
    return await applyOrCopy(plan, options, request);
  },
};

/**
 * Makes everything that the mount of an app needs, without mounting it.
 *
 * The disk is then as after {@linkcode renderOverlay}, except for the mount; the app's line in
 * `overlay.fstab` has `noauto`. To mount it, run `mount -t overlay overlay -o <options> <rootfs>`, or
 * `mount --fstab <pod>/overlay.fstab <rootfs>`. Source: rkt `prepareOverlay`.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that {@linkcode requiredPermissions} computes.
 *
 * @param request The app to prepare.
 * @param options Listeners, the time to wait for the pod's lock, and a signal that ends the call.
 * @returns The mount configuration.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If it fails; all changes are undone.
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
  const applied = await applyRequest("prepare", request, { kind: ONE_APP, options });
  return describeRender(applied.apps[0], applied);
}

/**
 * Turns a read-only tree into a writable root file system: prepares and mounts it.
 *
 * Rendering is idempotent. Data that the app wrote before is visible again.
 *
 * Requires `--allow-read`, `--allow-write`, `--allow-run` and `--allow-sys` permissions, with the values
 * that {@linkcode requiredPermissions} computes; and the right to mount: root, or a user namespace.
 * Source: rkt `overlayRender`.
 *
 * @param request The app to render.
 * @param options Listeners, the time to wait for the pod's lock, and a signal that ends the call.
 * @returns The render. Disposing it unmounts the app if this call mounted it, and keeps its data, unless it is
 * ephemeral.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {MountError} If the kernel does not mount it; all changes are undone.
 * @throws {OverlayError} If another step fails; all changes are undone.
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
  const applied = await applyRequest("render", request, { kind: ONE_APP, options });
  const render = describeRender(applied.apps[0], applied);
  return { ...render, [Symbol.asyncDispose]: makeDisposal(applied, options) };
}

/** An app that was rendered for a command. */
export interface RenderedApp {
  readonly mount: MountPlan;
  /** Set if this call mounted it. */
  readonly mounted: boolean;
}

/** Renders an app, and leaves it to the caller to unmount it. */
export async function renderApp(
  request: RenderRequest,
  options: ChangeOptions,
): Promise<RenderedApp> {
  const { apps: [{ mount, live }], mounts } = await applyRequest("render", request, {
    kind: ONE_APP,
    options,
  });
  return { mount, mounted: mounts && !mount.copy && !live };
}
