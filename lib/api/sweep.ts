/**
 * Removing a pod that was put aside, the second pass of gc.
 *
 * @module
 */
import { configOfLine } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { busyError } from "../pod/unmount_error.ts";
import { attempt, entriesIn, errnoOfCause, look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { originsOf } from "./garbage.ts";
import { isGranted } from "../system/permissions.ts";
import { checkAbove } from "../system/trust.ts";
import { refuseKept } from "./keep.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { refuseLocked, refuseMounts, refuseNoPod } from "./set_aside.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import { mountTable } from "../system/mount_table.ts";
import type { Mount } from "../system/mount_table.ts";
import { unmountAll } from "../pod/mounting.ts";
import { Call, checkTrusted, openPod } from "../pod/open.ts";
import { child, parent } from "../core/path.ts";
import { PodMounts } from "../pod/mounts.ts";
import { readRecord } from "../pod/record.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { removePod } from "../pod/removal.ts";
import { removeIfEmpty } from "../system/directory.ts";

/** How a pod is removed. */
export interface Sweeping {
  /** Whether it is only said what would be done. */
  readonly dryRun: boolean;
  /** Who is told what happens. */
  readonly options: ChangeOptions;
  /** The call, if it has opened other pods before. */
  readonly call?: Call;
}

/**
 * Unmounts what is mounted of a pod that was put aside, and removes it.
 *
 * @returns Whether it is gone by this call.
 * @throws {RefusedError} If a command works on it, or something else is mounted in it; nothing was touched.
 * @throws {UnmountError} If an app of it is in use.
 */
export async function sweepPod(pod: PodLayout, sweeping: Sweeping): Promise<boolean> {
  const { dryRun, options, call = new Call(options) } = sweeping;
  // Whoever named a directory so may keep other things in it.
  refuseNoPod(pod);
  if (dryRun) {
    // It may be one that would be put aside first.
    if (await checkTrusted(pod, call) === null) return true;
    refuseLocked(pod);
    await checkSweep(pod, options);
    return true;
  }
  using open = await openPod(pod, call);
  if (open === null) return false;
  const { lines, own } = await checkSweep(pod, options);
  await unmountOwn(pod, own, options);
  refuseMounts(pod, new PodMounts(pod, await mountTable(programOptions(options))));
  options.signal?.throwIfAborted();
  open.check();
  await removeDestinations(pod, lines, options);
  return await removePod(pod, options);
}

/** The mounts of the pod moved with it, so they are told by the uppers that its lines name, not by their places. */
async function checkSweep(
  pod: PodLayout,
  options: ChangeOptions,
): Promise<{ readonly lines: readonly AppLine[]; readonly own: readonly Mount[] }> {
  refuseKept(pod);
  const { lines } = readRecord(pod.fstab);
  const uppers = new Set(lines.map((line) => configOfLine(line, pod.pod).upper));
  const mounts = new PodMounts(pod, await mountTable(programOptions(options)));
  const own = mounts.inPod().filter(({ fstype, options }) => {
    const { upper } = parseMountOptions(options);
    return fstype === "overlay" && upper !== null && uppers.has(upper);
  });
  refuseMounts(pod, mounts, new Set(own.map(({ target }) => target)));
  return { lines, own };
}

async function unmountOwn(
  pod: PodLayout,
  own: readonly Mount[],
  options: ChangeOptions,
): Promise<void> {
  if (own.length === 0) return;
  const programs = programOptions(options);
  const result = await unmountAll(own.map(({ target }) => target).reverse(), programs);
  if (result.status === 0) return;
  const mounts = new PodMounts(pod, await mountTable(programs));
  const targets = new Set(mounts.inPod().map(({ target }) => target));
  const left = own.filter(({ target }) => targets.has(target));
  throw await busyError(left.map(({ target }) => ({ rootfs: target })), {
    gone: [],
    mounts,
    pod,
    result,
    programs,
  });
}

/**
 * Removes the destinations outside a pod that a render made, unless they hold something by now, or are those
 * of a pod that was rendered in the place of this one.
 */
async function removeDestinations(
  pod: PodLayout,
  lines: readonly AppLine[],
  options: ChangeOptions,
): Promise<void> {
  for (const { rootfs, made } of lines) {
    if (made === undefined) continue;
    const dest = parent(rootfs);
    try {
      if (!isGranted({ name: "write", path: dest })) {
        throw notEmpty(dest, "it may not be written to");
      }
      if (isUsedAgain(rootfs, pod)) continue;
      await checkAbove([rootfs], programOptions(options));
      removeEmpty(rootfs);
      if (made === "destination") removeDestination(dest);
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
      const hint = error.hint ?? `to remove it by hand: rm -r ${shellQuote(dest)}`;
      options.warn?.(`${error.message}; ${hint}`);
    }
  }
}

/** Tells whether a pod that has the name of one that is aside has a line with this rootfs. */
function isUsedAgain(rootfs: string, pod: PodLayout): boolean {
  return originsOf(pod.pod).some((origin) => {
    return readRecord(podLayout(origin).fstab).lines.some((line) => line.rootfs === rootfs);
  });
}

/** A destination that a render made; the manifest in it is the render's, too. */
function removeDestination(dest: string): void {
  const names = look(dest)?.isDirectory ? entriesIn(dest) : [];
  const [first, ...more] = names;
  if (first?.name === "manifest" && first.isFile && more.length === 0) {
    const manifest = child(dest, "manifest");
    attempt("remove", manifest, () => Deno.removeSync(manifest));
  }
  removeEmpty(dest);
}

function removeEmpty(path: string): void {
  try {
    if (!removeIfEmpty(path)) throw notEmpty(path, "something is in it");
  } catch (error) {
    if (errnoOfCause(error) !== "EBUSY") throw error;
    throw notEmpty(
      path,
      "something is mounted on it",
      `see what, with findmnt ${shellQuote(path)}`,
    );
  }
}

function notEmpty(path: string, reason: string, hint?: string): OverlayError {
  return new OverlayError("failed", `destination ${quote(path)} stays: ${reason}`, { path, hint });
}
