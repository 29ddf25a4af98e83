/**
 * The operation that empties the upper of an app.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { finishResets, freshPath, resetDirectory } from "../pod/finish_reset.ts";
import { readRecord } from "../pod/record.ts";
import { openWork } from "../pod/removal.ts";
import { makeDirectory } from "../system/directory.ts";
import { attempt, isDiskFull, look, lookForDirectory, readMode } from "../system/disk.ts";
import { checkRemoved, removeAll, runRm } from "../system/remove.ts";
import { child } from "../core/path.ts";
import type { ResetOperation } from "../plan/operation.ts";

/** The mode of the directory in which old files lie until they are removed. */
const ASIDE_MODE = 0o700;

/**
 * Puts an empty work and an empty upper in the place of those of an app, and removes the old ones. An end in
 * between leaves the old upper or none; then the next command puts the new one in place. What else is left is
 * removed by the next reset, or with the pod.
 *
 * The root of the upper gets mode and owner of the mount point, which a render makes alike and the app cannot
 * change.
 */
export async function applyReset(operation: ResetOperation, run: ApplyRun): Promise<void> {
  const { image, app, rootfs, label } = operation;
  if (run.outcome.left.has(rootfs) || run.outcome.kept.has(rootfs)) return;
  run.checkPlace();
  const aside = resetDirectory(image);
  // It may hold the only upper of another app.
  if (lookForDirectory(aside) !== null) finishResets(readRecord(run.pod.fstab).lines, run.pod);
  await removeAside(aside, run);
  const parts = listParts(operation);
  await makeAside(aside, operation.work, run);
  for (const { kind, like } of parts) {
    const fresh = freshPath(kind, { app, image });
    makeDirectory(fresh, like === null ? ASIDE_MODE : readMode(like), like ?? undefined);
    if (label !== null) await applyContext(fresh, label, run);
  }
  run.options.checkpoint?.("reset-made");
  run.changed = true;
  for (const { kind, path } of parts) {
    const old = child(aside, `old-${kind}`);
    replace(path, { old, fresh: freshPath(kind, { app, image }) }, () => {
      run.options.checkpoint?.(`reset-${kind}`);
    });
  }
  await removeAside(aside, run);
}

/** A directory that is replaced, and the one whose mode and owner the new one gets. */
interface Part {
  readonly kind: "upper" | "work";
  readonly path: string;
  readonly like: Deno.FileInfo | null;
}

/** Lists the work before the upper: with `index=on` a new upper does not fit an old work. */
function listParts({ path: upper, work, point }: ResetOperation): readonly Part[] {
  const mountPoint = look(point);
  return [
    { kind: "work", path: work, like: lookForDirectory(work) },
    {
      kind: "upper",
      path: upper,
      like: mountPoint?.isDirectory ? mountPoint : lookForDirectory(upper),
    },
  ];
}

async function applyContext(path: string, label: string, run: ApplyRun): Promise<void> {
  const { setLabel } = await import("../system/selinux.ts");
  await setLabel(path, label, run.programs);
}

/** Renames a directory away, and the new one into its place. */
function replace(
  path: string,
  { old, fresh }: { readonly old: string; readonly fresh: string },
  onStep: () => void,
): void {
  if (look(path) !== null) attempt("set aside", path, () => Deno.renameSync(path, old));
  onStep();
  attempt("put in place", path, () => Deno.renameSync(fresh, path));
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
