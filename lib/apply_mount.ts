/**
 * The operations that concern what is mounted: the lock with the look at the pod's state, labels, and
 * the mount itself.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import type { Application } from "./application.ts";
import { operationOf } from "./application.ts";
import { applyDirectory } from "./apply_disk.ts";
import { look, lookForDirectory, readOwnFile } from "./disk.ts";
import { errno, OverlayError } from "./errors.ts";
import { selinuxEnabled, setLabel } from "./label.ts";
import { isWithin } from "./layout.ts";
import { lockPod } from "./lock.ts";
import type { PodLock } from "./lock.ts";
import { splitOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import type { Mount } from "./mount_table.ts";
import { isMounted, mountAll, mountError, mountOne, saidOf, unmountAll } from "./mounting.ts";
import type { LabelOperation, LockOperation, MountOperation } from "./operation.ts";
import { mountState, readRecord, realRootfs } from "./pod_state.ts";
import { printable, quote } from "./quote.ts";
import {
  appWords,
  refuseForeign,
  refuseHiding,
  refuseLiveUpper,
  refuseOtherMount,
  refuseOtherPaths,
  refuseSharedUpper,
} from "./refusals.ts";

/** Locks the pod, looks at what it holds, and refuses what must not be done to it. */
export async function applyLock(operation: LockOperation, run: Application): Promise<void> {
  const lock = await acquire(operation, run);
  run.lock = lock;
  if (lock.made) run.journal.add(`remove ${quote(lock.path)}`, () => Deno.removeSync(lock.path));
  const { entries, lines } = readRecord(run.pod.fstab);
  run.entries = entries;
  await dropLabelWithoutSelinux(run);
  await checkLines(lines, run);
  if (run.live) return;
  await mountBelow(lines, run);
  for (const next of run.plan.operations) {
    if (next.kind === "directory") lookForDirectory(next.path);
    if (next.kind === "manifest") readOwnFile(next.path);
  }
}

/** Another run that failed may have taken back the pod itself while we waited for its lock. */
async function acquire(operation: LockOperation, run: Application): Promise<PodLock> {
  for (let attempts = 0;; attempts++) {
    try {
      return await lockPod(operation.path, run.options);
    } catch (error) {
      const gone = error instanceof OverlayError && errno(error.cause) === "ENOENT";
      if (!gone || attempts > 100) throw error;
      applyDirectory(operationOf(run.plan, "directory"), run);
    }
  }
}

/** Without SELinux a label means nothing; said once, as the label library of rkt keeps silent. */
async function dropLabelWithoutSelinux(run: Application): Promise<void> {
  const { label } = run.plan.mount;
  if (label === null) return;
  const ask = run.options.selinux ?? (() => selinuxEnabled(run.programs));
  run.labels = await ask();
  if (run.labels) return;
  run.options.warn?.(`label ${quote(label)} is left out: SELinux is not enabled`);
  const options = splitOptions(run.line.options).filter((part) => !part.startsWith("context="));
  run.line = { ...run.line, options: options.join(",") };
}

/**
 * The mount table is read only where something can be mounted: a rootfs and an upper that are not
 * there yet have no mounts, and reading it costs as much as the mount itself.
 */
async function tableFor(run: Application): Promise<readonly Mount[]> {
  const { rootfs, upper } = run.plan.mount;
  const there = look(rootfs) !== null || (upper !== null && look(upper) !== null);
  return there ? await mountTable(run.programs) : [];
}

async function checkLines(lines: readonly AppLine[], run: Application): Promise<void> {
  const { line, pod } = run;
  const old = lines.find((other) => other.app === line.app);
  if (old !== undefined) refuseOtherPaths(old, line, pod);
  refuseSharedUpper(lines, line, pod);
  const table = await tableFor(run);
  if (old !== undefined && mountState(old, pod, table) === "mounted") {
    refuseOtherMount(old, line, pod);
    run.live = true;
    run.line = { ...line, auto: line.auto || old.auto };
    return;
  }
  const state = mountState(line, pod, table);
  // Mounted as asked for, but not recorded: not by us.
  refuseForeign(line, state === "mounted" ? "foreign" : state);
  refuseLiveUpper(table, line, realRootfs(line.rootfs, pod));
  refuseHiding(lines, line);
}

/** Mounts what the destination lies in: an app's directories are made in the pod's own image. */
async function mountBelow(lines: readonly AppLine[], run: Application): Promise<void> {
  const { rootfs } = run.line;
  const below = lines.filter((other) => other.rootfs !== rootfs && isWithin(rootfs, other.rootfs));
  if (below.length === 0) return;
  const table = await mountTable(run.programs);
  for (const line of below) {
    const state = mountState(line, run.pod, table);
    refuseForeign(line, state);
    if (state === "mounted") continue;
    if (operationMounts(run)) await mountBelowOne(line, run);
    else throw notMountedError(line, run);
  }
}

function operationMounts(run: Application): boolean {
  return run.plan.operations.some((operation) => operation.kind === "mount");
}

function notMountedError(line: AppLine, run: Application): OverlayError {
  return new OverlayError(
    "failed",
    `Cannot prepare ${appWords(run.line.app)} in ${quote(run.line.rootfs)}: ` +
      `${appWords(line.app)}, which it lies in, is not mounted`,
    { path: line.rootfs, hint: "render that one first" },
  );
}

async function mountBelowOne(line: AppLine, run: Application): Promise<void> {
  const result = await mountOne(run.pod.fstab, line.rootfs, run.programs);
  if (!isMounted(line)) throw mountError(line, result);
  noteMount(line.rootfs, run);
}

function noteMount(rootfs: string, run: Application): void {
  run.changed = true;
  run.journal.addBarrier(`unmount ${quote(rootfs)}`, async () => {
    const result = await unmountAll([rootfs], run.programs);
    if (result.status !== 0) throw new Error(saidOf(result, rootfs));
  });
}

/** Sets the label of upper or work, where SELinux is enabled. */
export async function applyLabel(operation: LabelOperation, run: Application): Promise<void> {
  if (!run.labels) return;
  await setLabel(operation.path, operation.context, run.programs);
}

/**
 * Mounts. One process makes the kernel match the whole `overlay.fstab`; whether the rootfs is mounted
 * is seen, not believed.
 */
export async function applyMount(operation: MountOperation, run: Application): Promise<void> {
  const result = await mountAll(operation.fstab, run.programs);
  const mounted = isMounted(run.line);
  if (mounted) noteMount(operation.path, run);
  run.options.signal?.throwIfAborted();
  if (!mounted) throw mountError(run.line, result);
  if (result.status !== 0) warnOfOthers(result.stderr, run);
}

function warnOfOthers(stderr: string, run: Application): void {
  run.options.warn?.(`another app of the pod could not be mounted: ${printable(stderr)}`);
}
