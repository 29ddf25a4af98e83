/**
 * Inspects a pod before anything is changed in it: its record, its mounts, and whether the render may
 * continue.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { ApplyRun, AppRun } from "./apply_run.ts";
import { attempt, identifyLowers, look } from "../system/disk.ts";
import { readOwnFile } from "../system/own_file.ts";
import { OverlayError } from "../core/errors.ts";
import { forEachApp, podError } from "../core/pod_error.ts";
import type { AppFailure } from "../core/pod_error.ts";
import { appLines, withLines } from "../overlay/fstab.ts";
import { checkPermissions } from "../system/permissions.ts";
import { FactsCache } from "../preflight/disk_facts.ts";
import { checkFile, checkGuarded, checkWay } from "../system/trust.ts";
import { checkRecordedLine, LineJudge } from "../pod/judge.ts";
import { splitOptions } from "../overlay/mount_config.ts";
import { mountTable } from "../system/mount_table.ts";
import type { Mount } from "../system/mount_table.ts";
import { mountLines } from "./apply_mount.ts";
import { imagesAround, linesWithin } from "../overlay/overlaps.ts";
import { isWithin, parent, upwards } from "../core/path.ts";
import { PodMounts } from "../pod/mounts.ts";
import { linePermissions, readRecord } from "../pod/record.ts";
import { appWords, quote } from "../core/quote.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import {
  refuseOtherMount,
  refuseOtherPaths,
  refuseReplacedLower,
  replacedLower,
} from "../plan/render_refusals.ts";

/**
 * Inspects the pod. Afterwards the run knows its lines, which apps are mounted, and whether labels are
 * set.
 *
 * @throws {RefusedError} If the pod holds an app or a mount that must not be touched.
 * @throws {PodError} If it does so for one or more of many apps.
 */
export async function inspect(run: ApplyRun): Promise<void> {
  removeRests(run);
  checkFile(run.pod.fstab);
  const { entries, lines } = readRecord(run.pod.fstab);
  run.entries = entries;
  const recorded = new Set(lines.map(({ app }) => app));
  for (const app of run.apps) app.recorded = recorded.has(app.line.app);
  checkPermissions("look at the pod", linePermissions(lines, run.pod));
  refuseElsewhere(lines, run.pod);
  await decideLabels(run);
  await checkUsers(lines, run);
  await checkApps(lines, run);
}

/** Prepares the destinations: mounts the images that they lie in, and checks the directories above them. */
export async function makeWay(run: ApplyRun): Promise<void> {
  await mountBelow(appLines(run.entries), run);
  checkWays(run);
}

/** Removes the files of a run that was killed while it wrote or mounted. */
function removeRests(run: ApplyRun): void {
  for (const rest of [run.pod.batch, `${run.pod.fstab}.new`]) {
    if (look(rest)?.isFile) attempt("remove", rest, () => Deno.removeSync(rest));
  }
}

/**
 * An upper that was unmounted lazily may be part of a mount that the mount table does not show. So may an
 * image in a container: a process in it could replace the directories that lead to an app in it.
 */
async function checkUsers(lines: readonly AppLine[], run: ApplyRun): Promise<void> {
  const lazy = lines.filter((line) => line.lazy);
  const images = run.mounts ? imagesAround(run.apps.map(({ line }) => line), lines) : [];
  if (lazy.length + images.length === 0) return;
  const byApp = new Map(lazy.map((line) => [line.app, line]));
  if (!run.mounts) {
    // An app that is only prepared may still be in use.
    for (const app of run.apps) if (byApp.has(app.line.app)) app.line = { ...app.line, lazy: true };
    return;
  }
  const { refuseInUse } = await import("../pod/in_use.ts");
  // A run that was killed may have recorded an unmount before doing it.
  const mounts = new PodMounts(run.pod, await mountTable(run.programs));
  const own = lazy.filter((line) => {
    return mounts.stateOf(line) !== "mounted" && run.apps.some(({ line: { app } }) => {
      return app === line.app;
    });
  });
  // Any other mount there is reported later.
  const free = images.filter((line) => mounts.stateOf(line) === "unmounted");
  await refuseInUse("render", [...new Set([...own, ...free])], run);
}

/** Without SELinux a label has no effect and is left out, as in rkt's label library. */
async function decideLabels(run: ApplyRun): Promise<void> {
  const labels = new Set(run.apps.flatMap(({ mount }) => mount.label ?? []));
  if (labels.size === 0) return;
  const { selinuxEnabled } = await import("../system/selinux.ts");
  const ask = run.options.selinux ?? (() => selinuxEnabled(run.programs));
  run.labels = await ask();
  if (run.labels) return;
  for (const label of labels) {
    run.options.warn?.(`label ${quote(label)} is left out: SELinux is not enabled`);
  }
  for (const app of run.apps) app.line = withoutLabel(app.line);
}

function withoutLabel(line: AppLine): AppLine {
  const parts = splitOptions(line.options).filter((part) => !part.startsWith("context="));
  return { ...line, options: parts.join(",") };
}

/**
 * The mount table is read only where something can be mounted: a rootfs and an upper that are not
 * there yet have no mounts, and reading it costs as much as the mount itself.
 */
async function tableFor(
  lines: readonly AppLine[],
  run: ApplyRun,
): Promise<readonly Mount[]> {
  const images = new Set(lines.map(({ rootfs }) => rootfs));
  const there = run.apps.some(({ mount: { dest } }) => {
    return !isWithin(dest, run.pod.pod) || upwards(dest).some((at) => images.has(at));
  }) ||
    run.apps.some(({ mount: { rootfs, upper } }) => {
      return look(rootfs) !== null || (upper !== null && look(upper) !== null);
    });
  return there ? await mountTable(run.programs) : [];
}

