/**
 * The permissions to run a command in the rootfs of an app.
 *
 * @module
 */
import { resolveRequest } from "./resolve_request.ts";
import { splitRun } from "./run_request.ts";
import type { RunParts, RunRequest } from "./run_request.ts";
import { planRender } from "../plan/plan.ts";
import type { RenderPlan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { podLayout } from "../request/layout.ts";
import { wantsPull } from "../request/options.ts";
import type { RenderRequest } from "../request/options.ts";
import { RUNTIME_PROGRAMS } from "../runtime/choose_runtime.ts";
import { SHELLS } from "../runtime/launch.ts";
import { storeLayout } from "../store/layout.ts";
import { readRecord } from "../pod/record.ts";
import { ifAny } from "../system/disk.ts";
import { isGranted, joinPermissions } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PROGRAMS, STARTERS } from "../system/programs.ts";
import { openPermissions } from "../pod/open.ts";

/** The plan of the render before a command, with the permissions of its pulls. */
export type RunPlan = RenderPlan & { readonly pulling?: RequiredPermissions };

/** Plans the render before a command; `null` if the app was rendered before. */
export async function planRun({ render }: Pick<RunParts, "render">): Promise<RunPlan | null> {
  if (render === null) return null;
  const kind = { resolve: resolveRequest, plan: planRender };
  if (!wantsPull(render)) return planRender(await resolveRequest(render));
  const { planWithPulls } = await import("./pull_images.ts");
  return await planWithPulls<RenderRequest>(render, kind, {});
}

/** Tells whether what an app wrote goes when it is unmounted; of one that was rendered before, its line says it. */
function isEphemeral(pod: string, plan: RunPlan | null): boolean {
  if (plan !== null) return plan.mounts.some(({ ephemeral }) => ephemeral);
  const { fstab } = podLayout(pod);
  if (!isGranted({ name: "read", path: fstab })) return false;
  return ifAny(() => readRecord(fstab))?.lines.some(({ ephemeral }) => ephemeral) ?? false;
}

/** Computes the permissions for the rootfs; what one request needs is loaded for that alone. */
async function rootPermissions(
  { pod, remove }: RunParts,
  plan: RunPlan | null,
): Promise<RequiredPermissions> {
  const { run, ...more } = openPermissions(podLayout(pod).pod, true);
  return joinPermissions([
    plan === null
      ? (await import("./restore.ts")).restorePermissions(podLayout(pod).pod)
      : requiredPermissions(plan),
    ...plan?.pulling === undefined ? [] : [plan.pulling],
    { ...more, run: [PROGRAMS.umount, ...run] },
    ...isEphemeral(pod, plan) ? [{ read: [], write: [], run: [PROGRAMS.rm] }] : [],
    ...remove ? [(await import("./gc.ts")).collectPermissions({ pod })] : [],
  ]);
}

/** Computes the permissions for the process. */
function processPermissions(parts: RunParts, plan: RunPlan | null): RequiredPermissions {
  const { pod, process: { bind = [], network }, image: { store } } = parts;
  return {
    read: [
      podLayout(pod).pod,
      ...(plan?.mounts ?? []).map(({ dest }) => dest),
      storeLayout(store).store,
      // Those of a runtime that is not asked for may have to remove what a killed process left.
      ...Object.values(RUNTIME_PROGRAMS).flat(),
      ...SHELLS,
      ...network === "none" ? [] : ["/etc/resolv.conf"],
      ...bind.map((text) => text.split(":")[0] ?? "").filter((path) => path.startsWith("/")),
    ],
    write: [podLayout(pod).pod],
    run: [STARTERS.setpriv],
  };
}

/** Computes the permissions of a request that is split. */
export async function permissionsFor(
  parts: RunParts,
  plan: RunPlan | null,
): Promise<RequiredPermissions> {
  return joinPermissions([await rootPermissions(parts, plan), processPermissions(parts, plan)]);
}

/**
 * Computes the Deno permissions that `runInOverlay` needs. With `--allow-run` for setpriv, a program can start
 * any other one.
 *
 * Requires `--allow-read` permission for the store and the lowers.
 *
 * @param request The command, and the app.
 * @throws {InvalidValueError} If a part of the request is not usable.
 *
 * @tags allow-read
 */
export async function runPermissions(request: RunRequest): Promise<RequiredPermissions> {
  const parts = splitRun(request);
  return await permissionsFor(parts, await planRun(parts));
}
