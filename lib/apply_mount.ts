/**
 * The operations that run programs: setting labels and mounting.
 *
 * @module
 */
import type { Application } from "./application.ts";
import { mountLine } from "./mounting.ts";
import type { LabelOperation } from "./operation.ts";

/** Sets the label of upper or work, where SELinux is enabled. */
export async function applyLabel(operation: LabelOperation, run: Application): Promise<void> {
  if (!run.labels) return;
  const { setLabel } = await import("./label.ts");
  await setLabel(operation.path, operation.context, run.programs);
}

/** Mounts the app, as its line in `overlay.fstab` says. */
export async function applyMount(run: Application): Promise<void> {
  await mountLine(run.line, run);
  run.options.signal?.throwIfAborted();
}
