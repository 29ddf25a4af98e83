/**
 * Putting a pod aside, the first pass of gc.
 *
 * @module
 */
import { configOfLine } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions, uninterrupted } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { makeDirectory } from "../system/directory.ts";
import {
  attempt,
  entriesIn,
  errno,
  failure,
  isDiskFull,
  isSame,
  look,
  reasonOf,
  typeOf,
} from "../system/disk.ts";
import { asFailure, OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions } from "../system/permissions.ts";
import { checkGuarded } from "../system/trust.ts";
import type { PodLayout } from "../request/layout.ts";
import { refuseInUse } from "../pod/in_use.ts";
import { refuseKept } from "./keep.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import { mountTable, peersOf } from "../system/mount_table.ts";
import { Call, checkTrusted, openPod } from "../pod/open.ts";
import type { OpenPod } from "../pod/open.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { PodMounts } from "../pod/mounts.ts";
import { linePermissions, readRecord } from "../pod/record.ts";
import type { PodRecord } from "../plan/snapshot.ts";
import { freeName, GARBAGE } from "../pod/list.ts";
import { appWords, quote, shellQuote } from "../core/quote.ts";
import { refuseElsewhere } from "../plan/refusals.ts";
import { removeAll } from "../system/remove.ts";
import type { ProgramOptions } from "../system/run.ts";
import { unmountOperations } from "../plan/plan_unmount.ts";
import { applyPlan } from "../apply/apply.ts";
import type { Plan } from "../plan/plan.ts";

/** How a pod is put aside. */
export interface Marking {
  /** Whether the pod was named: then its apps are unmounted first. */
  readonly named: boolean;
  /** Whether it is only said what would be done. */
  readonly dryRun: boolean;
  /** Refuses a pod by its record, such as one that is not due. */
  readonly check?: (record: PodRecord) => void;
  /** Who is told what happens. */
  readonly options: ChangeOptions;
  /** The call, if it has opened other pods before. */
  readonly call?: Call;
}

/**
 * Renames a pod to `<directory>/garbage/<name>`.
 *
 * Its lines keep their absolute paths, so that no other command takes it for a pod that can be used.
 *
 * @returns Where it is now; `null` when it is gone, as when another process has collected it.
 * @throws {RefusedError} If something holds it; nothing was touched.
 * @throws {UnmountError} If it was named and an app is in use.
 */
export async function setAsidePod(pod: PodLayout, marking: Marking): Promise<string | null> {
  const { options, dryRun, call = new Call(options) } = marking;
  if (await checkTrusted(pod, call) === null) return null;
  refuseNoPod(pod);
  checkGarbage(parent(pod.pod));
  if (dryRun) {
    refuseLocked(pod);
    await checkRecord(pod, readRecord(pod.fstab), marking);
    return freeName(child(parent(pod.pod), GARBAGE), pod.pod);
  }
  using open = await openPod(pod, call);
  if (open === null) return null;
  const info = look(pod.pod);
  const { record } = open;
  await checkRecord(pod, record, marking);
  open.check();
  if (marking.named) await stop(open, marking);
  open.check();
  await makeGarbage(pod, marking);
  const garbage = putAside(pod, info);
  options.checkpoint?.("marked");
  return garbage;
}

/** All that can be asked is asked before an app is stopped. */
async function checkRecord(
  pod: PodLayout,
  record: PodRecord,
  marking: Marking,
): Promise<void> {
  refuseKept(pod);
  checkPermissions("collect", linePermissions(record.lines, pod));
  refuseElsewhere(record.lines, pod);
  marking.check?.(record);
  await checkFree(pod, record, marking);
}

/**
 * Unmounts the apps of a pod. Their lines stay as they are: that takes no space on a disk that is full, and
 * a pod that is brought back can be restored.
 */
async function stop(open: OpenPod, { options }: Marking): Promise<void> {
  const { layout: pod, record } = open;
  const snapshot = await open.snapshot("collect");
  const operations = unmountOperations(snapshot, { lazy: false, foreign: false });
  if (operations.length === 0) return;
  const plan: Plan = { action: "collect", pod: pod.pod, operations, mounts: [] };
  await applyPlan(plan, { ...uninterrupted(options), open: [open] });
  try {
    await checkFree(pod, record, { named: false, stopped: true, dryRun: false, options });
  } catch (error) {
    throw asFailure(error);
  }
}

/**
 * Refuses a pod whose lock another process holds, and touches nothing.
 *
 * @throws {RefusedError} If it is so.
 */
