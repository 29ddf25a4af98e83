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
import { toMountConfig } from "./render_mount.ts";
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
      line: appLine(mount, { config: toMountConfig(mount), options: text, auto, link }),
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
    // A relative path goes up from the pod and down again, and links on its way down are followed.
    const { real } = request;
    return [pod.pod, ...options.relative ? real.filter(needsRealPath) : real];
  });
  const outside = apps.map(({ mount }) => mount.dest).filter((dest) => !isWithin(dest, pod.pod));
  // A trust check covers all directories above a path, so that of the notes covers the store.
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

/** Sorts apps by their destinations: one can lie in another, which is made first. */
function topDown(apps: readonly PlannedApp[]): readonly PlannedApp[] {
  const depth = ({ mount }: PlannedApp) => mount.dest.split("/").length;
  return apps.length === 1 ? apps : apps.toSorted((a, b) => depth(a) - depth(b));
}

/** Lists the operations that make the destination and the rootfs of an app. */
function destination(request: ParsedRequest): DirectoryOperation[] {
  const { pod, layout, dirMode } = request;
  const inPod = isWithin(layout.dest, pod.pod);
  // Outside the pod, no other check ensures that a destination cannot be swapped by other users.
  const chain = inPod
    ? between(pod.pod, layout.dest).map((path) => directory(path, dirMode))
    : [{ ...directory(layout.dest, dirMode), guarded: true }];
  // A copy has its own root.
  return request.overlay === "never" ? chain : [...chain, rootDirectory(request, layout.rootfs)];
}

/**
 * Lists the operations that make `overlay/`, the image directory, and upper and work in it. The directory of
 * the uppers can be searched by the users who can search the root, but only its owner can write to it.
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

/** Plans the root of a render; in the profile `rootfs-mode` it has the mode and owner of the lower's root. */
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

/** Lists the directories above `path`, below `top`, from the top down. */
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
  // A view of one lower is told from other mounts by its content.
  const looked = readOnly && real.length === 1 ? [...lower, ...real] : lower;
  const needs: Operation[] = looked.map((path) => {
    return { kind: "require", path, type: "directory" };
  });
  if (request.manifest === null) return needs;
  return [...needs, { kind: "require", path: request.manifest, type: "file" }];
}

/** Lists the operations that add directories and links to the upper before it is mounted. */
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

/** Lists the operations that note the pod in the stores of its trees, which keeps the trees there. */
function uses({ stored, pod }: ParsedRequest): Operation[] {
  if (stored === null) return [];
  const { notes, store, rendered } = stored;
  return [{ kind: "use", path: notes, pod: pod.pod, store, rendered }];
}

/** Drops duplicate operations: apps share directories, lowers and manifests. */
function distinct<T extends Operation>(
  operations: readonly T[],
  seen = new Set<string>(),
): T[] {
  return operations.filter((operation) => {
    // A path can be required as a lower and as a manifest, and each tree of a store is required.
    const more = operation.kind === "require"
      ? operation.type
      : operation.kind === "use"
      ? operation.rendered
      : "";
    const key = `${operation.kind} ${operation.path} ${more}`;
    return !seen.has(key) && seen.add(key);
  });
}
