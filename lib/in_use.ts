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
import { attempt, look, writeScratch } from "./disk.ts";
import { RefusedError } from "./errors.ts";
import { formatFstab } from "./fstab.ts";
import type { PodLayout } from "./layout.ts";
import { mountOptions } from "./mount_config.ts";
import { saidOf } from "./mounting.ts";
import type { Mounting } from "./mounting.ts";
import { isWithin } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { appWords, quote } from "./quote.ts";
import { run } from "./run.ts";

/** A line whose upper is asked for. */
interface Probe {
  readonly line: AppLine;
  readonly upper: string;
}

function probesOf(lines: readonly AppLine[], pod: PodLayout): readonly Probe[] {
  return lines.flatMap((line) => {
    const { upper } = configOfLine(line, pod.pod);
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
 * Asks the kernel which uppers are part of a mount, in whatever mount namespace, in one mount process. The
 * pod must be locked, and none of the lines mounted.
 *
 * @returns The lines whose upper is in use (`true`), and those of which the kernel does not say (`null`).
 */
async function askFor(
  lines: readonly AppLine[],
  { pod, programs, options }: Mounting,
): Promise<ReadonlyMap<AppLine, true | null>> {
  const probes = probesOf(lines, pod);
  if (probes.length === 0) return new Map();
  const rows = probes.map((probe) => failingLine(probe, pod));
  writeScratch(pod.batch, new TextEncoder().encode(formatFstab(rows)));
  const name = pod.batch.slice(pod.pod.length + 1);
  try {
    const result = await run(PROGRAMS.mount, ["--all", "--fstab", name], {
      ...programs,
      cwd: pod.pod,
      // Every line fails, and each with a line.
      talkative: true,
    });
    options.checkpoint?.("probing");
    return new Map(probes.flatMap(({ line, upper }) => {
      const answer = answerOf(saidOf(result, upper));
      return answer === false ? [] : [[line, answer]];
    }));
  } finally {
    attempt("remove", pod.batch, () => Deno.removeSync(pod.batch));
  }
}

function answerOf(said: string): boolean | null {
  if (/busy|already mounted/.test(said)) return true;
  return said.includes("wrong fs type") ? false : null;
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
