/**
 * Putting a pod aside, the first pass of gc.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { makeDirectory } from "./directory.ts";
import { attempt, look } from "./disk.ts";
import { errno, RefusedError } from "./errors.ts";
import { checkPermissions } from "./grants.ts";
import { checkGuarded } from "./guard.ts";
import type { PodLayout } from "./layout.ts";
import { refuseInUse } from "./in_use.ts";
import { parseMountOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import { checkTrusted, openPod } from "./open_pod.ts";
import type { Trusted } from "./open_pod.ts";
import { child, isWithin, nameOf, parent } from "./path.ts";
import { PodMounts } from "./pod_mounts.ts";
import { linePermissions, readRecord } from "./pod_state.ts";
import type { PodRecord } from "./pod_state.ts";
import { entriesIn, GARBAGE } from "./pods.ts";
import { appWords, quote, shellQuote } from "./quote.ts";
import { refuseElsewhere } from "./refusals.ts";
import { unmountLines } from "./unmount.ts";

/** How a pod is put aside. */
export interface Marking {
  /** Whether the pod was named: then its apps are unmounted first. */
  readonly named: boolean;
  /** Whether it is only said what would be done. */
  readonly dryRun: boolean;
  /** Who is told what happens. */
  readonly options: ChangeOptions;
  /** The directories above pods that were checked already. */
  readonly trusted?: Trusted;
}

/**
 * Renames a pod to `<directory>/garbage/<name>`.
 *
 * Its lines keep their absolute paths, so that no other command takes it for a pod that can be used.
 *
 * @returns Where it is now; `null` when it is gone, as when another process has collected it.
 * @throws {RefusedError} If something holds it.
 * @throws {UnmountError} If it was named and an app is in use.
 */
export async function markPod(pod: PodLayout, marking: Marking): Promise<string | null> {
  const { options, dryRun, trusted = new Set() } = marking;
  if (await checkTrusted(pod, options, trusted) === null) return null;
  refuseNoPod(pod);
  checkGarbage(parent(pod.pod));
  if (dryRun) {
    await checkFree(pod, readRecord(pod.fstab), marking);
    return freeName(pod);
  }
  using open = await openPod(pod, options, trusted);
  if (open === null) return null;
  const { record } = open;
  checkPermissions("collect", linePermissions(record.lines, pod));
  refuseElsewhere(record.lines, pod);
  // What would refuse the pod afterwards refuses it before its apps are stopped.
  if (marking.named) await checkFree(pod, record, { ...marking, dryRun: true });
  if (marking.named) await unmountLines(record.lines, { record, pod, lazy: false, options });
  await checkFree(pod, readRecord(pod.fstab), marking);
  open.check();
  const garbage = putAside(pod);
  options.checkpoint?.("marked");
  return garbage;
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
async function checkFree(pod: PodLayout, record: PodRecord, marking: Marking): Promise<void> {
  const { options, named, dryRun } = marking;
  const { lines } = record;
  const programs = programOptions(options);
  const mounts = new PodMounts(pod, await mountTable(programs));
  const mounted = lines.filter((line) => mounts.stateOf(line) === "mounted");
  const [first] = mounted;
  if (first !== undefined && !(named && dryRun)) {
    throw inUse(
      pod,
      `${appWords(first.app)} is mounted`,
      "unmount it first: overlay-render unmount",
    );
  }
  refuseMounts(pod, mounts, mounted);
  refuseUsers(pod, mounts, mounted);
  const copied = named ? undefined : lines.find((line) => line.copy);
  if (copied !== undefined) {
    const reason = `${appWords(copied.app)} is a copy, and nothing tells whether it is used`;
    throw inUse(pod, reason, "collect the pod by its name: overlay-render gc");
  }
  const automatic = named ? undefined : lines.find((line) => line.auto);
  if (automatic !== undefined) {
    const reason = `${appWords(automatic.app)} was mounted when the machine or the command stopped`;
    throw inUse(pod, reason, "mount it again with overlay-render restore, or unmount it");
  }
  refuseTree(pod, lines, mounts.realPod() ?? pod.pod);
  if (!dryRun) await refuseInUse("collect", lines, { pod, programs, options });
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
 * @param known What is mounted and will not be.
 * @throws {RefusedError} If something is; it names the mount.
 */
export function refuseMounts(
  pod: PodLayout,
  mounts: PodMounts,
  known: readonly AppLine[] = [],
): void {
  const own = new Set(known.map((line) => mounts.targetOf(line.rootfs)));
  const other = mounts.inPod().find(({ target }) => !own.has(target));
  if (other === undefined) return;
  throw new RefusedError(
    "foreign-mount",
    `Cannot collect pod ${quote(pod.pod)}: something else is mounted on ${quote(other.target)}`,
    { path: other.target, hint: `umount ${shellQuote(other.target)} if it may go` },
  );
}

/** Mounts elsewhere can be made of what is in the pod: an upper of it, as after a mount by hand, or a lower. */
function refuseUsers(pod: PodLayout, mounts: PodMounts, known: readonly AppLine[]): void {
  const own = new Set(known.map((line) => mounts.targetOf(line.rootfs)));
  const places = [pod.pod, mounts.realPod() ?? pod.pod];
  const user = mounts.table.find(({ target, fstype, options }) => {
    if (fstype !== "overlay" || own.has(target)) return false;
    const { lower, upper, work } = parseMountOptions(options);
    return [...lower, upper, work].some((path) => {
      return path !== null && places.some((place) => isWithin(path, place));
    });
  });
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

/** The first name that nothing aside has. */
function freeName(pod: PodLayout): string {
  const aside = child(parent(pod.pod), GARBAGE);
  const name = nameOf(pod.pod);
  for (let at = 0;; at++) {
    const garbage = child(aside, at === 0 ? name : `${name}~${at}`);
    if (look(garbage) === null) return garbage;
  }
}

/** Renames the pod to the first free name, and notes when: its time of change tells how long it is aside. */
function putAside(pod: PodLayout): string {
  const now = new Date();
  attempt("set the time of", pod.pod, () => Deno.utimeSync(pod.pod, now, now));
  for (let at = 0;; at++) {
    makeDirectory(child(parent(pod.pod), GARBAGE), 0o700);
    const garbage = freeName(pod);
    try {
      Deno.renameSync(pod.pod, garbage);
      return garbage;
    } catch (error) {
      // Another process was faster, or has removed the directory when it was empty.
      const again = ["EEXIST", "ENOTEMPTY", "ENOENT"].includes(errno(error) ?? "");
      if (again && look(pod.pod) !== null && at < 1000) continue;
      attempt("put aside", pod.pod, () => {
        throw error;
      });
    }
  }
}
