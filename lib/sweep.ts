/**
 * Removing a pod that was put aside, the second pass of gc.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import { programOptions } from "./change_options.ts";
import type { ChangeOptions } from "./change_options.ts";
import { UnmountError } from "./errors.ts";
import type { PodLayout } from "./layout.ts";
import { refuseMounts, refuseNoPod } from "./mark.ts";
import { parseMountOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import { saidOf, unmountAll } from "./mounting.ts";
import { openPod } from "./open_pod.ts";
import type { Trusted } from "./open_pod.ts";
import { PodMounts } from "./pod_mounts.ts";
import type { PodRecord } from "./pod_state.ts";
import { quote } from "./quote.ts";
import { removePod } from "./removal.ts";

/** How a pod is removed. */
export interface Sweeping {
  /** Whether it is only said what would be done. */
  readonly dryRun: boolean;
  /** Who is told what happens. */
  readonly options: ChangeOptions;
  /** The directories above pods that were checked already. */
  readonly trusted?: Trusted;
}

/**
 * Unmounts what is mounted of a pod that was put aside, and removes it.
 *
 * @returns Whether it is gone by this call.
 * @throws {RefusedError} If a command works on it, or something else is mounted in it.
 * @throws {UnmountError} If an app of it is in use.
 */
export async function sweepPod(pod: PodLayout, sweeping: Sweeping): Promise<boolean> {
  const { dryRun, options, trusted } = sweeping;
  // Whoever named a directory so may keep other things in it.
  refuseNoPod(pod);
  if (dryRun) return true;
  using open = await openPod(pod, options, trusted);
  if (open === null) return false;
  await unmountOwn(pod, open.record, options);
  refuseMounts(pod, new PodMounts(pod, await mountTable(programOptions(options))));
  open.check();
  return removePod(pod, options);
}

/** Its mounts moved with it, so they are told by the uppers that its lines name, not by their places. */
async function unmountOwn(
  pod: PodLayout,
  { lines }: PodRecord,
  options: ChangeOptions,
): Promise<void> {
  const uppers = new Set(lines.map((line) => configOfLine(line, pod.pod).upper));
  const programs = programOptions(options);
  const mounts = new PodMounts(pod, await mountTable(programs));
  const own = mounts.inPod().filter(({ fstype, options }) => {
    const { upper } = parseMountOptions(options);
    return fstype === "overlay" && upper !== null && uppers.has(upper);
  });
  const [first] = own;
  if (first === undefined) return;
  const result = await unmountAll(own.map(({ target }) => target).reverse(), programs);
  if (result.status === 0) return;
  const { argv, status, stderr } = result;
  const said = saidOf(result, first.target);
  throw new UnmountError("busy", `Cannot unmount ${quote(first.target)}: umount said "${said}"`, {
    path: first.target,
    failure: { argv, status, stderr },
    unmounted: [],
  });
}
