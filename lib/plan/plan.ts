/**
 * The plan of a render: its operations in order, before anything is touched.
 *
 * Planning is pure. The same request gives the same plan, and nothing is read. A value that depends on the
 * disk is a reference in the plan (`mode: { like: <lower> }`).
 *
 * Requires no permissions.
 *
 * @module
 */
import type { Kind, Operation, OperationOf } from "./operation.ts";
import { parseRequest } from "../request/request.ts";
import type { ParsedRequest } from "../request/request.ts";
import type { RenderRequest } from "../request/options.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { listOperations } from "./render_operations.ts";
import type { PlannedApp } from "./render_mount.ts";
import { planMount } from "./render_mount.ts";

/** The action of a plan. */
export type PlanAction =
  | "prepare"
  | "render"
  | "unmount"
  | "restore"
  | "collect"
  | "bring back"
  | "reset"
  | "keep"
  | "unkeep";

/** The plan of a command for a pod. Frozen, and safe as JSON. */
export interface Plan {
  /** The action. */
  readonly action: PlanAction;
  /** The pod. */
  readonly pod: string;
  /** The operations, in the order in which they are applied. */
  readonly operations: readonly Operation[];
  /** The mounts of the apps that are rendered, in the order of mounting; empty when none is. */
  readonly mounts: readonly MountPlan[];
}

/** The plan of a render, which has at least one app. */
export interface RenderPlan extends Plan {
  /** The mounts, in the order of mounting; after `prepare`, the caller mounts them. */
  readonly mounts: readonly [MountPlan, ...MountPlan[]];
}

/** The options of {@linkcode planRender} and {@linkcode planPod}. */
export interface PlanOptions {
  /** Set if the plan ends with the mount; otherwise the app is only prepared. @default {true} */
  readonly mount?: boolean;
}

/** Freezes a value and every value in it. */
export function freeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === "object" && part !== null) freeze(part);
  }
  return Object.freeze(value);
}

/**
 * Plans the render of apps of one pod.
 *
 * @param groups The apps in the order of mounting, at least one. The apps that contain the destinations of
 * a group are in the groups before it.
 */
export function planApps(
  groups: readonly (readonly PlannedApp[])[],
  { mount: mounts = true }: PlanOptions,
): RenderPlan {
  const apps = groups.flat() as [PlannedApp, ...PlannedApp[]];
  const [{ mount, request }, ...others] = apps;
  return freeze<RenderPlan>({
    action: mounts ? "render" : "prepare",
    pod: mount.pod,
    operations: listOperations(groups, request.pod, mounts),
    mounts: [mount, ...others.map(({ mount }) => mount)],
  });
}

/**
 * Plans a render.
 *
 * Requires no permissions.
 *
 * @param request The app to render.
 * @param options Set `mount: false` to prepare it only.
 * @returns The plan.
 * @throws {InvalidValueError} If a part of the request is not usable.
 * @throws {RefusedError} If the option string is too long for the kernel, however it is written.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { planRender } from "@overlay/render";
 *
 * const plan = planRender({ lower: "/images/debian", pod: "/pods/one", app: "web" });
 * assert(plan.mounts[0].rootfs === "/pods/one/apps/web/rootfs");
 * assert(plan.operations.at(-1)?.kind === "mount");
 * ```
 */
export function planRender(request: RenderRequest, options: PlanOptions = {}): RenderPlan {
  return planParsed(parseRequest(request), options);
}

/** Plans a render whose request is parsed, see {@linkcode planRender}. */
export function planParsed(request: ParsedRequest, options: PlanOptions): RenderPlan {
  return planApps([[planMount(request)]], options);
}

/** The operations of a kind. */
export function selectOperations<K extends Kind>(
  { operations }: Pick<Plan, "operations">,
  kind: K,
): OperationOf<K>[] {
  return operations.filter((operation): operation is OperationOf<K> => {
    return operation.kind === kind;
  });
}
