/**
 * The plan of a render: what it will do, in order, before anything is touched.
 *
 * Planning is pure. The same request gives the same plan, and nothing is read; what depends on the
 * disk is said in the plan (`mode: { like: <lower> }`), not looked up by it.
 *
 * Requires no permissions.
 *
 * @module
 */
import { appLine } from "./app_line.ts";
import { isWithin, parent } from "./path.ts";
import { fittingOptions } from "./mount_config.ts";
import type { MountConfig, OptionString } from "./mount_config.ts";
import type { DirectoryOperation, LikeMode, Operation } from "./operation.ts";
import { parseRequest } from "./request.ts";
import type { ParsedRequest, RenderRequest } from "./request.ts";

/** What will be mounted, and where. */
export interface MountPlan extends MountConfig {
  /** The pod. */
  readonly pod: string;
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
  /** The tree id. */
  readonly tree: string;
  /** The destination. */
  readonly dest: string;
  /** The mount point. */
  readonly rootfs: string;
  /** The option string, as mount(8) takes it. */
  readonly optionString: string;
}

/** What a render will do. Frozen, and safe as JSON. */
export interface Plan {
  /** The operations, in the order in which they are applied. */
  readonly operations: readonly Operation[];
  /** What the last of them mounts, or `prepare` leaves for the caller to mount. */
  readonly mount: MountPlan;
}

/** How {@linkcode planRender} plans. */
export interface PlanOptions {
  /** Whether the plan ends with the mount; without it, the app is prepared only. @default {true} */
  readonly mount?: boolean;
}

/** All permission bits but the write bits of group and others. */
const UNSHARED = 0o755;

function directory(path: string, mode: number | LikeMode): DirectoryOperation {
  return { kind: "directory", path, mode, ownerLike: null, force: false, guarded: false };
}

/** A directory that is the root of the render: in the profile `rootfs-mode` it looks like the lower's. */
function rootDirectory(request: ParsedRequest, path: string): DirectoryOperation {
  if (!request.profile.rootLikeLower) return directory(path, request.dirMode);
  const like = request.lower[0];
  return { ...directory(path, { like, mask: 0o7777 }), ownerLike: like };
}

/** The directories above `path`, up to and without `top`, from the top down. */
function between(top: string, path: string): string[] {
  const found: string[] = [];
  for (let at = path; at !== top; at = parent(at)) found.unshift(at);
  return found;
}

function destination(request: ParsedRequest): DirectoryOperation[] {
  const { pod, layout, dirMode } = request;
  const inPod = isWithin(layout.dest, pod.pod);
  // Outside the pod, nobody else has made sure that a destination cannot be swapped under us.
  const chain = inPod
    ? between(pod.pod, layout.dest).map((path) => directory(path, dirMode))
    : [{ ...directory(layout.dest, dirMode), guarded: true }];
  return [
    ...chain,
    rootDirectory(request, layout.rootfs),
  ];
}

/**
 * `overlay/`, the image directory, and upper and work in it. The directory that holds the uppers lets
 * through whom the root lets through, but nobody else may put anything there.
 */
function overlayDirectories(request: ParsedRequest): Operation[] {
  const { pod, layout, dirMode, profile, group } = request;
  const guarded = (path: string, mode: number | LikeMode): DirectoryOperation => {
    return { ...directory(path, mode), guarded: true };
  };
  const like = profile.rootLikeLower ? { like: request.lower[0], mask: UNSHARED } : dirMode;
  const ownApp = request.app !== "";
  return [
    { ...guarded(pod.overlay, dirMode), force: profile.forceOverlayMode },
    guarded(layout.image, dirMode),
    ...(profile.setsGroup && group !== null
      ? [{ kind: "group" as const, path: layout.image, group }]
      : []),
    ...(ownApp ? [guarded(layout.uppers, like)] : []),
    rootDirectory(request, layout.upper),
    ...(ownApp ? [guarded(layout.works, dirMode)] : []),
    directory(layout.work, dirMode),
  ];
}

function labels(request: ParsedRequest): Operation[] {
  const { label: context, layout, readOnly } = request;
  if (context === null || readOnly) return [];
  return [layout.upper, layout.work].map((path) => ({ kind: "label", path, context }));
}

function manifest(request: ParsedRequest): Operation[] {
  if (request.manifest === null) return [];
  return [{ kind: "manifest", path: request.layout.manifest, from: request.manifest, mode: 0o640 }];
}

function requirements(request: ParsedRequest): Operation[] {
  const needs: Operation[] = request.lower.map((path) => {
    return { kind: "require", path, type: "directory" };
  });
  if (request.manifest === null) return needs;
  return [...needs, { kind: "require", path: request.manifest, type: "file" }];
}

function mountPlan(request: ParsedRequest): { mount: MountPlan; options: OptionString } {
  const { layout, readOnly } = request;
  const config: MountConfig = {
    lower: request.lower,
    upper: readOnly ? null : layout.upper,
    work: readOnly ? null : layout.work,
    label: request.label,
    options: request.options,
  };
  const options = fittingOptions(config, request.pod.pod);
  const mount: MountPlan = {
    ...config,
    pod: request.pod.pod,
    app: request.app,
    tree: request.tree,
    dest: layout.dest,
    rootfs: layout.rootfs,
    optionString: options.text,
  };
  return { mount, options };
}

function freeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === "object" && part !== null) freeze(part);
  }
  return Object.freeze(value);
}

/**
 * Plans a render.
 *
 * Requires no permissions.
 *
 * @param request What to render.
 * @param options Whether to mount it.
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
 * assert(plan.mount.rootfs === "/pods/one/stage1/rootfs/opt/stage2/web/rootfs");
 * assert(plan.operations.at(-1)?.kind === "mount");
 * ```
 */
export function planRender(request: RenderRequest, options: PlanOptions = {}): Plan {
  const parsed = parseRequest(request);
  const auto = options.mount ?? true;
  const { mount, options: { text, needsRealPaths } } = mountPlan(parsed);
  const { pod, layout } = parsed;
  const line = appLine(mount, { config: mount, options: text, auto });
  const real = needsRealPaths ? [pod.pod, ...parsed.lower] : [];
  return freeze<Plan>({
    operations: [
      ...requirements(parsed),
      { ...directory(pod.pod, 0o750), guarded: true },
      ...real.map((path) => ({ kind: "real" as const, path })),
      { kind: "lock", path: pod.lock },
      ...destination(parsed),
      ...(parsed.readOnly ? [] : overlayDirectories(parsed)),
      ...labels(parsed),
      ...manifest(parsed),
      { kind: "record", path: pod.fstab, line },
      ...(auto ? [{ kind: "mount" as const, path: layout.rootfs, fstab: pod.fstab }] : []),
    ],
    mount,
  });
}
