/**
 * Opens existing pods: the only way into one. It first makes sure that no other user can replace the pod
 * or change its record, and only then opens a file in it.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { checkPermissions, TRUST } from "../system/permissions.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { checkAbove, checkFile, checkPod, checkSame } from "../system/trust.ts";
import type { PodLayout } from "../request/layout.ts";
import { lockPodIfThere } from "../system/lock.ts";
import type { PodLock } from "../system/lock.ts";
import { mountTable } from "../system/mount_table.ts";
import { isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { linePermissions, readRecord } from "./record.ts";
import { MountIndex } from "./mount_index.ts";
import { PodMounts, showsMount } from "./mounts.ts";
import type { PodRecord, PodSnapshot } from "../plan/snapshot.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { ProgramOptions } from "../system/run.ts";
import { MissingPermissionError, OverlayError } from "../core/errors.ts";
import { formatFstab } from "../overlay/fstab.ts";

/** One call of the library, with a cache that the pods it opens share. */
export class Call {
  /** The options of the call: listeners, the time to wait for a lock, and the signal. */
  readonly options: ChangeOptions;
  /** The options with which programs are run. */
  readonly programs: ProgramOptions;
  /** Directories whose parents were found to be trusted; many pods share them. */
  readonly trusted: Set<string> = new Set();
  #mounts: Promise<MountIndex> | null = null;

  /** Begins a call with an empty cache. */
  constructor(options: ChangeOptions = {}) {
    this.options = options;
    this.programs = programOptions(options);
  }

  /**
   * Reads the mount table, once, and again after a change.
   *
   * Requires `--allow-run` permission for findmnt.
   */
  mounts(): Promise<MountIndex> {
    this.#mounts ??= mountTable(this.programs).then((table) => new MountIndex(table));
    return this.#mounts;
  }

  /** Forgets the mount table, since something was mounted or unmounted. */
  forgetMounts(): void {
    this.#mounts = null;
  }
}

/** An open pod, which only root and the current user can change, and its record. Disposing it frees the lock. */
export class OpenPod implements Disposable {
  /** The pod. */
  readonly layout: PodLayout;
  /** Its `overlay.fstab`; a pod that is locked was read under the lock. */
  readonly record: PodRecord;
  /** The call that opened it. */
  readonly call: Call;
  /** The identity of its directory, see `formatIdentity`. */
  readonly identity: string | null;
  readonly #lock: PodLock | null;
  readonly #earlier: OpenPod | null;
  #mounts: PodMounts | null = null;

  /** Reads the record of a pod that is checked. */
  constructor(
    { layout, call, identity, lock = null, earlier = null }: {
      readonly layout: PodLayout;
      readonly call: Call;
      readonly identity: string | null;
      readonly lock?: PodLock | null;
      readonly earlier?: OpenPod | null | undefined;
    },
  ) {
    this.layout = layout;
    this.call = call;
    this.record = readRecord(layout.fstab);
    this.identity = identity;
    this.#lock = lock;
    this.#earlier = earlier;
  }

  /**
   * Checks that the pod is still the directory that was opened; called before each phase of a change.
   *
   * @throws {RefusedError} If it was moved or replaced.
   */
  check(): void {
    checkSame(this.layout.pod, this.identity);
  }

  /** Looks at the mount table for the pod, once. */
  async mounts(): Promise<PodMounts> {
    if (this.#mounts !== null) return this.#mounts;
    const earlier = await this.#earlier?.mounts();
    const isTrue = earlier !== undefined && this.#isUnchangedSince(earlier);
    // The table that the call knows is the one by which the earlier look was made.
    if (earlier !== undefined && !isTrue) this.call.forgetMounts();
    const index = isTrue ? earlier.index : await this.call.mounts();
    return this.#mounts = new PodMounts(this.layout, index);
  }

  /**
   * Tells whether a mount table that was read before the pod was locked still holds for the pod. A command that
   * mounts an app holds the lock, and leaves a line and a mount point. Mounts outside the pod are not checked.
   */
  #isUnchangedSince(earlier: PodMounts): boolean {
    const had = this.#earlier?.record.entries ?? [];
    if (formatFstab(had) !== formatFstab(this.record.entries)) return false;
    return this.record.lines.every((line) => {
      const isIdle = earlier.stateOf(line) === "unmounted";
      return isWithin(line.rootfs, this.layout.pod) && isIdle !== showsMount(line);
    });
  }

