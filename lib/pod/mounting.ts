/**
 * Mounting the lines of `overlay.fstab`, and verifying the mounts.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import { attempt, isOnOtherDevice } from "../system/disk.ts";
import { writeScratch } from "../system/own_file.ts";
import type { MountError } from "../core/errors.ts";
import { formatFstab } from "../overlay/fstab.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { Mount } from "../system/mount_table.ts";
import { basename, isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { quote } from "../core/quote.ts";
import { run as runProgram } from "../system/run.ts";
import type { ProgramOptions, ProgramResult } from "../system/run.ts";
import type { FoundMount } from "./verify.ts";
import type { Mounting } from "./mount_context.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";

/**
 * Mounts lines of `overlay.fstab`, none of which may be mounted, in one process.
 *
 * `mount --all` of the whole file would also mount the pod's other apps, whatever is mounted in their
 * places. So several lines are written into a file of their own, and a single line is named.
 *
 * Requires `--allow-run` permission for mount.
 */
async function mountProcess(
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<ProgramResult> {
  const { fstab } = mounting.pod;
  const how = { ...mounting.programs, cwd: parent(fstab) };
  const [first] = lines;
  if (first !== undefined && lines.length === 1) {
    return await runProgram(PROGRAMS.mount, ["--fstab", basename(fstab), "--", first.rootfs], how);
  }
  return await mountBatch(lines, mounting);
}

/** Mounts lines that are written into a file of their own, in the pod. */
async function mountBatch(
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<ProgramResult> {
  const { pod, batch } = mounting.pod;
  const how = { ...mounting.programs, cwd: pod };
  const text = formatFstab(lines.map((line) => ({ ...line, auto: true })));
  writeScratch(batch, new TextEncoder().encode(text));
  try {
    mounting.options.checkpoint?.("batch");
    return await runProgram(PROGRAMS.mount, ["--all", "--fstab", basename(batch)], how);
  } finally {
    attempt("remove", batch, () => Deno.removeSync(batch));
  }
}

/**
 * Unmounts mount points in one process, in the order given.
 *
 * Requires `--allow-run` permission for umount.
 */
export function unmountAll(
  targets: readonly string[],
  options: ProgramOptions,
  lazy = false,
): Promise<ProgramResult> {
  const flags = lazy ? ["--lazy", "--"] : ["--"];
  return runProgram(PROGRAMS.umount, [...flags, ...targets], { ...options, cwd: "/" });
}

/** The result of mounting lines. */
export interface Mounted {
  /** The mount points that were mounted, in the right place or not. */
  readonly targets: readonly string[];
  /** The lines that are not mounted, each with the reason. */
  readonly failures: readonly { readonly line: AppLine; readonly error: MountError }[];
}

/**
 * Mounts lines of `overlay.fstab`, none of which may be mounted, in one process. The result
 * is verified: in the pod by the device, and outside it or with a label, by the mount table.
 */
export async function tryMount(lines: readonly AppLine[], mounting: Mounting): Promise<Mounted> {
  const exposed = new Set(lines.filter((line) => isExposed(line, mounting)));
  const before = exposed.size === 0 ? undefined : await mountsBefore(mounting);
  const result = await mountProcess(lines, mounting);
  mounting.options.checkpoint?.("mounted");
  return await lookAtMounted(lines, mounting, { result, exposed, before });
}

async function lookAtMounted(
  lines: readonly AppLine[],
  mounting: Mounting,
  known: {
    readonly result: ProgramResult;
    readonly exposed: ReadonlySet<AppLine>;
    readonly before?: readonly Mount[] | undefined;
  },
): Promise<Mounted> {
  const { result, exposed, before } = known;
  const unseen = lines.filter((line) => exposed.has(line) || !isSeen(line));
  if (unseen.length === 0) return { targets: lines.map(({ rootfs }) => rootfs), failures: [] };
  const { findMounted } = await import("./verify.ts");
  const found = await findMounted(unseen, mounting, before);
  warnOfLabels(found, mounting.options);
  const left = new Set(unseen);
  const seen = lines.filter((line) => !left.has(line)).map(({ rootfs }) => rootfs);
  return {
    targets: [...seen, ...found.flatMap(({ target }) => target ?? [])],
    failures: await failuresOf(found, result, mounting),
  };
}

/** Loaded when it is needed: most apps lie in their pod. */
async function mountsBefore({ programs }: Mounting): Promise<readonly Mount[]> {
  const { mountTable } = await import("../system/mount_table.ts");
  return await mountTable(programs);
}

/** Without SELinux a recorded label is left out, with one warning for each label. */
function warnOfLabels(found: readonly FoundMount[], { warn }: ChangeOptions): void {
  const lost = found.flatMap(({ isRight, lostLabel }) => isRight ? lostLabel ?? [] : []);
  for (const label of new Set(lost)) {
    warn?.(`label ${quote(label)} is left out: SELinux is not enabled`);
  }
}

async function failuresOf(
  found: readonly FoundMount[],
  result: ProgramResult,
  mounting: Mounting,
): Promise<Mounted["failures"]> {
  const failed = found.filter(({ isRight }) => !isRight);
  if (failed.length === 0) return [];
  const { mountErrors } = await import("./mount_error.ts");
  return await mountErrors(failed, result, mounting);
}

/**
 * Tells whether another user may replace a directory on the way to a rootfs during the mount: mount(8) passes
 * the path to the kernel, which resolves it again.
 */
function isExposed(line: AppLine, { pod, isLive }: Mounting): boolean {
  return !isWithin(line.rootfs, pod.pod) || isLive?.(line) === true;
}

/**
 * Tells whether the device alone shows that a line is mounted: it is no bind mount, and has no label. So most renders
 * need not load what reads the mount table.
 */
function isPlain({ source, options }: AppLine): boolean {
  return source === "overlay" && !options.includes("context=");
}

function isSeen(line: AppLine): boolean {
  return isPlain(line) && isOnOtherDevice(line.rootfs);
}

/** Lines of one pod that are mounted. */
export interface PodLines {
  /** The lines, none of which may be mounted. */
  readonly lines: readonly AppLine[];
  /** The pod. */
  readonly mounting: Mounting;
}

/**
 * Mounts lines of several pods in one process, see {@linkcode tryMount}. Lines with paths that are relative to
 * a pod, and lines that are verified by the mount table, need a process of their own.
 *
 * @returns The result for each pod; `undefined` for a pod that is left to {@linkcode tryMount}.
 */
export async function mountTogether(
  pods: readonly PodLines[],
): Promise<readonly (Mounted | undefined)[]> {
  const joined = pods.filter(({ lines, mounting }) => {
    return lines.every((line) => {
      return isPlain(line) && hasWholePaths(line) && !isExposed(line, mounting);
    });
  });
  const [first] = joined;
  if (first === undefined || joined.length === 1) return [];
  const { mounting } = first;
  const result = await mountBatch(joined.flatMap(({ lines }) => lines), mounting);
  mounting.options.checkpoint?.("mounted");
  const found: (Mounted | undefined)[] = [];
  for (const pod of pods) {
    const { lines, mounting } = pod;
    const known = { result, exposed: new Set<AppLine>() };
    found.push(joined.includes(pod) ? await lookAtMounted(lines, mounting, known) : undefined);
  }
  return found;
}

/** Tells whether all paths in the options of a line begin at the root. */
function hasWholePaths({ options }: AppLine): boolean {
  const { lower, upper, work } = parseMountOptions(options);
  return [...lower, upper, work].every((path) => path === null || path.startsWith("/"));
}
