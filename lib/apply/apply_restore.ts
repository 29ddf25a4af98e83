/**
 * Mounting the lines of `overlay.fstab` again. A line that fails does not keep the others from being mounted.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import type { MountOperation } from "../plan/operation.ts";
import type { OpenPod } from "../pod/open.ts";
import { mountTogether, tryMount, unmountAll } from "../pod/mounting.ts";
import type { Mounted, PodLines } from "../pod/mounting.ts";

/** Mounts lines in one process where possible, and notes those that are not mounted. */
export async function putBack(operations: readonly MountOperation[], run: ApplyRun): Promise<void> {
  const pods = (run.options.open ?? []).map((open) => ({
    open,
    ...linesOf(open, operations, run),
  }));
  const wanted = pods.filter(({ lines }) => lines.length > 0);
  const all = await mountTogether(wanted);
  for (const [at, pod] of wanted.entries()) {
    await note(pod, all[at] ?? await tryMount(pod.lines, pod.mounting), run);
  }
}

function linesOf(
  { layout: pod }: OpenPod,
  operations: readonly MountOperation[],
  { programs, options, outcome }: ApplyRun,
): PodLines {
  const own = operations.filter(({ fstab }) => fstab === pod.fstab);
  const isLive = () => own.some(({ live }) => live);
  return {
    // A reset leaves an app that is in use mounted.
    lines: own.flatMap(({ line }) => line ?? []).filter(({ rootfs }) => !outcome.left.has(rootfs)),
    mounting: { pod, programs, options, isLive },
  };
}

/** Notes the result for the lines of a pod, and unmounts mounts in a wrong place or with write access. */
async function note(
  { open, lines }: PodLines & { readonly open: OpenPod },
  { failures, targets }: Mounted,
  run: ApplyRun,
): Promise<void> {
  run.outcome.failures.push(...failures);
  const mounts = await open.mounts();
  const failed = new Set(failures.map(({ line }) => line));
  const right = new Set(
    lines.filter((line) => !failed.has(line)).flatMap(({ rootfs }) => {
      return [rootfs, mounts.targetOf(rootfs)];
    }),
  );
  const wrong = targets.filter((target) => !right.has(target));
  if (wrong.length > 0) await unmountAll(wrong.toReversed(), run.programs);
}
