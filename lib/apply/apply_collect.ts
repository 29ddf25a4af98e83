/**
 * The operations of gc, keep and unkeep.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { makeDirectory, removeIfEmpty } from "../system/directory.ts";
import {
  attempt,
  describeError,
  describeType,
  errno,
  failure,
  isDiskFull,
  isSame,
  look,
} from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { GARBAGE_MODE } from "../pod/garbage.ts";
import type { PodLayout } from "../request/layout.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { freeName } from "../pod/list.ts";
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { mountTable } from "../system/mount_table.ts";
import { appWords, quote, shellQuote } from "../core/quote.ts";
import { readRecord } from "../pod/record.ts";
import { removeAll } from "../system/remove.ts";
import type {
  GraceOperation,
  IdleOperation,
  KeepOperation,
  PutBackOperation,
  SetAsideOperation,
} from "../plan/collect_operation.ts";
import { PodMounts } from "../pod/mounts.ts";
import { lookAtMounts } from "../pod/pod_facts.ts";
import { refuseOccupied } from "../plan/collect_rules.ts";

/** Renames the pod into the garbage. The modification time of its directory starts the grace period. */
export async function applySetAside(
  { path, to, named }: SetAsideOperation,
  run: ApplyRun,
): Promise<void> {
  const info = look(path);
  run.checkPlace();
  const aside = parent(to);
  await makeGarbage(aside, named === true, run);
  begin(path);
  const garbage = moveAside(path, aside, info);
  if (!isSame(look(garbage), info)) {
    attempt("put back", path, () => Deno.renameSync(garbage, path));
    throw swappedError(path);
  }
  run.changed = true;
  run.place = garbage;
}

/** Gives a pod that is set aside its own name again. */
export function applyPutBack({ path, to }: PutBackOperation, run: ApplyRun): void {
  run.checkPlace();
  attempt("bring back", path, () => Deno.renameSync(path, to));
  run.changed = true;
  run.place = to;
  removeIfEmpty(parent(path));
}

/** Pins a pod against gc, or unpins it, unless that is done already. */
export function applyKeep({ path, kept }: KeepOperation, run: ApplyRun): void {
  const info = look(path);
  if (info !== null && !info.isFile) {
    throw new OverlayError("failed", `Cannot use ${quote(path)}: it is ${describeType(info)}`, {
      path,
      hint: "a file must be there, or nothing",
    });
  }
  if ((info !== null) === kept) return;
  run.changed = true;
  if (!kept) return attempt("remove", path, () => Deno.removeSync(path));
  attempt("write", path, () => Deno.openSync(path, { write: true, createNew: true }).close());
}

/** Asks the kernel whether uppers are in use, all at once. */
export async function applyIdle(
  operations: readonly IdleOperation[],
  run: ApplyRun,
): Promise<void> {
  const { findInUse } = await import("../pod/in_use.ts");
  const { outcome, plan: { action }, options } = run;
  // An app that is in use is reported at the end.
  const asked = operations.filter(({ line }) => !outcome.left.has(line.rootfs));
  const verb = action === "unmount" ? "throw away what was written by" : action;
  const used = new Map([
    ...await findMadeOf(verb, asked.filter(({ orStays }) => orStays), run),
    ...await findInUse(verb, asked.map(({ line }) => line), run),
  ]);
  for (const { line, orStays, lazy } of asked) {
    const error = used.get(line);
    if (error === undefined) continue;
    if (!orStays) throw error;
    outcome.kept.add(line.rootfs);
    if (lazy) options.warn?.(`${error.message}; it stays`);
    else outcome.error ??= () => Promise.resolve(error);
  }
}

