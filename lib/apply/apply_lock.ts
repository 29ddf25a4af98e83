/**
 * The operation that locks the pod. What the pod holds is looked at as soon as it is locked.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { operationsOf } from "./apply_run.ts";
import { applyDirectory } from "./apply_directory.ts";
import { deviceAt, errnoOfCause } from "../system/disk.ts";
import { checkPod } from "../system/trust.ts";
import { child, isWithin } from "../core/path.ts";
import { lockPod } from "../system/lock.ts";
import type { PodLock } from "../system/lock.ts";
import type { LockOperation } from "../plan/operation.ts";
import { quote } from "../core/quote.ts";
import { podInLower } from "../request/request.ts";

/**
 * Locks the pod, looks at what it holds, and refuses what must not be done to it. A pod that this run
 * has made holds nothing, so nothing is loaded to look at it.
 */
export async function applyLock(operation: LockOperation, run: ApplyRun): Promise<void> {
  const lock = await acquire(operation, run);
  run.lock = lock;
  // While this run waited, another one may have taken the pod back and made it again.
  run.identity = checkPod(run.pod.pod);
  // Who made the lock file need not be the first to hold it: the pod may hold something by now.
  run.fresh &&= holdsOnly(run.pod.pod, lock.path);
  if (lock.made) {
    run.journal.add(() => `remove ${quote(lock.path)}`, () => Deno.removeSync(lock.path));
  }
  refuseLowerAround(run);
  const plain = run.apps.every(({ mount: { label, dest } }) => {
    return label === null && isWithin(dest, run.pod.pod);
  });
  if (run.fresh && plain) return;
  const { inspect } = await import("./inspect.ts");
  await inspect(run);
}

function holdsOnly(pod: string, path: string): boolean {
  return [...Deno.readDirSync(pod)].every(({ name }) => child(pod, name) === path);
}

/**
 * A pod in a lower would be written into it, whatever links the names of both lead through. A lower ends
 * where another file system is mounted, so not every pod lies in the lower `/`.
 */
function refuseLowerAround(run: ApplyRun): void {
  const pod = Deno.realPathSync(run.pod.pod);
  for (const lower of new Set(run.apps.flatMap(({ mount }) => mount.lower))) {
    const real = Deno.realPathSync(lower);
    const isAround = real === "/" ? deviceAt(lower) === deviceAt(pod) : isWithin(pod, real);
    if (isAround) throw podInLower(pod, real);
  }
}

/** Another run that failed may have taken back the pod itself while we waited for its lock. */
async function acquire(operation: LockOperation, run: ApplyRun): Promise<PodLock> {
  for (let attempts = 0;; attempts++) {
    try {
      return await lockPod(operation.path, run.options);
    } catch (error) {
      const gone = errnoOfCause(error) === "ENOENT";
      if (!gone || attempts > 100) throw error;
      const [pod] = operationsOf(run.plan, "directory");
      if (pod !== undefined) applyDirectory(pod, run);
    }
  }
}