export function refuseLocked({ lock }: PodLayout): void {
  const info = look(lock);
  if (info === null) return;
  if (!info.isFile) {
    throw new RefusedError("symlink", `Cannot lock ${quote(lock)}: it is ${typeOf(info)}`, {
      path: lock,
      hint: "a file must be there, or nothing",
    });
  }
  using file = attempt("lock", lock, () => Deno.openSync(lock));
  // Deno 2.4 can only wait without an end.
  const { tryLockSync } = file as Partial<Deno.FsFile>;
  if (tryLockSync === undefined || file.tryLockSync(true)) return;
  throw new RefusedError("locked", `Cannot lock ${quote(lock)}: another process holds it`, {
    path: lock,
    hint: "wait until it has finished, and run this again",
  });
}

/**
 * Refuses a directory that holds something and is no pod. It is looked at once: what tells a pod can come
 * and go between two looks.
 *
 * @throws {RefusedError} If it is so.
 */
export function refuseNoPod(pod: PodLayout): void {
  const entries = entriesIn(pod.pod);
  if (entries.length === 0 || entries.some((entry) => tellsPod(entry, pod))) return;
  const reason = "it holds neither overlay.fstab nor overlay.lock, and is no pod";
  throw new RefusedError("refused", `Cannot collect ${quote(pod.pod)}: ${reason}`, {
    path: pod.pod,
    hint: "check --pod; only pods are collected",
  });
}

function tellsPod({ name, isFile }: Deno.DirEntry, pod: PodLayout): boolean {
  return isFile && [pod.fstab, pod.lock].includes(child(pod.pod, name));
}

/** Refuses a pod in which anything is mounted, that is to be mounted again, or that holds a tree. */
async function checkFree(
  pod: PodLayout,
  { lines }: PodRecord,
  marking: Marking & { readonly stopped?: boolean },
): Promise<void> {
  const { options, named } = marking;
  const programs = programOptions(options);
  const mounts = new PodMounts(pod, await mountTable(programs));
  const mounted = lines.filter((line) => mounts.stateOf(line) === "mounted");
  const [first] = mounted;
  if (first !== undefined && !named) {
    const hint = "unmount it first: overlay-render unmount";
    throw inUse(pod, `${appWords(first.app)} is mounted`, hint);
  }
  const own = new Set(mounted.map((line) => mounts.targetOf(line.rootfs)));
  refuseMounts(pod, mounts, own);
  await refuseUsers(pod, mounts, { own, programs });
  if (!named && !marking.stopped) refuseWanted(pod, lines);
  refuseTree(pod, lines, mounts.realPod() ?? pod.pod);
  const idle = lines.filter((line) => !mounted.includes(line));
  await refuseInUse("collect", idle, { pod, programs, options });
}

/** Refuses a pod of which nothing tells whether it is used, or that is to be mounted again. */
function refuseWanted(pod: PodLayout, lines: readonly AppLine[]): void {
  const copied = lines.find((line) => line.copy);
  if (copied !== undefined) {
    const reason = `${appWords(copied.app)} is a copy, and nothing tells whether it is used`;
    throw inUse(pod, reason, "collect the pod by its name: overlay-render gc");
  }
  const automatic = lines.find((line) => line.auto);
  if (automatic === undefined) return;
  const reason = `${appWords(automatic.app)} was mounted when the machine or the command stopped`;
  throw inUse(pod, reason, "mount it again with overlay-render restore, or unmount it");
}

function inUse(pod: PodLayout, reason: string, hint: string): RefusedError {
  return new RefusedError("in-use", `Cannot collect pod ${quote(pod.pod)}: ${reason}`, {
    path: pod.pod,
    hint: `${hint} --pod ${shellQuote(pod.pod)}`,
  });
}

/**
 * Refuses a directory while anything is mounted in it.
 *
 * @param own The mount points of what may be mounted, since it will be unmounted.
 * @throws {RefusedError} If something is; it names the mount.
 */
export function refuseMounts(
  pod: PodLayout,
  mounts: PodMounts,
  own: ReadonlySet<string | null> = new Set(),
): void {
  const other = mounts.inPod().find(({ target }) => !own.has(target));
  if (other === undefined) return;
  throw new RefusedError(
    "foreign-mount",
    `Cannot collect pod ${quote(pod.pod)}: something else is mounted on ${quote(other.target)}`,
    { path: other.target, hint: `umount ${shellQuote(other.target)} if it may go` },
  );
}

