/**
 * The operations that run programs: setting labels and mounting.
 *
 * @module
 */
import type { Application } from "./application.ts";
import { isMounted, mountAll, mountError, noteMount } from "./mounting.ts";
import type { LabelOperation, MountOperation } from "./operation.ts";
import { printable } from "./quote.ts";

/** Sets the label of upper or work, where SELinux is enabled. */
export async function applyLabel(operation: LabelOperation, run: Application): Promise<void> {
  if (!run.labels) return;
  const { setLabel } = await import("./label.ts");
  await setLabel(operation.path, operation.context, run.programs);
}

/**
 * Mounts. One process makes the kernel match the whole `overlay.fstab`; whether the rootfs is mounted
 * is seen, not believed.
 */
export async function applyMount(operation: MountOperation, run: Application): Promise<void> {
  const result = await mountAll(operation.fstab, run.programs);
  const mounted = isMounted(run.line);
  if (mounted) noteMount(operation.path, run);
  run.options.signal?.throwIfAborted();
  if (!mounted) throw mountError(run.line, result);
  if (result.status !== 0) {
    const said = printable(result.stderr);
    run.options.warn?.(`another app of the pod could not be mounted: ${said}`);
  }
}