  /**
   * Compares lines of the pod with the mount table.
   *
   * Requires the permissions of `linePermissions`, and `--allow-run` for findmnt.
   *
   * @param action The action that needs the result, such as `unmount`.
   * @param lines The lines. @default {all}
   * @throws {MissingPermissionError} If a permission is missing; nothing was touched.
   */
  async snapshot(
    action: string,
    lines: readonly AppLine[] = this.record.lines,
  ): Promise<PodSnapshot> {
    checkPermissions(action, linePermissions(lines, this.layout));
    const mounts = await this.mounts();
    const all = lines === this.record.lines;
    return {
      pod: this.layout,
      record: this.record,
      seen: lines.map((line) => mounts.see(line)),
      unnamed: all ? mounts.unnamed(lines) : [],
    };
  }

  /** Frees the lock. */
  [Symbol.dispose](): void {
    this.#lock?.[Symbol.dispose]();
  }
}

/** Computes the Deno permissions that are needed to open pods and look at their mounts. */
export function openPermissions(directory: string, locks = false): RequiredPermissions {
  const write = locks ? [directory] : [];
  return { read: [directory], write, run: [PROGRAMS.findmnt, ...TRUST.run], sys: TRUST.sys };
}

/**
 * Checks that only root and the current user can change a pod or its record, or replace it or a parent directory.
 *
 * Requires `--allow-read` permission for the pod, `--allow-run` for find, unless all of `/` may be read,
 * and `--allow-sys=uid`.
 *
 * @returns The identity of the pod, see `formatIdentity`; `null` if it is not there.
 * @throws {RefusedError} If another user can, or the pod is a symlink.
 * @throws {OverlayError} If the pod is no directory.
 */
export async function checkTrusted(pod: PodLayout, call: Call): Promise<string | null> {
  const above = parent(pod.pod);
  if (!call.trusted.has(above)) await checkAbove([pod.pod], call.programs);
  call.trusted.add(above);
  const identity = checkPod(pod.pod);
  checkFile(pod.fstab);
  return identity;
}

/** The options of {@linkcode openPod}. */
export interface OpenOptions {
  /** Set if the pod is locked, so that no other command changes it while it is open. @default {true} */
  readonly lock?: boolean;
  /** The pod as it was opened before without the lock; its mounts are used again if they still hold. */
  readonly earlier?: OpenPod;
  /** How long to wait for another command that works on the pod, in milliseconds. @default {that of the call} */
  readonly waitMs?: number;
}

/**
 * Opens a pod: checks that no other user can change it, and reads its record.
 *
 * Requires the permissions of {@linkcode checkTrusted}, and `--allow-write` for a pod that is locked.
 *
 * @returns The pod; `null` if it does not exist, or another process is collecting it.
 * @throws {RefusedError} If another user can change it, or another command holds its lock for too long.
 * @throws {OverlayError} If it cannot be read.
 */
export async function openPod(
  layout: PodLayout,
  call: Call,
  { lock: locks = true, earlier, waitMs = call.options.waitMs }: OpenOptions = {},
): Promise<OpenPod | null> {
  const identity = await checkTrusted(layout, call);
  if (identity === null) return null;
  if (!locks) return new OpenPod({ layout, call, identity });
  const lock = await lockPodIfThere(layout.lock, { waitMs, signal: call.options.signal });
  if (lock === null) return null;
  try {
    // While this call waited, another one may have collected the pod, and a third one made it again.
    return new OpenPod({ layout, call, identity: checkPod(layout.pod), lock, earlier });
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

/** One of several pods that were opened to be looked at, or the error that kept it from being opened. */
export type Visited =
  | { readonly layout: PodLayout; readonly open: OpenPod }
  | { readonly layout: PodLayout; readonly error: OverlayError };

/**
 * Opens pods without locking them. An error in one does not keep the others from being opened.
 *
 * @param action The action that needs the permissions for their lines, such as `collect`.
 * @param isWanted Selects the pods whose lines are needed. @default {all}
 * @throws {MissingPermissionError} If one is missing for any of them; it names the flags to add.
 */
export async function openAll(
  action: string,
  layouts: readonly PodLayout[],
  call: Call,
  isWanted: (record: PodRecord) => boolean = () => true,
): Promise<readonly Visited[]> {
  const visited: Visited[] = [];
  for (const layout of layouts) {
    try {
      const open = await openPod(layout, call, { lock: false });
      if (open !== null) visited.push({ layout, open });
    } catch (error) {
      if (!(error instanceof OverlayError) || error instanceof MissingPermissionError) throw error;
      visited.push({ layout, error });
    }
  }
  const read = visited.flatMap((pod) => {
    if ("error" in pod || !isWanted(pod.open.record)) return [];
    return linePermissions(pod.open.record.lines, pod.layout).read;
  });
  checkPermissions(action, { read: [...new Set(read)], write: [], run: [] });
  return visited;
}
