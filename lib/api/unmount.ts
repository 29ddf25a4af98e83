/**
 * Unmounting the apps of a pod.
 *
 * @module
 */
import { configOfLine } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { busyError } from "../pod/unmount_error.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt, look } from "../system/disk.ts";
import { replaceFile } from "../system/own_file.ts";
import { InvalidValueError, OverlayError, RefusedError } from "../core/errors.ts";
import { formatFstab, FSTAB_MODE, withLines } from "../overlay/fstab.ts";
import type { FstabEntry } from "../overlay/fstab.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { podLayout, volatileMark } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { mountTable } from "../system/mount_table.ts";
import { unmountAll } from "../pod/mounting.ts";
import { parseAppName } from "../request/names.ts";
import { checkTrusted, openPod } from "../pod/open.ts";
import type { Trusted } from "../pod/open.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { PodMounts } from "../pod/mounts.ts";
import { linePermissions, noPodError, readRecord } from "../pod/record.ts";
import type { PodRecord } from "../pod/record.ts";
import { appWords, quote } from "../core/quote.ts";
import { refuseElsewhere, refuseForeign, refuseUnnamed } from "../pod/refusals.ts";

/** What to unmount. */
export interface UnmountRequest {
  /** The pod, an absolute path. */
  readonly pod: string;
  /** The app, or several; empty for the pod's own image. @default {all apps of the pod} */
  readonly app?: string | readonly string[];
  /**
   * Whether an app that is in use is taken out of the file tree all the same, and unmounted by the kernel
   * when nothing uses it any more (umount2(2), MNT_DETACH). @default {false}
   */
  readonly lazy?: boolean;
  /**
   * Set if mounts that no line of `overlay.fstab` names are unmounted too, as when a line was lost; only of
   * a whole pod, and not lazily. @default {false}
   */
  readonly foreign?: boolean;
}

/** What was unmounted. */
export interface Unmounted {
  /** The pod. */
  readonly pod: string;
  /** The apps that were mounted and are no more, in the order of unmounting. */
  readonly unmounted: readonly { readonly app: string; readonly rootfs: string }[];
  /** The mount points that no line named, in the order of unmounting; only where that was asked for. */
  readonly foreign?: readonly string[];
}

/**
 * The Deno permissions that unmounting needs, beside reading a destination outside the pod.
 *
 * Requires no permissions.
 */
export function unmountPermissions(pod: string): RequiredPermissions {
  const run = [PROGRAMS.umount, PROGRAMS.findmnt, ...TRUST.run];
  return { read: [pod], write: [pod], run, sys: TRUST.sys };
}

/**
 * Unmounts a pod's apps, or some of them: deepest first, in one process, and lazily only when asked to.
 * What they wrote is kept, and so is their line in `overlay.fstab`, now with `noauto`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, `--allow-read` for destinations
 * outside it, `--allow-run` for umount, findmnt and find, and `--allow-sys=uid`. With `--allow-run` for
 * fuser, the error for an app in use names the processes that use it.
 *
 * @param request What to unmount.
 * @param options Who is told what happens, and how long to wait for the pod's lock.
 * @returns What was unmounted; nothing when nothing was mounted.
 * @throws {InvalidValueError} If the pod is no absolute path or the app no name.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If another user could change the pod, something else is mounted on a rootfs, or a
 * whole pod is asked for and no line names a mount in it; nothing was touched.
 * @throws {UnmountError} If a rootfs is in use; the others are unmounted.
 * @throws {OverlayError} If there is no such pod or app.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay, unmountOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const options = ["userxattr"];
 * await renderOverlay({ lower: `${dir}/image`, pod: `${dir}/pod`, app: "web", options });
 *
 * const { unmounted } = await unmountOverlay({ pod: `${dir}/pod` });
 * assert(unmounted[0]?.app === "web");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function unmountOverlay(
  request: UnmountRequest,
  options: ChangeOptions = {},
): Promise<Unmounted> {
  const pod = podLayout(request.pod);
  const apps = namesOf(request);
  checkPermissions("unmount", unmountPermissions(pod.pod));
  const trusted: Trusted = new Set();
  if (await checkTrusted(pod, options, trusted) === null) throw noPodError(pod.pod);
  // A pod without a file has no apps, and gets no lock file for being asked.
  if (await isEmpty(pod, request, options)) return unmountNothing(pod, apps);
  using open = await openPod(pod, options, trusted);
  if (open === null) throw noPodError(pod.pod);
  const { record } = open;
  const lines = chosen(record, pod, apps);
  checkPermissions("unmount", linePermissions(lines, pod));
  refuseElsewhere(record.lines, pod);
  const unmounted = await unmountLines(lines, {
    record,
    pod,
    lazy: request.lazy ?? false,
    unnamed: apps !== null ? "leave" : request.foreign ? "unmount" : "refuse",
    options,
  });
  const { pod: path } = pod;
  if (!request.foreign) return { pod: path, unmounted: unmounted.apps };
  return { pod: path, unmounted: unmounted.apps, foreign: unmounted.foreign };
}

/** Tells whether nothing is recorded; then nothing may be mounted that would have to be. */
async function isEmpty(
  pod: PodLayout,
  { app, foreign }: UnmountRequest,
  options: ChangeOptions,
): Promise<boolean> {
  if (readRecord(pod.fstab).lines.length > 0) return false;
  if (app !== undefined) return true;
  const unnamed = new PodMounts(pod, await mountTable(programOptions(options))).unnamed([]);
  // Where there is a lock file, a render may have written its lines meanwhile: they are read again.
  if (!foreign && look(pod.lock) === null) refuseUnnamed(unnamed, pod);
  return unnamed.length === 0;
}

