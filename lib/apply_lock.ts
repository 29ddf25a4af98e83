/**
 * The operation that locks the pod. What the pod holds is looked at as soon as it is locked.
 *
 * @module
 */
import type { Application } from "./application.ts";
import { operationOf } from "./application.ts";
import { applyDirectory } from "./apply_disk.ts";
import { errno, OverlayError } from "./errors.ts";
import { isWithin } from "./path.ts";
import { lockPod } from "./lock.ts";
import type { PodLock } from "./lock.ts";
import type { LockOperation } from "./operation.ts";
import { quote } from "./quote.ts";

/**
 * Locks the pod, looks at what it holds, and refuses what must not be done to it. A pod that this run
 * has made holds nothing, so nothing is loaded to look at it.
 */
export async function applyLock(operation: LockOperation, run: Application): Promise<void> {
  const lock = await acquire(operation, run);
  run.lock = lock;
  // Where another run has locked the pod first, it may hold something by now.
  if (!lock.made) run.fresh = false;
  if (lock.made) run.journal.add(`remove ${quote(lock.path)}`, () => Deno.removeSync(lock.path));
  const { label, dest } = run.plan.mount;
  if (run.fresh && label === null && isWithin(dest, run.pod.pod)) return;
  const { inspect } = await import("./inspect.ts");
  await inspect(run);
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
