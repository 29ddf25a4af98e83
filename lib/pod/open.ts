/**
 * The one door into a pod that is there. Whoever enters has made sure that nobody else can swap the pod
 * or change what it records, and only then opens a file in it.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { OverlayError } from "../core/errors.ts";
import { checkPermissions } from "../system/permissions.ts";
import { checkAbove, checkFile, checkPod, checkSame } from "../system/trust.ts";
import type { PodLayout } from "../request/layout.ts";
import { lockPodIfThere } from "../system/lock.ts";
import { parent } from "../core/path.ts";
import { linePermissions, readRecord } from "./record.ts";
import type { PodRecord } from "./record.ts";

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
 * Checks that only root and the user we are can change a pod or its record, or swap it or a directory above it.
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
  const identity = checkPod(pod.pod);
  checkFile(pod.fstab);
  return identity;
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

/**
 * Checks the Deno permissions that the lines of pods take, all of them before the first pod is touched.
 *
 * @param action The action that needs them, such as `collect`.
 * @param how The directories that this call has checked before, and whose lines matter.
 * @throws {MissingPermissionError} If one is missing; it names the flags to add.
 */
export async function checkLinePermissions(
  action: string,
  pods: readonly PodLayout[],
  how: {
    readonly options: ChangeOptions;
    readonly trusted: Trusted;
    readonly isWanted?: (record: PodRecord) => boolean;
  },
): Promise<void> {
  const { options, trusted, isWanted = () => true } = how;
  const read: string[] = [];
  for (const pod of pods) {
    try {
      // The lines of a stranger may say anything.
      if (await checkTrusted(pod, options, trusted) === null) continue;
      const record = readRecord(pod.fstab);
      if (isWanted(record)) read.push(...linePermissions(record.lines, pod).read);
    } catch (error) {
      // What is wrong with one pod is told when it is its turn.
      if (!(error instanceof OverlayError)) throw error;
    }
  }
  checkPermissions(action, { read: [...new Set(read)], write: [], run: [] });
}
