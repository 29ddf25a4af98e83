/**
 * The look at a pod before anything is changed in it: what it has recorded, what is mounted, and
 * whether the render may go on.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import type { Application } from "./application.ts";
import { look, readOwnFile } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import { withLine } from "./fstab.ts";
import { checkPermissions } from "./grants.ts";
import { checkAbove, checkGuarded } from "./guard.ts";
import { isWithin } from "./path.ts";
import { volatileMark } from "./layout.ts";
import { mountOptions, splitOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import type { Mount } from "./mount_table.ts";
import { mountLine } from "./mounting.ts";
import { linePermissions, mountState, readRecord, realRootfs } from "./pod_state.ts";
import { quote } from "./quote.ts";
import {
  appWords,
  refuseElsewhere,
  refuseForeign,
  refuseHiding,
  refuseLiveUpper,
  refuseOtherMount,
  refuseOtherPaths,
  refuseSameRootfs,
  refuseSharedUpper,
  refuseVolatile,
} from "./refusals.ts";

/**
 * Looks at what the pod holds. Afterwards the run knows its lines, whether the app is mounted already,
 * and whether labels are set; and what its destination lies in is mounted.
 *
 * @throws {RefusedError} If the pod holds something that must not be touched.
 */
export async function inspect(run: Application): Promise<void> {
  const { entries, lines } = readRecord(run.pod.fstab);
  run.entries = entries;
  run.recorded = lines.some((line) => line.app === run.line.app);
  checkPermissions("look at the pod", linePermissions(lines, run.pod));
  refuseElsewhere(lines, run.pod);
  await decideLabel(run);
  await checkLines(lines, run);
  if (run.live) return;
  await mountBelow(lines, run);
  const { dest } = run.plan.mount;
  // Outside the pod, what is above a destination matters as much as what is above a pod.
  if (!isWithin(dest, run.pod.pod)) checkAbove(dest, run.owner);
  for (const next of run.plan.operations) {
    if (next.kind === "directory") checkGuarded(next, run.owner);
    if (next.kind === "manifest") readOwnFile(next.path);
  }
}

/** Without SELinux a label means nothing, and is left out; rkt's label library does the same. */
async function decideLabel(run: Application): Promise<void> {
  const { label } = run.plan.mount;
  if (label === null) return;
  const { selinuxEnabled } = await import("./label.ts");
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
    // Where this run made the pod's directory and another one mounted the app in it, nothing changed.
    run.changed = false;
    run.line = { ...line, auto: line.auto || old.auto };
    return;
  }
  const state = mountState(line, pod, table);
  // Mounted as asked for, but not recorded: not by us.
  refuseForeign("mount", line, state === "mounted" ? "foreign" : state);
  const absolute = { ...line, options: mountOptions(configOfLine(line, pod.pod)) };
  refuseLiveUpper(table, absolute, realRootfs(line.rootfs, pod));
  refuseSameRootfs(lines, line);
  refuseHiding(lines, line, lines.filter((other) => mountState(other, pod, table) === "mounted"));
  const { work } = run.plan.mount;
  // Who may not mount may not look into what the kernel keeps in a work either.
  if (run.mounts && work !== null) {
    refuseVolatile(line, volatileMark(work), look(volatileMark(work)) !== null);
  }
}

/** Mounts what the destination lies in: an app's directories are made in the pod's own image. */
async function mountBelow(lines: readonly AppLine[], run: Application): Promise<void> {
  const { rootfs } = run.line;
  const below = lines.filter((other) => other.rootfs !== rootfs && isWithin(rootfs, other.rootfs));
  if (below.length === 0) return;
  const table = await mountTable(run.programs);
  for (const line of below) {
    const state = mountState(line, run.pod, table);
    refuseForeign("mount", line, state);
    if (state === "mounted") continue;
    if (!run.mounts) throw notMountedError(line, run);
    await mountLine(line, run);
    run.entries = withLine(run.entries, { ...line, auto: true });
  }
}

function notMountedError(line: AppLine, run: Application): OverlayError {
  return new OverlayError(
    "failed",
    `Cannot prepare ${appWords(run.line.app)} in ${quote(run.line.rootfs)}: ` +
      `${appWords(line.app)}, which it lies in, is not mounted`,
    { path: line.rootfs, hint: "render that one first" },
  );
}
