/**
 * Uppers that are part of a mount nobody sees: one that was unmounted lazily, or one that lives on in
 * another mount namespace, as in a container that was started in it.
 *
 * The kernel knows, and says so when such an upper is mounted with `index=on`: only then does it refuse
 * one that is in use (kernel, Documentation/filesystems/overlayfs.rst, "Sharing and copying layers").
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { makeDirectory } from "./directory.ts";
import { attempt, look, writeScratch } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { formatFstab } from "./fstab.ts";
import { podLayout, volatileMark } from "./layout.ts";
import type { PodLayout } from "./layout.ts";
import { mountOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import { saidOf, unmountAll } from "./mounting.ts";
import type { Mounting } from "./mounting.ts";
import { child, isWithin, parent } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { PodMounts } from "./pod_mounts.ts";
import { directoriesIn } from "./pods.ts";
import { appWords, quote } from "./quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** A line whose upper is asked for, and where it is mounted for that. */
interface Probe {
  readonly line: AppLine;
  readonly target: string;
  readonly work: string;
  readonly options: string;
  /** The index that asking leaves in the work; `null` when there was one before. */
  readonly index: string | null;
}

/** Where uppers of a pod are mounted to be asked for; there only meanwhile. */
function probePlace(pod: PodLayout): string {
  return child(pod.pod, "overlay.probe");
}

/** Whether a directory of the pod is there, and no link leads out of the pod on the way to it. */
function isReal(path: string, pod: PodLayout): boolean {
  if (!isWithin(path, pod.pod)) return false;
  for (let at = path; at !== pod.pod; at = parent(at)) {
    if (look(at)?.isDirectory !== true) return false;
  }
  return true;
}

function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/** The lines that have an upper to ask for. A lower that is gone is replaced: the upper is looked at first. */
function probesOf(lines: readonly AppLine[], pod: PodLayout): readonly Probe[] {
  const place = probePlace(pod);
  return lines.flatMap((line, at) => {
    const { lower, upper, work } = configOfLine(line, pod.pod);
    if (upper === null || work === null || !isReal(upper, pod) || !isReal(work, pod)) return [];
    const target = child(place, String(at));
    const there = lower.every((path) => !mayRead(path) || look(path) !== null);
    const options = mountOptions({
      lower: there ? lower : [place],
      upper,
      work,
      label: null,
      options: ["index=on"],
    });
    const index = child(work, "index");
    return [{ line, target, work, options, index: look(index) === null ? index : null }];
  });
}

/**
 * Asks the kernel which uppers are part of a mount, in one mount process. The pod must be locked, and none
 * of the lines mounted.
 *
 * @returns The lines whose upper is in use (`true`), and those of which the kernel does not say (`null`).
 */
async function askFor(
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<ReadonlyMap<AppLine, true | null>> {
  const { pod, programs, options } = mounting;
  const probes = probesOf(lines, pod);
  if (probes.length === 0) return new Map();
  await clearProbes(pod, programs);
  makeDirectory(probePlace(pod), 0o700);
  for (const { target } of probes) makeDirectory(target, 0o700);
  const rows = probes.map(({ line, target, options }) => {
    return { ...line, rootfs: target, source: "overlay", options, auto: true };
  });
  writeScratch(pod.batch, new TextEncoder().encode(formatFstab(rows)));
  const name = pod.batch.slice(pod.pod.length + 1);
  const result = await run(PROGRAMS.mount, ["--all", "--fstab", name], {
    ...programs,
    cwd: pod.pod,
  });
  options.checkpoint?.("probing");
  attempt("remove", pod.batch, () => Deno.removeSync(pod.batch));
  const mounts = new PodMounts(pod, await mountTable(programs));
  const answers = probes.map((probe): [AppLine, boolean | null] => {
    const mount = mounts.table.findLast(({ target }) => target === mounts.targetOf(probe.target));
    // Where the kernel keeps no index, as in a user namespace, the mount says nothing.
    if (mount !== undefined) return [probe.line, indexed(mount.options)];
    return [probe.line, answerOf(saidOf(result, probe.target), probe.work)];
  });
  await clearProbes(pod, programs);
  for (const { index } of probes) {
    if (index === null || look(index) === null) continue;
    attempt("remove", index, () => Deno.removeSync(index, { recursive: true }));
  }
  return new Map(answers.filter((answer): answer is [AppLine, true | null] => answer[1] !== false));
}

function indexed(options: string): false | null {
  return options.split(",").includes("index=on") ? false : null;
}

/** What a refusal says: only an upper that is free is asked whether it was volatile, or fits the lower. */
function answerOf(said: string, work: string): boolean | null {
  if (/busy|already mounted/.test(said)) return true;
  const wasVolatile = said.includes("wrong fs type") && look(volatileMark(work)) !== null;
  return wasVolatile || /stale file handle/i.test(said) ? false : null;
}

/**
 * Takes away what asking has mounted and made, also that of a run that was killed.
 *
 * Requires `--allow-run` permission for umount and findmnt, if there is anything.
 */
export async function clearProbes(pod: PodLayout, programs: ProgramOptions): Promise<void> {
  const place = probePlace(pod);
  if (look(place)?.isDirectory !== true) return;
  const mounts = new PodMounts(podLayout(place), await mountTable(programs));
  const targets = mounts.inPod().map(({ target }) => target).reverse();
  if (targets.length > 0) {
    const result = await unmountAll(targets, programs);
    if (result.status !== 0) {
      const said = saidOf(result, targets[0] ?? place);
      throw new OverlayError("unmount-failed", `Cannot unmount ${quote(place)}: ${said}`, {
        path: place,
      });
    }
  }
  for (const name of directoriesIn(place)) {
    attempt("remove", child(place, name), () => Deno.removeSync(child(place, name)));
  }
  attempt("remove", place, () => Deno.removeSync(place));
}

/**
 * Refuses apps whose upper is in use where nobody sees it. Of those that were unmounted lazily the kernel
 * must say that they are free; of others it is enough that it does not say that they are in use.
 *
 * Requires `--allow-run` permission for mount, umount and findmnt.
 *
 * @param lines Lines that are not mounted, of a pod that is locked.
 * @throws {RefusedError} If one is in use, or was unmounted lazily and nobody can say.
 */
export async function refuseInUse(
  verb: string,
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<void> {
  for (const [line, used] of await askFor(lines, mounting)) {
    if (used === null && !line.lazy) continue;
    const why = line.lazy ? "it was unmounted lazily, and " : "";
    const reason = used
      ? `${why}a process uses it still${line.lazy ? "" : ", in another mount namespace"}`
      : `${why}whether a process uses it still is not known`;
    throw new RefusedError(
      "busy",
      `Cannot ${verb} ${appWords(line.app)} of pod ${quote(mounting.pod.pod)}: ${reason}`,
      { path: line.rootfs, hint: "end the processes that were started in it, and run this again" },
    );
  }
}
