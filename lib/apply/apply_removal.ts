/**
 * The removal of a pod that is set aside, and of the destinations outside it that a render made.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { attempt, entriesIn, errnoOfCause, look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { removeIfEmpty } from "../system/directory.ts";
import { listOrigins } from "../pod/garbage.ts";
import { removePod } from "../pod/removal.ts";
import { podLayout } from "../request/layout.ts";
import { checkAbove } from "../system/trust.ts";
import { child } from "../core/path.ts";
import { readRecord } from "../pod/record.ts";
import { quote, shellQuote } from "../core/quote.ts";
import type { RmdirOperation } from "../plan/collect_operation.ts";

/**
 * Removes the pod at its path in the garbage. Another process may have removed it already.
 *
 * @throws The signal's reason, if it is aborted.
 */
export async function applyRemove(_: unknown, run: ApplyRun): Promise<void> {
  run.checkPlace();
  if (await removePod(run.pod, run.options)) run.changed = true;
}

/**
 * Removes a destination, unless it is not empty, or belongs to a pod that was rendered in the place of this
 * one. A destination that stays does not keep anything else from being removed.
 */
export async function applyRmdir({ path, rootfs }: RmdirOperation, run: ApplyRun): Promise<void> {
  try {
    if (isUsedAgain(rootfs, run.pod.pod)) return;
    await checkAbove([rootfs], run.programs);
    removeEmpty(rootfs);
    if (path !== rootfs) removeDestination(path);
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    const hint = error.hint ?? `to remove it by hand: rm -r ${shellQuote(path)}`;
    run.options.warn?.(`${error.message}; ${hint}`);
  }
}

/** Tells whether a new pod with the name of one in the garbage has a line with this rootfs. */
function isUsedAgain(rootfs: string, garbage: string): boolean {
  return listOrigins(garbage).some((origin) => {
    return readRecord(podLayout(origin).fstab).lines.some((line) => line.rootfs === rootfs);
  });
}

/** Removes a destination and the manifest that the render put into it. */
function removeDestination(dest: string): void {
  const [first, ...more] = look(dest)?.isDirectory ? entriesIn(dest) : [];
  if (first?.name === "manifest" && first.isFile && more.length === 0) {
    const manifest = child(dest, "manifest");
    attempt("remove", manifest, () => Deno.removeSync(manifest));
  }
  removeEmpty(dest);
}

function removeEmpty(path: string): void {
  try {
    if (!removeIfEmpty(path)) throw notEmpty(path, "something is in it");
  } catch (error) {
    if (errnoOfCause(error) !== "EBUSY") throw error;
    const hint = `see what, with findmnt ${shellQuote(path)}`;
    throw notEmpty(path, "something is mounted on it", hint);
  }
}

function notEmpty(path: string, reason: string, hint?: string): OverlayError {
  return new OverlayError("failed", `destination ${quote(path)} stays: ${reason}`, { path, hint });
}
