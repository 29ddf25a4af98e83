/**
 * The operation that empties the upper of an app.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { openWork } from "../pod/removal.ts";
import { makeDirectory } from "../system/directory.ts";
import { attempt, isDiskFull, look, lookForDirectory, readMode } from "../system/disk.ts";
import { checkRemoved, removeAll, runRm } from "../system/remove.ts";
import { child } from "../core/path.ts";
import type { ResetOperation } from "../plan/operation.ts";

/** The mode of the directory in which old files lie until they are removed. */
const ASIDE_MODE = 0o700;

/**
 * Puts an empty upper and an empty work in the place of those of an app, and removes the old ones. An end in
 * between leaves the old upper or none, which is an empty one for a render; and what is left is removed by
 * the next reset, or with the pod.
 *
 * The root of the upper gets mode and owner of the mount point, which a render makes alike and the app cannot
 * change.
 */
export async function applyReset(operation: ResetOperation, run: ApplyRun): Promise<void> {
  const { path: upper, work, image, rootfs, label } = operation;
  if (run.outcome.left.has(rootfs)) return;
  run.checkPlace();
  const aside = child(image, "reset");
  await removeAside(aside, run);
  const like = lookForDirectory(upper);
  const point = look(rootfs);
  const root = point?.isDirectory ? point : like;
  const workLike = lookForDirectory(work);
  await makeAside(aside, work, run);
  for (const [name, info] of [["upper", root], ["work", workLike]] as const) {
    const fresh = child(aside, name);
    makeDirectory(fresh, info === null ? ASIDE_MODE : readMode(info), info ?? undefined);
    if (label !== null) await applyContext(fresh, label, run);
  }
  run.options.checkpoint?.("reset-made");
  run.changed = true;
  for (const [path, name] of [[upper, "upper"], [work, "work"]] as const) {
    replace(path, aside, name, () => run.options.checkpoint?.(`reset-${name}`));
  }
  await removeAside(aside, run);
}

async function applyContext(path: string, label: string, run: ApplyRun): Promise<void> {
  const { setLabel } = await import("../system/selinux.ts");
  await setLabel(path, label, run.programs);
}

/** Renames a directory away, and the new one into its place. */
function replace(path: string, aside: string, name: string, onStep: () => void): void {
  if (look(path) !== null) {
    attempt("set aside", path, () => Deno.renameSync(path, child(aside, `old-${name}`)));
  }
  onStep();
  attempt("put in place", path, () => Deno.renameSync(child(aside, name), path));
  onStep();
}

/** Makes the directory for old files. On a full disk what the kernel makes again in the work goes first. */
async function makeAside(aside: string, work: string, { options }: ApplyRun): Promise<void> {
  try {
    makeDirectory(aside, ASIDE_MODE);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    await removeAll([child(work, "work"), child(work, "index")], options);
    makeDirectory(aside, ASIDE_MODE);
  }
}

/** Removes old files. Who is not root must first be let into the directories that the kernel makes in a work. */
async function removeAside(aside: string, { options }: ApplyRun): Promise<void> {
  if (lookForDirectory(aside) === null) return;
  const { signal: _, ...more } = options;
  let result = await runRm([aside], more);
  const old = child(aside, "old-work");
  if (result?.stderr.includes("Permission denied") && openWork(old)) {
    result = await runRm([aside], more);
  }
  checkRemoved(result, [aside]);
}
