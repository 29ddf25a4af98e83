/**
 * The operations that run programs: setting labels and mounting.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { mountLines } from "./mount_lines.ts";
import type { LabelOperation, MountOperation } from "../plan/operation.ts";

/** Sets the label of an upper or a work, if SELinux is enabled. */
export async function applyLabel(operation: LabelOperation, run: ApplyRun): Promise<void> {
  if (!run.labels) return;
  const { setLabel } = await import("../system/selinux.ts");
  await setLabel(operation.path, operation.context, run.programs);
}

/** Mounts apps, as their lines in `overlay.fstab` say. */
export async function applyMounts(
  operations: readonly MountOperation[],
  run: ApplyRun,
): Promise<void> {
  run.checkPlace();
  if (operations.some(({ line }) => line !== undefined)) {
    const { putBack } = await import("./apply_restore.ts");
    return await putBack(operations, run);
  }
  const apps = operations.flatMap(({ path }) => run.appOf(path) ?? []);
  await mountLines(apps.map(({ line }) => line), run);
  for (const app of apps) app.changed = true;
  run.options.signal?.throwIfAborted();
}
