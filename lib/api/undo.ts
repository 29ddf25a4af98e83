/**
 * Brings back a pod that gc has set aside.
 *
 * @module
 */
import { applyPlan } from "../apply/apply.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { look } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { podLayout } from "../request/layout.ts";
import { checkGarbage, findOrigin, garbageIn, wasPod } from "../pod/garbage.ts";
import { Call, openPod } from "../pod/open.ts";
import { basename, child, parent } from "../core/path.ts";
import { GARBAGE, isPod } from "../pod/list.ts";
import type { Plan } from "../plan/plan.ts";
import { requiredPermissions } from "../plan/required_permissions.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { isBegun } from "../pod/removal.ts";

/** A pod that was brought back. */
export interface Undone {
  /** The pod. */
  readonly pod: string;
  /** The path that it had while it was set aside. */
  readonly garbage: string;
}

/**
 * Plans to bring a pod back, see {@linkcode undoCollect}, and changes nothing.
 *
 * Requires `--allow-read` permission for the pod and for the garbage beside it, `--allow-run` for find, and
 * `--allow-sys=uid`.
 *
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {RefusedError} If its removal has begun, its place is taken, or it was set aside several times.
 * @throws {OverlayError} If nothing of it is aside.
 *
 * @tags allow-read, allow-run, allow-sys
 */
export async function undoPlan(path: string, options: ChangeOptions = {}): Promise<Plan> {
  return await planUndo(path, new Call(options));
}

async function planUndo(path: string, call: Call): Promise<Plan> {
  const given = podLayout(path).pod;
  const isAside = basename(parent(given)) === GARBAGE;
  const directory = isAside ? parent(parent(given)) : parent(given);
  checkPermissions("bring back", { read: [child(directory, GARBAGE)], write: [], ...TRUST });
  checkGarbage(directory);
  const garbage = podLayout(isAside ? given : onlyOne(given, directory));
  if (!isPod(garbage.pod) || await openPod(garbage, call, { lock: false }) === null) {
    throw notAside(given);
  }
  const pod = isAside ? findOrigin(garbage.pod) : given;
  checkPermissions("bring back", { read: [pod], write: [], run: [] });
  refuseUndo(pod, garbage.pod);
  return {
    action: "bring back",
    pod: garbage.pod,
    operations: [
      { kind: "trust", path: garbage.pod },
      { kind: "lock", path: garbage.lock },
      { kind: "put-back", path: garbage.pod, to: pod },
    ],
    mounts: [],
  };
}

/**
 * Brings a pod back that gc has set aside and not yet removed, with the data and the record of its apps.
 * Apps that gc unmounted can be mounted by `restoreOverlays`.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory that the pod was in,
 * `--allow-run` for find, and `--allow-sys=uid`.
 *
 * @param path The pod's own path, or the one that it has in the garbage.
 * @param options The time to wait for the pod's lock.
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {RefusedError} If its removal has begun, its place is taken, or it was set aside several times.
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
  const call = new Call(options);
  const plan = await planUndo(path, call);
  checkPermissions("bring back", requiredPermissions(plan));
  using open = await openPod(podLayout(plan.pod), call);
  if (open === null) throw notAside(path);
  // Another call may have started to remove it while this one waited for the lock.
  const { operations } = await planUndo(plan.pod, call);
  const { place } = await applyPlan({ ...plan, operations }, { ...options, open: [open] });
  return { pod: place, garbage: plan.pod };
}

function notAside(pod: string): OverlayError {
  const message = `Cannot bring back ${quote(pod)}: nothing of it is set aside`;
  const hint = "what is set aside lies in the directory garbage beside its pod";
  return new OverlayError("missing", message, { path: pod, hint });
}

function onlyOne(pod: string, directory: string): string {
  const [first, ...more] = garbageIn(directory).filter((garbage) => wasPod(garbage, pod));
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
