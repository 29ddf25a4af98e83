/**
 * The one door into a pod that is there. Whoever enters has made sure that nobody else can swap the pod
 * or change what it records, and only then opens a file in it.
 *
 * @module
 */
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { checkAbove, checkPod, checkSame } from "./guard.ts";
import type { PodLayout } from "./layout.ts";
import { lockPodIfThere } from "./lock.ts";
import { parent } from "./path.ts";
import { readRecord } from "./pod_state.ts";
import type { PodRecord } from "./pod_state.ts";

/** A pod that is locked, and what it records. Disposing it frees the lock. */
export interface OpenPod extends Disposable {
  /** Its `overlay.fstab`, read after the pod was locked. */
  readonly record: PodRecord;
  /**
   * Checks that the pod is still the directory that was opened; called before each phase of a change.
   *
   * @throws {RefusedError} If it was moved or replaced.
   */
  check(): void;
}

/** Directories above which all is trusted already; many pods have theirs in common. */
export type Trusted = Set<string>;

/**
 * Checks that only root and the user we are can change a pod, or swap it or a directory above it.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, unless all of `/` may be read,
 * and `--allow-sys=uid`.
 *
 * @param trusted The directories that this call has checked before; this one's is added.
 * @returns The identity of the pod, see `identityOf`; `null` if it is not there.
 * @throws {RefusedError} If somebody else can, or the pod is a symlink.
 * @throws {OverlayError} If the pod is no directory.
 */
export async function checkTrusted(
  pod: PodLayout,
  options: ChangeOptions,
  trusted: Trusted = new Set(),
): Promise<string | null> {
  const above = parent(pod.pod);
  if (!trusted.has(above)) await checkAbove([pod.pod], programOptions(options));
  trusted.add(above);
  return checkPod(pod.pod);
}

/**
 * Opens a pod to change it: checks who else could, locks it, and reads its record.
 *
 * Requires the permissions of {@linkcode checkTrusted}, and `--allow-write` for the pod.
 *
 * @param trusted The directories that this call has checked before.
 * @returns The pod; `null` if it is not there, or another process collects it meanwhile.
 * @throws {RefusedError} If somebody else can change it, or a command works on it for too long.
 * @throws {OverlayError} If it cannot be read.
 */
export async function openPod(
  pod: PodLayout,
  options: ChangeOptions,
  trusted?: Trusted,
): Promise<OpenPod | null> {
  if (await checkTrusted(pod, options, trusted) === null) return null;
  const lock = await lockPodIfThere(pod.lock, options);
  if (lock === null) return null;
  try {
    // While this call waited, another one may have collected the pod, and a third one made it again.
    const identity = checkPod(pod.pod);
    const check = () => checkSame(pod.pod, identity);
    return { record: readRecord(pod.fstab), check, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}
