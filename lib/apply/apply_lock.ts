/**
 * The operation that locks the pod. The pod is inspected as soon as it is locked.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { selectOperations } from "../plan/plan.ts";
import { applyDirectory, refusePodInLower } from "./apply_directory.ts";
import { decodeMajor, deviceAt, errnoOfCause } from "../system/disk.ts";
import { checkPod } from "../system/trust.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { lockPod } from "../system/lock.ts";
import type { PodLock } from "../system/lock.ts";
import type { LockOperation } from "../plan/operation.ts";
import { quote } from "../core/quote.ts";
import { RefusedError } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";

/**
 * Locks the pod, inspects it, and refuses the run if it must not change it. A pod that this run has made
 * is empty, so the modules for the inspection are not loaded.
 */
export async function applyLock(operation: LockOperation, run: ApplyRun): Promise<void> {
  // Locked when the pod was opened.
  if (run.options.open !== undefined) return;
  const lock = await acquire(operation, run);
  run.lock = lock;
  // While this run waited, another one may have removed the pod and made it again.
  run.identity = checkPod(run.pod.pod);
  // Another run may have taken the lock first: the pod may no longer be empty.
  run.fresh &&= holdsOnly(run.pod.pod, lock.path);
  if (lock.made) {
    run.journal.add(() => `remove ${quote(lock.path)}`, () => Deno.removeSync(lock.path));
  }
  refusePodInLower(run);
  const plain = run.apps.every(({ mount: { label, dest } }) => {
    return label === null && isWithin(dest, run.pod.pod);
  });
  const looking = run.fresh && plain ? null : await import("./inspect.ts");
  try {
    await looking?.inspect(run);
  } catch (error) {
    // A lower that is another one now may lie where none may: that is the clearer reason.
    if (error instanceof RefusedError && error.code === "different") await judgePlace(run);
    throw error;
  }
  if (run.live) return;
  await judgePlace(run);
  await looking?.makeWay(run);
}

/** Refuses apps that are known to fail. This is the only check of the disk that a render makes. */
async function judgePlace(run: ApplyRun): Promise<void> {
  if (run.fresh && isOrdinary(run)) return;
  const { runPreflight } = await import("../preflight/run_preflight.ts");
  await runPreflight(run.apps.filter(({ live }) => !live).map(({ mount }) => mount), run.options);
}

/**
 * Tells whether a pod that this run has made needs no check of the disk: it lies on a local file system, and
 * its only app has one lower, no options that may exclude each other, and no destination outside the pod.
 * If the directory above may not be read, the mount itself has to show the file system: asking for it would
 * run a program.
 */
function isOrdinary({ apps, pod: { pod } }: ApplyRun): boolean {
  if (apps.length > 1) return false;
  const above = parent(pod);
  const device = isGranted({ name: "read", path: above }) ? deviceAt(pod) : null;
  return apps.every(({ mount: { lower, upper, options, dest } }) => {
    const onDisk = upper === null || device === null || decodeMajor(device) !== 0;
    return onDisk && lower.length === 1 && options.length <= 1 && isWithin(dest, pod);
  });
}

function holdsOnly(pod: string, path: string): boolean {
  return [...Deno.readDirSync(pod)].every(({ name }) => child(pod, name) === path);
}

/** Takes the lock. A failed run may have removed the pod while this one waited for the lock. */
async function acquire(operation: LockOperation, run: ApplyRun): Promise<PodLock> {
  for (let attempts = 0;; attempts++) {
    try {
      return await lockPod(operation.path, run.options);
    } catch (error) {
      const gone = errnoOfCause(error) === "ENOENT";
      if (!gone || attempts > 100) throw error;
      const [pod] = selectOperations(run.plan, "directory");
      if (pod !== undefined) applyDirectory(pod, run);
    }
  }
}