/** Finds uppers that are part of a mount elsewhere, as a lower too, or in which something is mounted. */
async function findMadeOf(
  verb: string,
  operations: readonly IdleOperation[],
  { pod, programs }: ApplyRun,
): Promise<ReadonlyMap<AppLine, OverlayError>> {
  if (operations.length === 0) return new Map();
  const mounts = new PodMounts(pod, await mountTable(programs));
  const real = mounts.realPod() ?? pod.pod;
  return new Map(operations.flatMap(({ line, path }) => {
    const paths = [path, real + path.slice(pod.pod.length)];
    const [user] = paths.flatMap((one) => [
      ...mounts.index.madeOf(one),
      ...mounts.index.within(one),
    ]);
    return user === undefined ? [] : [[line, madeOfError(verb, line, user.target)] as const];
  }));
}

function madeOfError(verb: string, { app, rootfs }: AppLine, target: string): RefusedError {
  const reason = `the mount on ${quote(target)} uses what is in its upper`;
  return new RefusedError("in-use", `Cannot ${verb} ${appWords(app)}: ${reason}`, {
    path: rootfs,
    hint: `umount ${shellQuote(target)} if it may go, and run this again`,
  });
}

/**
 * Checks that nothing is mounted in the pod or from its directories. The plan was made with that check, so it
 * is repeated only after an unmount. An app that is in use ends the run here.
 */
export async function applyFree(_: unknown, run: ApplyRun): Promise<void> {
  const { options: { open: [open] = [] }, outcome: { error, gone } } = run;
  if (error !== null) throw await error();
  if (open === undefined || gone.length === 0) return;
  refuseOccupied(await lookAtMounts(open, new PodMounts(run.pod, await open.call.mounts())));
}

/** Begins the grace period of a pod. */
export function applyGrace({ path }: GraceOperation): void {
  attempt("set the time of", path, () => begin(path));
}

function begin(path: string): void {
  const now = new Date();
  try {
    Deno.utimeSync(path, now, now);
  } catch (error) {
    throw notSetAside(path, error);
  }
}

/** The number of attempts if another process takes the name, or removes the empty garbage. */
const TRIES = 1000;

function moveAside(pod: string, aside: string, info: Deno.FileInfo | null): string {
  for (let tries = 0;; tries++) {
    const garbage = freeName(aside, pod);
    if (!isSame(look(pod), info)) throw swappedError(pod);
    try {
      Deno.renameSync(pod, garbage);
      return garbage;
    } catch (error) {
      const again = ["EEXIST", "ENOTEMPTY", "ENOENT"].includes(errno(error) ?? "");
      if (!again || look(pod) === null || tries >= TRIES) throw notSetAside(pod, error);
      makeDirectory(aside, GARBAGE_MODE);
    }
  }
}

function swappedError(pod: string): OverlayError {
  const reason = "another directory has taken its place meanwhile";
  return new OverlayError("shared-pod", `Cannot collect pod ${quote(pod)}: ${reason}`, {
    path: pod,
    hint: `see who can write to ${shellQuote(parent(pod))}, and run this again`,
  });
}

function notSetAside(pod: string, error: unknown): unknown {
  if (errno(error) !== "EPERM") return failure("set aside", pod, error);
  const message = `Cannot set aside ${quote(pod)}: ${describeError(error)}`;
  const hint = `if it is immutable, type as root: chattr -i ${shellQuote(pod)}`;
  return new OverlayError("failed", message, { path: pod, cause: error, hint });
}

/**
 * Makes the garbage. On a full disk it first removes the contents of the pod's works, which the kernel makes
 * again; then the works themselves of a pod that was named, since the whole pod is to be removed.
 */
async function makeGarbage(
  aside: string,
  named: boolean,
  { pod, options }: ApplyRun,
): Promise<void> {
  const works = worksOf(pod);
  const inWorks = works.flatMap((work) => [child(work, "work"), child(work, "index")]);
  for (const rest of [inWorks, ...(named ? [works] : [])]) {
    try {
      return void makeDirectory(aside, GARBAGE_MODE);
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      await removeAll(rest, options);
    }
  }
  makeDirectory(aside, GARBAGE_MODE);
}

function worksOf(pod: PodLayout): readonly string[] {
  return readRecord(pod.fstab).lines.flatMap((line) => {
    const { work } = readLineConfig(line, pod.pod);
    return work !== null && isWithin(work, pod.overlay) ? [work] : [];
  });
}
