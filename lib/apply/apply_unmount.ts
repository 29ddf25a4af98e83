/**
 * The operations that unmount, and the changes of the record that follow.
 *
 * @module
 */
import { attempt, look } from "../system/disk.ts";
import { replaceFile } from "../system/own_file.ts";
import type { ApplyRun } from "./apply_run.ts";
import { busyError } from "../pod/unmount_error.ts";
import { formatFstab, FSTAB_MODE, withLines } from "../overlay/fstab.ts";
import { mountTable } from "../system/mount_table.ts";
import { OverlayError } from "../core/errors.ts";
import { PodMounts } from "../pod/mounts.ts";
import type { ProgramResult } from "../system/run.ts";
import type { RecordOperation, UnmountOperation, VolatileOperation } from "../plan/operation.ts";
import { unmountAll } from "../pod/mounting.ts";

/** Unmounts in one process, in this order. Busy mounts are reported after the rest of the plan is applied. */
export async function applyUnmounts(
  operations: readonly UnmountOperation[],
  run: ApplyRun,
): Promise<void> {
  const targets = operations.map(({ path }) => path);
  run.options.open?.[0]?.call.forgetMounts();
  const result = await unmountAll(targets, run.programs, operations[0]?.lazy);
  run.options.checkpoint?.("unmounted");
  if (result.status === 0) return void run.outcome.gone.push(...operations);
  const mounts = new PodMounts(run.pod, await mountTable(run.programs));
  const left = operations.filter(({ line, path }) => {
    return line === undefined
      ? mounts.index.at(path) !== undefined
      : mounts.stateOf(line) === "mounted";
  });
  const { outcome } = run;
  outcome.gone.push(...operations.filter((operation) => !left.includes(operation)));
  for (const { line } of left) if (line !== undefined) outcome.left.add(line.rootfs);
  if (left.length > 0) outcome.error = () => errorOf(left, { run, mounts, result });
}

function errorOf(
  left: readonly UnmountOperation[],
  known: { readonly run: ApplyRun; readonly mounts: PodMounts; readonly result: ProgramResult },
): Promise<OverlayError> {
  const { run, mounts, result } = known;
  const gone = run.outcome.gone.flatMap(({ line }) => line ?? []);
  const rootfses = left.map(({ line, path }) => ({ rootfs: line?.rootfs ?? path }));
  return busyError(rootfses, { gone, mounts, pod: run.pod, result, programs: run.programs });
}

/** Removes the kernel's marker of a volatile mount that was unmounted cleanly. */
export function applyVolatile({ path, rootfs }: VolatileOperation, run: ApplyRun): void {
  if (run.outcome.left.has(rootfs) || look(path) === null) return;
  attempt("remove", path, () => Deno.removeSync(path, { recursive: true }));
}

/** Writes changed lines of `overlay.fstab`. The line of an app that is in use, or whose upper is, stays. */
export function applyChanges(operations: readonly RecordOperation[], run: ApplyRun): void {
  const lines = operations.map(({ line }) => line)
    .filter(({ rootfs }) => !run.outcome.left.has(rootfs) && !run.outcome.kept.has(rootfs));
  const { fstab } = run.pod;
  // A lazy unmount has written them before.
  if (lines.length === 0 && !operations.some(({ line }) => line.lazy)) return;
  try {
    const entries = withLines(run.entries, lines);
    replaceFile(fstab, new TextEncoder().encode(formatFstab(entries)), FSTAB_MODE);
    run.entries = entries;
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    const hint = "what could be unmounted is, but mount --all would mount it again: " +
      `${error.hint ?? "see to that file"}, and run this again`;
    throw error.with({ path: fstab, hint });
  }
}