function namesOf({ app, lazy, foreign }: UnmountRequest): readonly string[] | null {
  if (foreign && (lazy || app !== undefined)) {
    const message = `Cannot use --foreign with ${lazy ? "--lazy" : "--app"}`;
    const hint = lazy
      ? "nothing would remember what is in use still; unmount it in order"
      : "leave out --app: all of the pod is unmounted";
    throw new InvalidValueError("usage", message, { hint });
  }
  if (app === undefined) return null;
  return (typeof app === "string" ? [app] : app).map(parseAppName);
}

function unmountNothing(pod: PodLayout, apps: readonly string[] | null): Unmounted {
  const [app] = apps ?? [];
  if (app !== undefined) throw noAppError(app, [], pod);
  return { pod: pod.pod, unmounted: [] };
}

function noAppError(app: string, lines: readonly AppLine[], pod: PodLayout): OverlayError {
  const names = lines.map((line) => appWords(line.app)).join(", ") || "no apps";
  return new OverlayError("missing", `Cannot find ${appWords(app)} in pod ${quote(pod.pod)}`, {
    path: pod.pod,
    hint: `the pod has ${names}`,
  });
}

function chosen(
  record: PodRecord,
  pod: PodLayout,
  apps: readonly string[] | null,
): readonly AppLine[] {
  if (apps === null) return record.lines;
  const byApp = new Map(record.lines.map((line) => [line.app, line]));
  return [...new Set(apps)].map((app) => {
    const line = byApp.get(app);
    if (line === undefined) throw noAppError(app, record.lines, pod);
    return line;
  });
}

/** What is known of a pod when its apps are unmounted. The pod is locked. */
export interface PodUnmounting {
  /** What `overlay.fstab` says. */
  readonly record: PodRecord;
  /** The pod. */
  readonly pod: PodLayout;
  /** Whether what is in use is unmounted lazily. */
  readonly lazy: boolean;
  /** The treatment of mounts that no line names. @default {"leave"} */
  readonly unnamed?: "leave" | "refuse" | "unmount";
  /** Set when the lines stay as they are, since the pod is collected. */
  readonly unrecorded?: true;
  /** Who is told what happens. */
  readonly options: ChangeOptions;
}

/** The mounts that are gone, in the order of unmounting. */
export interface Gone {
  /** The apps. */
  readonly apps: Unmounted["unmounted"];
  /** The mount points that no line names. */
  readonly foreign: readonly string[];
}

/**
 * Unmounts lines of a pod that is locked.
 *
 * @returns The mounts that are gone.
 * @throws {UnmountError} If one is in use; the others are unmounted.
 */
