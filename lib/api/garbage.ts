/**
 * The pods that are set aside, in the directory `garbage` beside the others: which they are, how long they
 * have been there, and the way back.
 *
 * @module
 */
import { configOfLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { attempt, entriesIn, look } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { checkAbove } from "../system/trust.ts";
import { podLayout } from "../request/layout.ts";
import { checkGarbage } from "./set_aside.ts";
import { Call, openPod } from "../pod/open.ts";
import { child, isWithin, nameOf, parent } from "../core/path.ts";
import { readRecord } from "../pod/record.ts";
import { directoriesIn, GARBAGE, isPod, withoutNumber } from "../pod/list.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { isBegun } from "../pod/removal.ts";
import { removeIfEmpty } from "../system/directory.ts";

/** A pod that is in its place again. */
export interface Undone {
  /** The pod. */
  readonly pod: string;
  /** The path that it had while it was set aside. */
  readonly garbage: string;
}

/** The pods that are set aside in a directory of pods. */
export function garbageIn(directory: string): readonly string[] {
  const aside = child(directory, GARBAGE);
  const paths = look(aside)?.isDirectory
    ? directoriesIn(aside).map((name) => child(aside, name))
    : [];
  // A pod can have that name; then it has directories of its own.
  return isPod(aside) ? paths.filter(isPod) : paths;
}

/** Tells whether a directory that is set aside was this pod, by its name and by its lines, which keep their paths. */
export function isOf(garbage: string, pod: string): boolean {
  const [own, name] = [nameOf(garbage), nameOf(pod)];
  if (own !== name && withoutNumber(own) !== name) return false;
  const { lines } = readRecord(podLayout(garbage).fstab);
  const first = lines.find(({ source }) => source === "overlay") ?? lines[0];
  // A removal that was killed can leave nothing but the lock.
  const isRest = () => entriesIn(garbage).every((entry) => entry.name === "overlay.lock");
  if (first === undefined) return own === name || isRest();
  const { upper } = configOfLine(first, pod);
  return isWithin(upper ?? first.rootfs, pod) || (own === name && upper === null);
}

/** The paths that a pod may have had before it was put aside as this one. */
export function originsOf(garbage: string): readonly string[] {
  const directory = parent(parent(garbage));
  const names = [nameOf(garbage), withoutNumber(nameOf(garbage))];
  return names.map((name) => child(directory, name));
}

/** The pod that was put aside as this one; by its name where its lines do not tell. */
function originOf(garbage: string): string {
  const [first = garbage, ...more] = originsOf(garbage);
  return [first, ...more].find((pod) => isOf(garbage, pod)) ?? first;
}

/**
 * The rest of a pod's grace period, in milliseconds. It begins when the pod is put aside, which is its time
 * of change. A time in the future, as after a clock that was wrong, is set to now.
 */
export function graceLeft(garbage: string, gracePeriodMs: number, dryRun: boolean): number {
  const now = new Date();
  const since = look(garbage)?.mtime ?? now;
  if (since <= now) return since.getTime() + gracePeriodMs - now.getTime();
  if (!dryRun) attempt("set the time of", garbage, () => Deno.utimeSync(garbage, now, now));
  return gracePeriodMs;
}

/**
 * Brings a pod back that gc has put aside, as long as it is not removed. What its apps wrote is there, and
 * its lines work again; apps that gc unmounted are mounted by `restoreOverlays`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory that the pod was in,
 * `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @param path The pod's own path, or the one that it has in the garbage.
 * @param options The time to wait for the pod's lock.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If its removal has begun, its place is taken, or it was put aside several times.
 * @throws {OverlayError} If nothing of it is aside.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { collectPods, prepareOverlay, undoCollect } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const { pod } = await prepareOverlay({ lower: `${dir}/image`, pod: `${dir}/pod` });
 * await collectPods({ pod, gracePeriodMs: 60_000 });
 * assert((await undoCollect(pod)).garbage === `${dir}/garbage/pod`);
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function undoCollect(path: string, options: ChangeOptions = {}): Promise<Undone> {
  const given = podLayout(path).pod;
  const isAside = nameOf(parent(given)) === GARBAGE;
  const directory = isAside ? parent(parent(given)) : parent(given);
  checkPermissions("bring back", { read: [directory], write: [directory], ...TRUST });
  await checkAbove([child(directory, GARBAGE)], programOptions(options));
  checkGarbage(directory);
  const garbage = isAside ? given : onlyOne(given, directory);
  if (!isPod(garbage)) throw notAside(given);
  using open = await openPod(podLayout(garbage), new Call(options));
  if (open === null) throw notAside(given);
  const pod = isAside ? originOf(garbage) : given;
  refuseUndo(pod, garbage);
  open.check();
  attempt("bring back", garbage, () => Deno.renameSync(garbage, pod));
  removeIfEmpty(child(directory, GARBAGE));
  return { pod, garbage };
}

function notAside(pod: string): OverlayError {
  const message = `Cannot bring back ${quote(pod)}: nothing of it is set aside`;
  const hint = "what is set aside lies in the directory garbage beside its pod";
  return new OverlayError("missing", message, { path: pod, hint });
}

function onlyOne(pod: string, directory: string): string {
  const [first, ...more] = garbageIn(directory).filter((garbage) => isOf(garbage, pod));
  if (first === undefined) throw notAside(pod);
  if (more.length === 0) return first;
  const names = [first, ...more].map(shellQuote).join(", ");
  throw new RefusedError(
    "different",
    `Cannot bring back ${quote(pod)}: it is set aside more than once`,
    {
      path: pod,
      hint: `name one of them: ${names}`,
    },
  );
}

function refuseUndo(pod: string, garbage: string): void {
  const refuse = (path: string, reason: string, hint: string): never => {
    const message = `Cannot bring back ${quote(garbage)}: ${reason}`;
    throw new RefusedError("different", message, { path, hint });
  };
  if (look(pod) !== null) {
    refuse(pod, `something else is at ${quote(pod)} by now`, "give that one another name first");
  }
  if (!isBegun(podLayout(garbage))) return;
  const hint = `a part of it may be left; to finish: overlay-render gc --pod ${shellQuote(pod)}`;
  refuse(garbage, "its removal has begun", hint);
}
