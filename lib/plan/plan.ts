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
import { appLine } from "../overlay/app_line.ts";
import { needsRealPath } from "../overlay/escape.ts";
import type { PodLayout } from "../request/layout.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { fittingOptions } from "../overlay/mount_config.ts";
import type { MountConfig, OptionString } from "../overlay/mount_config.ts";
import type { DirectoryOperation, LikeMode, Operation } from "./operation.ts";
import { parseRequest } from "../request/request.ts";
import type { ParsedRequest } from "../request/request.ts";
import type { RenderRequest } from "../request/options.ts";
import type { MountPlan } from "../overlay/app_line.ts";

/** The name of what a plan does. */
export type PlanAction = "prepare" | "render" | "unmount" | "restore" | "collect";

/** What a command will do to a pod. Frozen, and safe as JSON. */
export interface Plan {
  /** The name of what it does. */
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
  /** What is mounted, or `prepare` leaves for the caller to mount, in the order of mounting. */
  readonly mounts: readonly [MountPlan, ...MountPlan[]];
}

/** How {@linkcode planRender} and {@linkcode planPod} plan. */
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
  const like = request.rootLike;
  return { ...directory(path, { like, mask: 0o7777 }), ownerLike: like };
}

/** The directories above `path`, up to and without `top`, from the top down. */
function between(top: string, path: string): string[] {
  const found: string[] = [];
  for (let at = path; at !== top; at = parent(at)) found.unshift(at);
  return found;
}

/** The destination and the rootfs of an app. */
function destination(request: ParsedRequest): DirectoryOperation[] {
  const { pod, layout, dirMode } = request;
  const inPod = isWithin(layout.dest, pod.pod);
  // Outside the pod, nobody else has made sure that a destination cannot be swapped under us.
  const chain = inPod
    ? between(pod.pod, layout.dest).map((path) => directory(path, dirMode))
    : [{ ...directory(layout.dest, dirMode), guarded: true }];
  // A copy comes with its own root.
  return request.overlay === "never" ? chain : [...chain, rootDirectory(request, layout.rootfs)];
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
  const like = profile.rootLikeLower ? { like: request.rootLike, mask: UNSHARED } : dirMode;
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
  const { lower, real, readOnly } = request;
  // A view of one lower is told from other mounts by a look at what it shows.
  const looked = readOnly && real.length === 1 ? [...lower, ...real] : lower;
  const needs: Operation[] = looked.map((path) => {
    return { kind: "require", path, type: "directory" };
  });
  if (request.manifest === null) return needs;
  return [...needs, { kind: "require", path: request.manifest, type: "file" }];
}

const NO_OPTIONS: OptionString = {
  text: "",
  relative: false,
  needsRealPaths: false,
  link: null,
};

function mountPlan(request: ParsedRequest): { mount: MountPlan; options: OptionString } {
  const { layout } = request;
  const copy = request.overlay === "never";
  const readOnly = request.readOnly || copy;
  const { lower, real } = request;
  const config: MountConfig = {
    lower: real,
    upper: readOnly ? null : layout.upper,
    work: readOnly ? null : layout.work,
    label: request.label,
    options: request.options,
  };
  const options = copy ? NO_OPTIONS : fittingOptions(config, request.pod.pod);
  const mount: MountPlan = {
    ...config,
    lower,
    pod: request.pod.pod,
    app: request.app,
    tree: request.tree,
    dest: layout.dest,
    rootfs: layout.rootfs,
    optionString: options.text,
    ...(isSame(real, lower) ? {} : { real }),
    ...(copy ? { copy: true } : {}),
    ...(request.live ? { live: true } : {}),
    ...(request.ephemeral ? { ephemeral: true } : {}),
  };
  return { mount, options };
}

function isSame(real: readonly string[], lower: readonly string[]): boolean {
  return real.every((path, at) => path === lower[at]);
}

/** The configuration that is mounted and recorded, with the real paths of the lowers. */
export function configOf({ real, ...mount }: MountPlan): MountConfig {
  return real === undefined ? mount : { ...mount, lower: real };
}

/** Freezes a value and all that is in it. */
export function freeze<T extends object>(value: T): T {
  for (const part of Object.values(value)) {
    if (typeof part === "object" && part !== null) freeze(part);
  }
  return Object.freeze(value);
}

/** An app whose mount is planned. */
export interface PlannedApp {
  /** What is asked for. */
  readonly request: ParsedRequest;
  /** What is mounted. */
  readonly mount: MountPlan;
  /** How it is written. */
  readonly options: OptionString;
}

function beginning(apps: readonly PlannedApp[], pod: PodLayout): Operation[] {
  const real = apps.flatMap(({ request, options }) => {
    if (!options.needsRealPaths) return [];
    // A relative name goes up from the pod; where it goes down again, links are followed as in any name.
    const { real } = request;
    return [pod.pod, ...options.relative ? real.filter(needsRealPath) : real];
  });
  const outside = apps.map(({ mount }) => mount.dest).filter((dest) => !isWithin(dest, pod.pod));
  // What is above a path in the store is the store, too.
  const stores = apps.flatMap(({ request: { stored } }) => stored === null ? [] : [stored.notes]);
  return [
    ...distinct(apps.flatMap(({ request }) => requirements(request))),
    ...[...new Set([pod.pod, ...outside, ...stores])].map((path) => ({
      kind: "trust" as const,
      path,
    })),
    { ...directory(pod.pod, 0o750), guarded: true },
    ...[...new Set(real)].map((path) => ({ kind: "real" as const, path })),
    { kind: "lock", path: pod.lock },
  ];
}

