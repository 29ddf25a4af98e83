/**
 * The plan of a render of several apps of a pod.
 *
 * Requires no permissions.
 *
 * @module
 */
import { appLine } from "../overlay/app_line.ts";
import { InvalidValueError, RefusedError } from "../core/errors.ts";
import { linesWithin, Overlaps, refuseSharedUpper } from "../overlay/overlaps.ts";
import { parent } from "../core/path.ts";
import { planMount, toMountConfig } from "./render_mount.ts";
import { planApps } from "./plan.ts";
import type { PlannedApp } from "./render_mount.ts";
import type { PlanOptions, RenderPlan } from "./plan.ts";
import { parsePodRequest } from "../request/pod_request.ts";
import type { PodRequest } from "../request/options.ts";
import { appWords, quote } from "../core/quote.ts";
import type { ParsedRequest } from "../request/request.ts";
import { errorWithin } from "../core/invalid.ts";

/**
 * Groups apps: each lies in the rootfs of an app of the group before, or in no other app. So the mount around
 * a destination is made before the destination.
 */
function levels(apps: readonly PlannedApp[]): PlannedApp[][] {
  const tops = new Map(apps.map((app) => [app.mount.rootfs, app]));
  const depth = ({ mount }: PlannedApp): number => {
    for (let at = parent(mount.rootfs); at !== "/"; at = parent(at)) {
      const around = tops.get(at);
      if (around !== undefined) return depth(around) + 1;
    }
    return 0;
  };
  const groups: PlannedApp[][] = [];
  for (const app of apps) (groups[depth(app)] ??= []).push(app);
  return groups.filter((group) => group !== undefined);
}

/**
 * Plans a render of several apps of a pod.
 *
 * Requires no permissions.
 *
 * @param request The apps to render.
 * @param options Set `mount: false` to prepare them only.
 * @returns The plan: all directories, then all lines, then the mounts. An app that lies in the rootfs of
 * another one comes after it.
 * @throws {InvalidValueError} If a part of the request is not usable; it names the part, such as
 * `apps[3].lower`.
 * @throws {RefusedError} If the option string of an app is too long for the kernel, however it is written.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { planPod } from "@overlay/render";
 *
 * const plan = planPod({
 *   pod: "/pods/one",
 *   apps: [{ app: "web", lower: "/images/web" }, { app: "db", lower: "/images/db" }],
 * });
 * assert(plan.mounts.length === 2);
 * assert(plan.operations.filter(({ kind }) => kind === "mount").length === 2);
 * ```
 */
export function planPod(request: PodRequest, options: PlanOptions = {}): RenderPlan {
  return planParsedPod(parsePodRequest(request), options);
}

/** Plans a render of several apps whose request is parsed, see {@linkcode planPod}. */
export function planParsedPod(
  apps: readonly ParsedRequest[],
  options: PlanOptions,
): RenderPlan {
  const groups = levels(apps.map(plannedOf));
  checkTogether(groups.flat(), options.mount ?? true);
  return planApps(groups, options);
}

/** Plans the mount of an app; the error of an option string that is too long names the app. */
function plannedOf(request: ParsedRequest): PlannedApp {
  try {
    return planMount(request);
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw errorWithin(`render ${appWords(request.app)}`, error);
  }
}

/** Refuses apps of one call that share an upper, and an app in an image that is not mounted. */
function checkTogether(apps: readonly PlannedApp[], auto: boolean): void {
  const mounts = new Map(apps.map(({ mount, options: { text, link } }) => {
    return [appLine(mount, { config: toMountConfig(mount), options: text, auto, link }), mount];
  }));
  const lines = [...mounts.keys()];
  const overlaps = new Overlaps(lines, apps[0]?.mount.pod ?? "/", (line) => {
    const { upper = null, work = null } = mounts.get(line) ?? {};
    return [upper, work].filter((path) => path !== null);
  });
  for (const line of lines) refuseSharedUpper(line, overlaps.sharingUpper(line));
  if (auto) return;
  const within = linesWithin(lines, new Set(lines.map(({ rootfs }) => rootfs)));
  for (const [around, all] of within) {
    const inside = all.find(({ rootfs }) => rootfs !== around);
    if (inside === undefined) continue;
    const message = `Cannot prepare ${appWords(inside.app)}: it lies in the rootfs ` +
      `${quote(around)} of the same call, which is not mounted`;
    throw new InvalidValueError("invalid-value", message, { path: inside.rootfs });
  }
}
