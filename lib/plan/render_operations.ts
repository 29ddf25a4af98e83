/**
 * The operations that render apps of one pod, in the order in which they are applied.
 *
 * Requires no permissions.
 *
 * @module
 */
import { appLine } from "../overlay/app_line.ts";
import { needsRealPath } from "../overlay/escape.ts";
import type { PodLayout } from "../request/layout.ts";
import type { DirectoryOperation, LikeMode, Operation } from "./operation.ts";
import { child, isWithin, parent } from "../core/path.ts";
import type { ParsedRequest } from "../request/request.ts";
import { configOf } from "./render_mount.ts";
import type { PlannedApp } from "./render_mount.ts";

/**
 * Lists the operations that render apps of one pod.
 *
 * @param groups The apps in the order of mounting, see `planApps`.
 * @param auto Set if they are mounted.
 */
export function listOperations(
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

/** The destination of one app can lie in that of another; what lies above is made first. */
function topDown(apps: readonly PlannedApp[]): readonly PlannedApp[] {
  const depth = ({ mount }: PlannedApp) => mount.dest.split("/").length;
  return apps.length === 1 ? apps : apps.toSorted((a, b) => depth(a) - depth(b));
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

/** A directory that is the root of the render: in the profile `rootfs-mode` it looks like the lower's. */
function rootDirectory(request: ParsedRequest, path: string): DirectoryOperation {
  if (!request.profile.rootLikeLower) return directory(path, request.dirMode);
  const like = request.rootLike;
  return { ...directory(path, { like, mask: 0o7777 }), ownerLike: like };
}

function directory(path: string, mode: number | LikeMode): DirectoryOperation {
  return { kind: "directory", path, mode, ownerLike: null, force: false, guarded: false };
}

/** All permission bits but the write bits of group and others. */
const UNSHARED = 0o755;

/** The directories above `path`, up to and without `top`, from the top down. */
function between(top: string, path: string): string[] {
  const found: string[] = [];
  for (let at = path; at !== top; at = parent(at)) found.unshift(at);
  return found;
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

function copies(
  { overlay, layout, lower, profile, dirMode, mtab }: ParsedRequest,
): Operation[] {
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

/** A tree of a store stays there as long as a pod is noted that uses it. */
function uses({ stored, pod }: ParsedRequest): Operation[] {
  if (stored === null) return [];
  const { notes, store, rendered } = stored;
  return [{ kind: "use", path: notes, pod: pod.pod, store, rendered }];
}

/** Without those that do the same to the same path: apps share directories, lowers and manifests. */
function distinct<T extends Operation>(
  operations: readonly T[],
  seen = new Set<string>(),
): T[] {
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
