/**
 * The operations that run programs: setting labels and mounting.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { quote } from "../core/quote.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { tryMount, unmountAll } from "../pod/mounting.ts";
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

/**
 * Mounts lines of `overlay.fstab` for a run.
 *
 * @throws {MountError} If a line is not mounted; mounts that were made, even in a wrong place, are noted to
 * be undone.
 * @throws {PodError} If one or more of several lines are not mounted.
 */
export async function mountLines(lines: readonly AppLine[], run: ApplyRun): Promise<void> {
  const noted = noteMounts(lines, run);
  const { targets, failures } = await tryMount(lines, run);
  noted.targets = targets;
  if (targets.length > 0) run.changed = true;
  const [first] = failures;
  if (first === undefined) return;
  run.options.signal?.throwIfAborted();
  if (run.apps.length === 1) throw first.error;
  const { podError } = await import("../core/pod_error.ts");
  throw podError("render", failures.map(({ line, error }) => ({ app: line.app, error })));
}

/**
 * Notes mounts before they are made, so that they are unmounted before the directories below them are
 * removed: the result of a mount process may never be known.
 */
function noteMounts(
  lines: readonly AppLine[],
  run: ApplyRun,
): { targets: readonly string[] | null } {
  const noted: { targets: readonly string[] | null } = { targets: null };
  const [first] = lines;
  const more = lines.length === 1 ? "" : ` and ${lines.length - 1} more`;
  run.journal.addBarrier(() => `unmount ${quote(first?.rootfs ?? "")}${more}`, async () => {
    const targets = noted.targets ?? await mountedOf(lines, run);
    if (targets.length === 0) return;
    const result = await unmountAll(targets.toReversed(), run.programs);
    if (result.status === 0) return;
    const { extractMessage } = await import("../pod/mount_output.ts");
    throw new Error(extractMessage(result, targets[0] ?? ""));
  });
  return noted;
}

async function mountedOf(
  lines: readonly AppLine[],
  run: ApplyRun,
): Promise<readonly string[]> {
  const { findMounted } = await import("../pod/verify.ts");
  return (await findMounted(lines, run)).flatMap(({ target }) => target ?? []);
}