/** The facts about a pod by which its apps are checked. */
interface Known {
  readonly run: ApplyRun;
  readonly mounts: PodMounts;
  readonly judge: LineJudge;
  /** The first line that each app has. */
  readonly old: ReadonlyMap<string, AppLine>;
}

async function checkApps(lines: readonly AppLine[], run: ApplyRun): Promise<void> {
  const asked = run.apps.map(({ line }) => line);
  const mounts = new PodMounts(run.pod, await tableFor(lines, run));
  const judge = new LineJudge({ pod: run.pod, mounts, recorded: lines, asked });
  const old = new Map(lines.toReversed().map((line) => [line.app, line]));
  forEachApp(run.apps, (app) => checkApp(app, { run, mounts, judge, old }));
  // Where this run made the pod's directory and another one mounted the apps in it, nothing changed.
  if (run.live) run.changed = false;
}

function checkApp(app: AppRun, known: Known): void {
  const { run, mounts, judge } = known;
  const { line } = app;
  const old = known.old.get(line.app);
  if (old !== undefined) refuseOtherPaths(old, line, run.pod);
  judge.checkUpper(line);
  const lowerIds = run.mounts ? identifyLowers(line, app.mount.lower) : undefined;
  if (old !== undefined && mounts.stateOf(old) === "mounted") {
    // A label that was recorded with SELinux is left out of both.
    const isLeftOut = app.mount.label !== null && !run.labels;
    refuseOtherMount(isLeftOut ? withoutLabel(old) : old, line, run.pod);
    refuseReplacedLower(old, lowerIds, run.pod);
    app.live = true;
    app.line = keepIds({ ...line, auto: line.auto || old.auto }, old);
    return;
  }
  const isCopied = line.copy && old?.copy && mounts.stateOf(line) === "unmounted";
  if (isCopied && look(line.rootfs)?.isDirectory) {
    app.live = true;
    return;
  }
  judge.check(line, { mounts: run.mounts, live: app.mount.live === true });
  app.line = keepIds(line, lowerIds === undefined ? old : { lowerIds });
  if (old !== undefined && lowerIds !== undefined) warnReplaced(old, lowerIds, run);
}

function keepIds(line: AppLine, { lowerIds }: Pick<AppLine, "lowerIds"> = {}): AppLine {
  return lowerIds === undefined ? line : { ...line, lowerIds };
}

/** An upper belongs to the lower over which it was written, which nobody can compare with the new one. */
function warnReplaced(old: AppLine, now: string, { pod, options }: ApplyRun): void {
  if (old.lowerIds === undefined || old.lowerIds === now) return;
  const lower = quote(replacedLower(old, now, pod));
  options.warn?.(
    `lower ${lower} of ${
      appWords(old.app)
    } was replaced by another directory since it was mounted last`,
  );
}

/**
 * Mounts the images that destinations lie in and that this call does not render: an app's directories are
 * made in the pod's own image.
 */
async function mountBelow(lines: readonly AppLine[], run: ApplyRun): Promise<void> {
  const own = new Set(run.apps.map(({ line }) => line.app));
  const open = run.apps.filter(({ live }) => !live).map(({ line }) => line);
  const others = lines.filter(({ app }) => !own.has(app));
  const within = linesWithin(open, new Set(others.map(({ rootfs }) => rootfs)));
  const below = others.filter(({ rootfs }) => within.has(rootfs));
  if (below.length === 0) return;
  const { pod, options } = run;
  for (const { rootfs } of below) checkWay(rootfs, pod.pod);
  const mounts = new PodMounts(pod, await mountTable(run.programs));
  const judge = new LineJudge({ pod, mounts, recorded: lines, asked: below });
  const judging = { pod, judge, idle: below, cache: new FactsCache(), options };
  for (const line of below) {
    const state = mounts.stateOf(line);
    // A copy has no mount.
    if (state === "mounted" || line.copy) continue;
    if (state === "unmounted" && !run.mounts) throw notMountedError(line, open);
    await checkRecordedLine(line, judging);
    await mountLines([line], run);
    run.entries = withLines(run.entries, [{ ...line, auto: true }]);
  }
}

function notMountedError(line: AppLine, open: readonly AppLine[]): OverlayError {
  const app = open.find(({ rootfs }) => isWithin(rootfs, line.rootfs)) ?? line;
  return new OverlayError(
    "failed",
    `Cannot prepare ${appWords(app.app)} in ${quote(app.rootfs)}: ` +
      `${appWords(line.app)}, which it lies in, is not mounted`,
    { path: line.rootfs, hint: "render that one first" },
  );
}

/** Checks every path that the run will use or make, and the directories above it. */
function checkWays(run: ApplyRun): void {
  const missing = new Set<string>();
  const failures = new Map<string, AppFailure>();
  for (const next of run.plan.operations) {
    // Nothing is in a directory that is not there.
    if (missing.has(parent(next.path))) {
      if (next.kind === "directory") missing.add(next.path);
      continue;
    }
    try {
      if (next.kind === "manifest") readOwnFile(next.path);
      if (next.kind === "directory" && !checkGuarded(next)) missing.add(next.path);
    } catch (error) {
      const app = run.appOf(next.path)?.line.app;
      if (!(error instanceof OverlayError) || app === undefined || run.apps.length === 1) {
        throw error;
      }
      if (!failures.has(app)) failures.set(app, { app, error });
    }
  }
  if (failures.size > 0) throw podError("render", [...failures.values()]);
}
