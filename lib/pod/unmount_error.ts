/**
 * The error for a rootfs that could not be unmounted: its path, the cause, and a hint.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import { OverlayError, UnmountError } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";
import type { PodLayout } from "../request/layout.ts";
import { extractMessage } from "./mount_output.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { PodMounts } from "./mounts.ts";
import { printable, quote, shellQuote } from "../core/quote.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions, ProgramResult } from "../system/run.ts";

/** The state after some apps could not be unmounted. */
export interface Unmounting {
  /** The lines of the apps that were unmounted. */
  readonly gone: readonly AppLine[];
  /** The mounts that are there now. */
  readonly mounts: PodMounts;
  /** The pod. */
  readonly pod: PodLayout;
  /** The result of umount. */
  readonly result: ProgramResult;
  /** The options with which programs are run. */
  readonly programs: ProgramOptions;
}

/** The largest number of processes that a message names. */
const MOST_NAMED = 5;

/**
 * Makes the error for mounts that are still there. It names the processes that use the first of them, if
 * fuser(1) is installed and may be run; /proc itself may only be read with all permissions.
 *
 * @param left The mount points that are left; at least one.
 */
export async function busyError(
  left: readonly Pick<AppLine, "rootfs">[],
  unmounting: Unmounting,
): Promise<UnmountError> {
  const { gone, mounts, pod, result, programs } = unmounting;
  const all = left.map((line) => {
    const target = mounts.targetOf(line.rootfs) ?? line.rootfs;
    return `${quote(line.rootfs)}: umount failed: "${extractMessage(result, target)}"`;
  });
  const first = left[0]?.rootfs ?? pod.pod;
  const { argv, status, stderr } = result;
  const code = /busy/.test(stderr) ? "busy" : "unmount-failed";
  const inside = insideOf(first, mounts);
  const holders = code === "busy" && inside.length === 0 ? await holdersOf(first, programs) : [];
  const held = holders.length === 0 ? "" : `; ${quote(first)} is held by ${nameAll(holders)}`;
  return new UnmountError(code, `Cannot unmount ${all.join("; ")}${held}`, {
    path: first,
    hint: hintForBusy(first, inside, holders),
    failure: { argv, status, stderr },
    unmounted: gone.map(({ app, rootfs }) => ({ app, rootfs })),
  });
}

/** The mount points inside a rootfs. */
function insideOf(rootfs: string, mounts: PodMounts): readonly string[] {
  const target = mounts.targetOf(rootfs) ?? rootfs;
  return mounts.index.within(target).map((mount) => mount.target).filter((other) => {
    return other !== target;
  });
}

function hintForBusy(
  rootfs: string,
  inside: readonly string[],
  holders: readonly Holder[],
): string {
  if (inside.length > 0) {
    const all = inside.map(quote).join(", ");
    return `unmount what is mounted inside first, as --recursive does: ${all}`;
  }
  const lists = `fuser --verbose --mount ${shellQuote(rootfs)}`;
  if (holders.length === 0) return `end the processes that use it, which this lists: ${lists}`;
  const pids = holders.slice(0, MOST_NAMED).map(({ pid }) => pid).join(" ");
  return `end the processes that use it, and run this again: kill ${pids} (${lists})`;
}

/** A process that uses a mount. */
interface Holder {
  readonly pid: string;
  readonly command: string;
}

function nameAll(holders: readonly Holder[]): string {
  const named = holders.slice(0, MOST_NAMED).map(({ pid, command }) => `${pid} (${command})`);
  const more = holders.length - named.length;
  const words = named.length === 1 ? "process" : "processes";
  return `${words} ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Lists the processes that fuser(1) finds; none if it is not installed, or may not be run. */
async function holdersOf(rootfs: string, programs: ProgramOptions): Promise<readonly Holder[]> {
  if (!isGranted({ name: "run", command: PROGRAMS.fuser })) return [];
  try {
    const args = ["--verbose", "--mount", rootfs];
    const { stdout, stderr } = await run(PROGRAMS.fuser, args, { ...programs, cwd: "/" });
    // The numbers stand on stdout, and what they are in as many rows at the end of stderr: user, access, command.
    const pids = stdout.trim().split(/\s+/);
    const rows = stderr.split("\n").slice(-pids.length);
    return pids.flatMap((pid, at) => {
      // For the mount itself it prints "kernel" in place of a process.
      if (!/^\d+$/.test(pid)) return [];
      const command = rows[at]?.trim().split(/\s+/).slice(2).join(" ") ?? "";
      return [{ pid, command: printable(command) }];
    });
  } catch (error) {
    if (error instanceof OverlayError) return [];
    throw error;
  }
}