/** Without those that do the same to the same path: apps share directories, lowers and manifests. */
function distinct<T extends Operation>(operations: readonly T[], seen = new Set<string>()): T[] {
  return operations.filter((operation) => {
    // A path that is given as lower and as manifest must be both, and of a store each tree must be there.
    const more = operation.kind === "require"
      ? operation.type
      : operation.kind === "use"
      ? operation.rendered
      : "";
    const key = `${operation.kind} ${operation.path} ${more}`;
    return !seen.has(key) && seen.add(key);
  });
}

/**
 * Plans the render of apps of one pod.
 *
 * @param groups The apps in the order of mounting, at least one. What the destinations of a group lie in
 * is mounted with the groups before it.
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
    operations: operationsFor(groups, request.pod, mounts),
    mounts: [mount, ...others.map(({ mount }) => mount)],
  });
}

function operationsFor(
  groups: readonly (readonly PlannedApp[])[],
  pod: PodLayout,
  auto: boolean,
): Operation[] {
  const [first = [], ...later] = groups;
  const apps = groups.flat();
  const seen = new Set<string>();
  const made = (group: readonly PlannedApp[], what: (request: ParsedRequest) => Operation[]) => {
    const all = group.flatMap(({ request }) => what(request));
    return apps.length === 1 ? all : distinct(all, seen);
  };
  const mounted = (group: readonly PlannedApp[]): Operation[] => [
    ...group.flatMap(({ request }) => copies(request)),
    ...(auto ? group.flatMap(({ request }) => mounts(request)) : []),
  ];
  const overlay = (request: ParsedRequest) => {
    return request.readOnly || request.overlay === "never" ? [] : overlayDirectories(request);
  };
  return [
    ...beginning(apps, pod),
    ...made(topDown(first), destination),
    ...distinct(apps.flatMap(({ options: { link } }): Operation[] => {
      return link === null ? [] : [{ kind: "link", ...link }];
    })),
    ...distinct(apps.flatMap(({ request }) => uses(request))),
    ...made(apps, overlay),
    ...made(apps, labels),
    ...made(first, manifest),
    ...apps.flatMap(({ request }) => insertions(request)),
    ...apps.map(({ mount, options: { text, link } }): Operation => ({
      kind: "record",
      path: pod.fstab,
      line: appLine(mount, { config: configOf(mount), options: text, auto, link }),
    })),
    ...mounted(first),
    ...later.flatMap((group) => [
      ...made(topDown(group), destination),
      ...made(group, manifest),
      ...mounted(group),
    ]),
  ];
}

/** The destination of one app can lie in that of another; what lies above is made first. */
function topDown(apps: readonly PlannedApp[]): readonly PlannedApp[] {
  const depth = ({ mount }: PlannedApp) => mount.dest.split("/").length;
  return apps.length === 1 ? apps : apps.toSorted((a, b) => depth(a) - depth(b));
}

function copies({ overlay, layout, lower, profile, dirMode, mtab }: ParsedRequest): Operation[] {
  if (overlay !== "never") return [];
  const mode = profile.rootLikeLower ? null : dirMode;
  const more = mtab ? { mtab: true as const } : {};
  return [{ kind: "copy", path: layout.rootfs, from: lower[0], mode, ...more }];
}

function mounts({ overlay, layout, pod }: ParsedRequest): Operation[] {
  if (overlay === "never") return [];
  const orCopy = overlay === "auto" ? { orCopy: true as const } : {};
  return [{ kind: "mount", path: layout.rootfs, fstab: pod.fstab, ...orCopy }];
}

/** Directories and links that the rootfs must have, and that are put into the upper while nobody uses it. */
function insertions(request: ParsedRequest): Operation[] {
  const { app, layout: { rootfs, upper }, readOnly, overlay, mtab } = request;
  if (readOnly || overlay === "never") return [];
  const status = child(upper, "rkt", "status");
  return [
    ...(app === "" ? [{ kind: "touch" as const, path: status, rootfs }] : []),
    ...(mtab ? [{ kind: "mtab" as const, path: child(upper, "etc", "mtab"), rootfs }] : []),
  ];
}

/** A tree of a store stays there as long as a pod is noted that uses it. */
function uses({ stored, pod }: ParsedRequest): Operation[] {
  if (stored === null) return [];
  const { notes, store, rendered } = stored;
  return [{ kind: "use", path: notes, pod: pod.pod, store, rendered }];
}

/** Plans the mount of an app. */
export function planned(request: ParsedRequest): PlannedApp {
  return { request, ...mountPlan(request) };
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
 * assert(plan.mounts[0].rootfs === "/pods/one/apps/web/rootfs");
 * assert(plan.operations.at(-1)?.kind === "mount");
 * ```
 */
export function planRender(request: RenderRequest, options: PlanOptions = {}): RenderPlan {
  return planParsed(parseRequest(request), options);
}

/** Plans a render whose request is parsed, see {@linkcode planRender}. */
export function planParsed(request: ParsedRequest, options: PlanOptions): RenderPlan {
  return planApps([[planned(request)]], options);
}
