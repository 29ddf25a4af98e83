/**
 * The error of a rootfs that could not be unmounted: which, why, and what to do about it.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import { UnmountError } from "./errors.ts";
import type { PodLayout } from "./layout.ts";
import { saidOf } from "./mounting.ts";
import { isWithin } from "./path.ts";
import type { PodMounts } from "./pod_mounts.ts";
import { quote, shellQuote } from "./quote.ts";
import type { ProgramResult } from "./run.ts";

/** What is known when some apps could not be unmounted. */
export interface Unmounting {
  /** The lines of the apps that were unmounted. */
  readonly gone: readonly AppLine[];
  /** What is mounted now. */
  readonly mounts: PodMounts;
  /** The pod. */
  readonly pod: PodLayout;
  /** What umount answered. */
  readonly result: ProgramResult;
}

/**
 * The error of what is still mounted.
 *
 * @param left Where; at least one.
 */
export function busyError(
  left: readonly Pick<AppLine, "rootfs">[],
  unmounting: Unmounting,
): UnmountError {
  const { gone, mounts, pod, result } = unmounting;
  const all = left.map((line) => {
    const target = mounts.targetOf(line.rootfs) ?? line.rootfs;
    return `${quote(line.rootfs)}: umount said "${saidOf(result, target)}"`;
  });
  const first = left[0]?.rootfs ?? pod.pod;
  const { argv, status, stderr } = result;
  const code = /busy/.test(stderr) ? "busy" : "unmount-failed";
  return new UnmountError(code, `Cannot unmount ${all.join("; ")}`, {
    path: first,
    hint: hintForBusy(first, mounts),
    failure: { argv, status, stderr },
    unmounted: gone.map(({ app, rootfs }) => ({ app, rootfs })),
  });
}

function hintForBusy(rootfs: string, mounts: PodMounts): string {
  const target = mounts.targetOf(rootfs) ?? rootfs;
  const inside = mounts.table.filter((mount) => {
    return mount.target !== target && isWithin(mount.target, target);
  });
  if (inside.length > 0) {
    return `unmount what is mounted inside first: ${inside.map((m) => quote(m.target)).join(", ")}`;
  }
  return `end the processes that use it, which this lists: fuser --verbose --mount ${
    shellQuote(rootfs)
  }`;
}