/** Mounts elsewhere can be made of what is in the pod: an upper of it, as after a mount by hand, or a lower. */
async function refuseUsers(
  pod: PodLayout,
  mounts: PodMounts,
  known: { readonly own: ReadonlySet<string | null>; readonly programs: ProgramOptions },
): Promise<void> {
  const { own, programs } = known;
  const places = [pod.pod, mounts.realPod() ?? pod.pod];
  const users = mounts.table.filter(({ target, fstype, options }) => {
    if (fstype !== "overlay" || own.has(target)) return false;
    const { lower, upper, work } = parseMountOptions(options);
    return [...lower, upper, work].some((path) => {
      return path !== null && places.some((place) => isWithin(path, place));
    });
  });
  if (users.length === 0) return;
  const targets = new Set([...own].filter((target) => target !== null));
  const peers = targets.size === 0 ? targets : await peersOf(targets, programs);
  const user = users.find(({ target }) => !peers.has(target));
  if (user === undefined) return;
  throw inUse(
    pod,
    `the mount on ${quote(user.target)} is made of what is in it`,
    `umount ${shellQuote(user.target)} if it may go, and then: overlay-render gc`,
  );
}

/** A tree that lies in the pod would go with it, and other pods may be rendered from it. */
function refuseTree(pod: PodLayout, lines: readonly AppLine[], real: string): void {
  for (const line of lines) {
    const tree = configOfLine(line, pod.pod).lower.find((lower) => {
      return isWithin(lower, pod.pod) || isWithin(lower, real);
    });
    if (tree === undefined) continue;
    throw new RefusedError(
      "refused",
      `Cannot collect pod ${quote(pod.pod)}: the lower ${quote(tree)} lies in it`,
      { path: tree, hint: "move the tree out of the pod, or remove the pod by hand" },
    );
  }
}

/**
 * Refuses a directory for what is put aside that is a link, or that others can change.
 *
 * @throws {RefusedError} If it is so.
 * @throws {OverlayError} If it is no directory.
 */
export function checkGarbage(directory: string): void {
  checkGuarded({ path: child(directory, GARBAGE), guarded: true, force: false });
}

/** Renames the pod to the first free name, and notes when: its time of change tells how long it is aside. */
function putAside(pod: PodLayout, info: Deno.FileInfo | null): string {
  const now = new Date();
  try {
    Deno.utimeSync(pod.pod, now, now);
  } catch (error) {
    throw notPutAside(pod.pod, error);
  }
  const aside = child(parent(pod.pod), GARBAGE);
  for (let at = 0;; at++) {
    const garbage = freeName(aside, pod.pod);
    if (!isSame(look(pod.pod), info)) throw swappedError(pod.pod);
    try {
      Deno.renameSync(pod.pod, garbage);
    } catch (error) {
      // Another process was faster, or has removed the directory when it was empty.
      const again = ["EEXIST", "ENOTEMPTY", "ENOENT"].includes(errno(error) ?? "");
      if (again && look(pod.pod) !== null && at < 1000) {
        makeDirectory(aside, GARBAGE_MODE);
        continue;
      }
      throw notPutAside(pod.pod, error);
    }
    if (isSame(look(garbage), info)) return garbage;
    attempt("put back", pod.pod, () => Deno.renameSync(garbage, pod.pod));
    throw swappedError(pod.pod);
  }
}

/** Only the owner goes in, so nobody else reaches by its path what is removed. */
const GARBAGE_MODE = 0o700;

function swappedError(pod: string): OverlayError {
  const message = `Cannot collect pod ${
    quote(pod)
  }: another directory has taken its place meanwhile`;
  return new OverlayError("shared-pod", message, {
    path: pod,
    hint: `see who can write to ${shellQuote(parent(pod))}, and run this again`,
  });
}

function notPutAside(pod: string, error: unknown): unknown {
  if (errno(error) !== "EPERM") return failure("put aside", pod, error);
  const message = `Cannot put aside ${quote(pod)}: ${reasonOf(error)}`;
  const hint = `if it is immutable, type as root: chattr -i ${shellQuote(pod)}`;
  return new OverlayError("failed", message, { path: pod, cause: error, hint });
}

/** Makes the directory for what is put aside; on a disk that is full some space is freed first. */
async function makeGarbage(pod: PodLayout, { named, options }: Marking): Promise<void> {
  const aside = child(parent(pod.pod), GARBAGE);
  const make = () => makeDirectory(aside, GARBAGE_MODE);
  try {
    make();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    const works = worksOf(pod);
    await removeAll(works.flatMap((work) => [child(work, "work"), child(work, "index")]), options);
    try {
      make();
    } catch (again) {
      if (!named || !isDiskFull(again)) throw again;
      // Such a pod is on its way out, and this is the least of what it loses.
      await removeAll(works, options);
      make();
    }
  }
}

/** The works of a pod that nothing is mounted of: the kernel makes what is in them, and makes it again. */
function worksOf(pod: PodLayout): readonly string[] {
  return readRecord(pod.fstab).lines.flatMap((line) => {
    const { work } = configOfLine(line, pod.pod);
    return work !== null && isWithin(work, pod.overlay) ? [work] : [];
  });
}