export async function unmountLines(
  lines: readonly AppLine[],
  unmounting: PodUnmounting,
): Promise<Gone> {
  const { record, pod, lazy, unnamed = "leave", options } = unmounting;
  const programs = programOptions(options);
  const mounts = new PodMounts(pod, await mountTable(programs));
  const others = unnamed === "leave" ? [] : mounts.unnamed(record.lines);
  if (unnamed === "refuse") refuseUnnamed(others, pod);
  const mounted = mountedOf(lines, mounts);
  const idle = unmounting.unrecorded ? [] : without(lines, mounted);
  if (mounted.length + others.length === 0) {
    rest({ idle, gone: [], lazy }, record, pod);
    return { apps: [], foreign: [] };
  }
  if (lazy) {
    refuseTakingAway(mounted, mounts);
    // Before it is so: when this ends in between, the app may be in use and nobody would know.
    write(withLines(record.entries, mounted.map((line) => ({ ...line, lazy: true }))), pod);
  }
  const targets = deepestFirst([
    ...others.map(({ target }) => target).reverse(),
    ...mounted.map((line) => mounts.targetOf(line.rootfs) ?? line.rootfs),
  ]);
  const result = await unmountAll(targets, programs, lazy);
  options.checkpoint?.("unmounted");
  const after = new PodMounts(pod, result.status === 0 ? [] : await mountTable(programs));
  const left = mounted.filter((line) => after.stateOf(line) === "mounted");
  const gone = without(mounted, left);
  // Of what may be in use still nobody knows whether it ends in order.
  if (!lazy) clearVolatile(gone, pod);
  options.checkpoint?.("volatile");
  if (!unmounting.unrecorded) rest({ idle, gone, lazy }, record, pod);
  options.checkpoint?.("record");
  const kept = others.length === 0 ? [] : after.unnamed(record.lines);
  const busy = [...left, ...kept.map(({ target }) => ({ rootfs: target }))];
  if (busy.length > 0) throw await busyError(busy, { gone, mounts: after, pod, result, programs });
  const apps = gone.map(({ app, rootfs }) => ({ app, rootfs }));
  return { apps, foreign: targets.filter((at) => others.some(({ target }) => target === at)) };
}

function deepestFirst(targets: readonly string[]): readonly string[] {
  const depth = (path: string) => path.split("/").length;
  return targets.toSorted((a, b) => depth(b) - depth(a));
}

/** Backwards and deepest first: lines are in the order of mounting, but a destination can change. */
function mountedOf(lines: readonly AppLine[], mounts: PodMounts): readonly AppLine[] {
  const states = lines.map((line) => ({ line, state: mounts.stateOf(line) }));
  for (const { line, state } of states) refuseForeign("unmount", line, state);
  const depth = (line: AppLine) => line.rootfs.split("/").length;
  return states.filter(({ state }) => state === "mounted").map(({ line }) => line)
    .reverse().sort((a, b) => depth(b) - depth(a));
}

/** A mount that is taken away lazily takes with it what is mounted in it, asked for or not. */
function refuseTakingAway(mounted: readonly AppLine[], mounts: PodMounts): void {
  const targets = new Set(mounted.map((line) => mounts.targetOf(line.rootfs)));
  for (const line of mounted) {
    const target = mounts.targetOf(line.rootfs);
    const inside = mounts.table.find((mount) => {
      return target !== null && mount.target.startsWith(`${target}/`) && !targets.has(mount.target);
    });
    if (inside === undefined) continue;
    throw new RefusedError(
      "busy",
      `Cannot unmount ${quote(line.rootfs)}: ${quote(inside.target)} is mounted in it`,
      { path: line.rootfs, hint: `unmount that one first: ${quote(inside.target)}` },
    );
  }
}

function without(lines: readonly AppLine[], others: readonly AppLine[]): readonly AppLine[] {
  const left = new Set(others);
  return lines.filter((line) => !left.has(line));
}

/** Notes that apps are not to be mounted with the others any more. */
function rest(
  lines: { readonly idle: readonly AppLine[]; gone: readonly AppLine[]; readonly lazy: boolean },
  record: PodRecord,
  pod: PodLayout,
): void {
  const { idle, gone, lazy } = lines;
  const marked = gone.filter((line) => line.auto || lazy).map((line) => {
    return { ...line, auto: false, ...(lazy ? { lazy: true as const } : {}) };
  });
  const changed = [
    ...idle.filter((line) => line.auto).map((line) => ({ ...line, auto: false })),
    ...marked,
  ];
  if (changed.length === 0 && !lazy) return;
  write(withLines(record.entries, changed), pod);
}

function write(entries: readonly FstabEntry[], pod: PodLayout): void {
  try {
    replaceFile(pod.fstab, new TextEncoder().encode(formatFstab(entries)), FSTAB_MODE);
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    const hint = "what could be unmounted is, but mount --all would mount it again: " +
      `${error.hint ?? "see to that file"}, and run this again`;
    throw error.with({ path: pod.fstab, hint });
  }
}

/**
 * Takes away the mark by which the kernel refuses a volatile upper after a crash: this one was
 * unmounted in order (kernel, Documentation/filesystems/overlayfs.rst, "Volatile mount").
 */
function clearVolatile(lines: readonly AppLine[], pod: PodLayout): void {
  for (const line of lines) {
    const { work, options } = configOfLine(line, pod.pod);
    if (work === null || !options.includes("volatile")) continue;
    const mark = volatileMark(work);
    if (look(mark) !== null) {
      attempt("remove", mark, () => Deno.removeSync(mark, { recursive: true }));
    }
  }
}
