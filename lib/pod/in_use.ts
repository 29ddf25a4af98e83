/**
 * Uppers that are part of a mount which the mount table does not show: one that was unmounted lazily, or one
 * in another mount namespace, such as that of a container.
 *
 * The kernel refuses to mount such an upper with `index=on` (kernel,
 * Documentation/filesystems/overlayfs.rst, "Sharing and copying layers").
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { attempt, isDiskFull, look } from "../system/disk.ts";
import { writeScratch } from "../system/own_file.ts";
import { RefusedError } from "../core/errors.ts";
import { formatFstab } from "../overlay/fstab.ts";
import type { PodLayout } from "../request/layout.ts";
import { mountOptions } from "../overlay/mount_config.ts";
import { extractMessage } from "./mount_output.ts";
import type { Mounting } from "./mount_context.ts";
import { basename, isWithin } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { appWords, quote } from "../core/quote.ts";
import { run } from "../system/run.ts";
import type { ProgramResult } from "../system/run.ts";

/** The time to wait for an upper to become free while an earlier umount still runs, in milliseconds. */
const SETTLE_MS = 2000;

const SETTLE_POLL_MS = 50;

const ELSEWHERE = ", in another mount namespace or while it is being unmounted";

/** A line whose upper is checked. */
interface Probe {
  readonly line: AppLine;
  readonly upper: string;
}

function probesOf(lines: readonly AppLine[], pod: PodLayout): readonly Probe[] {
  return lines.flatMap((line) => {
    const { upper } = readLineConfig(line, pod.pod);
    return upper !== null && look(upper)?.isDirectory ? [{ line, upper }] : [];
  });
}

/**
 * The line of a mount that must fail. The kernel looks at the upper first, and with `index=on` refuses one
 * that is in use as busy; then it refuses a work that is the upper itself as invalid, before it makes or
 * marks anything (kernel, fs/overlayfs/super.c, ovl_get_upper() and ovl_get_workdir()). So nothing of the
 * pod changes, whatever the answer; and neither its tree nor whether it was volatile matters.
 */
function failingLine({ line, upper }: Probe, pod: PodLayout): AppLine {
  const name = isWithin(upper, pod.pod) ? upper.slice(pod.pod.length + 1) : upper;
  const paths = { lower: ["."], upper: name, work: name };
  const options = mountOptions({ ...paths, label: null, options: ["index=on"] });
  return { ...line, rootfs: upper, source: "overlay", options, auto: true };
}

/**
 * Asks the kernel which uppers are part of a mount in any mount namespace. The pod must be locked, and
 * none of the lines mounted.
 *
 * @returns The lines whose upper is in use (`true`), and those for which the kernel has no answer (`null`).
 */
async function askFor(
  probes: readonly Probe[],
  mounting: Mounting,
): Promise<ReadonlyMap<AppLine, true | null>> {
  const rows = probes.map((probe) => failingLine(probe, mounting.pod));
  // One line needs no file, and on a full disk none can be written.
  const results = rows.length > 1 && !mounting.dryRun && writeBatch(rows, mounting.pod)
    ? await askTogether(rows, mounting)
    : await askEach(rows, mounting);
  mounting.options.checkpoint?.("probing");
  return new Map(probes.flatMap(({ line, upper }, at) => {
    const result = results[at];
    const answer = result === undefined ? null : answerOf(extractMessage(result, upper));
    return answer === false ? [] : [[line, answer]];
  }));
}

/** Writes the lines for one mount process; `false` when there is no space for them. */
function writeBatch(rows: readonly AppLine[], { batch }: PodLayout): boolean {
  try {
    writeScratch(batch, new TextEncoder().encode(formatFstab(rows)));
    return true;
  } catch (error) {
    if (isDiskFull(error)) return false;
    throw error;
  }
}

async function askTogether(
  rows: readonly AppLine[],
  { pod, programs }: Mounting,
): Promise<readonly ProgramResult[]> {
  try {
    const result = await run(PROGRAMS.mount, ["--all", "--fstab", basename(pod.batch)], {
      ...programs,
      cwd: pod.pod,
      // Every line fails, and each with a line.
      buffered: true,
    });
    return rows.map(() => result);
  } finally {
    attempt("remove", pod.batch, () => Deno.removeSync(pod.batch));
  }
}

async function askEach(
  rows: readonly AppLine[],
  { pod, programs }: Mounting,
): Promise<readonly ProgramResult[]> {
  const results: ProgramResult[] = [];
  for (const { rootfs, options } of rows) {
    const args = ["--types", "overlay", "--options", options, "--", "overlay", rootfs];
    results.push(await run(PROGRAMS.mount, args, { ...programs, cwd: pod.pod }));
  }
  return results;
}

/**
 * Asks until no upper is in use, or the time is over. A umount process lives on when the command that
 * started it is killed. Its mount is out of the table at once, but the upper is free only when the kernel
 * has written it to the disk.
 */
async function settledAnswers(
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<ReadonlyMap<AppLine, true | null>> {
  const probes = probesOf(lines, mounting.pod);
  if (probes.length === 0) return new Map();
  const { waitMs = SETTLE_MS, signal } = mounting.options;
  const end = performance.now() + Math.min(waitMs, SETTLE_MS);
  for (;;) {
    const answers = await askFor(probes, mounting);
    const settles = [...answers].some(([line, used]) => used === true && !line.lazy);
    if (!settles || performance.now() >= end) return answers;
    await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS));
    signal?.throwIfAborted();
  }
}

function answerOf(said: string): boolean | null {
  if (/busy|already mounted/.test(said)) return true;
  return said.includes("wrong fs type") ? false : null;
}

/**
 * Finds apps whose upper is in use in a mount that the mount table does not show. For apps that were
 * unmounted lazily the kernel must confirm that they are free; others are only found if they are in use.
 *
 * Requires `--allow-run` permission for mount, umount and findmnt.
 *
 * @param verb What cannot be done with such an app.
 * @param lines Lines that are not mounted, of a pod that is locked.
 * @returns The lines, each with the reason to refuse it.
 */
export async function findInUse(
  verb: string,
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<ReadonlyMap<AppLine, RefusedError>> {
  const found = new Map<AppLine, RefusedError>();
  for (const [line, used] of await settledAnswers(lines, mounting)) {
    if (used === null && !line.lazy) continue;
    const why = line.lazy ? "it was unmounted lazily, and " : "";
    const reason = used
      ? `${why}a process uses it still${line.lazy ? "" : ELSEWHERE}`
      : `${why}whether a process uses it still is not known`;
    const message = `Cannot ${verb} ${appWords(line.app)} of pod ${quote(mounting.pod.pod)}`;
    const hint = "end the processes that were started in it, and run this again";
    found.set(line, new RefusedError("busy", `${message}: ${reason}`, { path: line.rootfs, hint }));
  }
  return found;
}

/**
 * Refuses apps whose upper is in use, see {@linkcode findInUse}.
 *
 * @throws {RefusedError} If one is in use, or was unmounted lazily and the kernel has no answer.
 */
export async function refuseInUse(
  verb: string,
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<void> {
  const [error] = (await findInUse(verb, lines, mounting)).values();
  if (error !== undefined) throw error;
}
