/**
 * Apps that were unmounted lazily. The kernel ends such a mount when nothing uses it any more, and tells
 * nobody; until then the upper must be neither removed nor mounted again.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { attempt, look } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { makeDirectory } from "./directory.ts";
import { volatileMark } from "./layout.ts";
import { mountOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import type { Mounting } from "./mounting.ts";
import { child } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { appWords, quote } from "./quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions, ProgramResult } from "./run.ts";

/**
 * Asks the kernel whether an upper is part of a mount, by mounting it with `index=on`: only so does it
 * refuse an upper that is in use (kernel, Documentation/filesystems/overlayfs.rst, "Sharing and copying
 * layers").
 *
 * @returns Whether it is; `null` when the kernel does not say, as in a user namespace.
 */
async function isInUse(line: AppLine, mounting: Mounting): Promise<boolean | null> {
  const { pod, programs } = mounting;
  const { upper, work } = configOfLine(line, pod.pod);
  if (upper === null || work === null || look(upper) === null || look(work) === null) return false;
  const target = child(pod.pod, "overlay.probe");
  makeDirectory(target, 0o700);
  try {
    // The tree may be gone, and any lower will do: the upper is looked at first.
    const options = mountOptions({
      lower: [target],
      upper,
      work,
      label: null,
      options: ["index=on"],
    });
    const args = ["--types", "overlay", "--options", options, "--", "overlay", target];
    const result = await run(PROGRAMS.mount, args, { ...programs, cwd: "/" });
    if (result.status !== 0) return answerOf(result, work);
    return await takeBack(target, programs);
  } finally {
    if (look(target)?.dev === look(pod.pod)?.dev) {
      attempt("remove", target, () => Deno.removeSync(target));
    }
  }
}

/** What a refusal says: only an upper that is free is asked whether it was volatile, or fits the lower. */
function answerOf({ stderr }: ProgramResult, work: string): boolean | null {
  if (/busy|already mounted/.test(stderr)) return true;
  const wasVolatile = look(volatileMark(work)) !== null && stderr.includes("wrong fs type");
  return wasVolatile || /stale file handle/i.test(stderr) ? false : null;
}

/** Where the kernel does not keep an index, as in a user namespace, the mount says nothing. */
async function takeBack(target: string, programs: ProgramOptions): Promise<boolean | null> {
  const table = await mountTable(programs);
  const real = attempt("find", target, () => Deno.realPathSync(target));
  const own = table.findLast((mount) => mount.target === real);
  const undone = await run(PROGRAMS.umount, ["--", target], { ...programs, cwd: "/" });
  if (undone.status !== 0) {
    throw new OverlayError("unmount-failed", `Cannot unmount ${quote(target)}: ${undone.stderr}`, {
      path: target,
    });
  }
  return own?.options.split(",").includes("index=on") ? false : null;
}

/**
 * Refuses apps that were unmounted lazily and are in use still, as far as the kernel tells.
 *
 * Requires `--allow-run` permission for mount and umount.
 *
 * @throws {RefusedError} If one is in use, or nobody can say.
 */
export async function refuseLazy(
  verb: string,
  lines: readonly AppLine[],
  mounting: Mounting,
): Promise<void> {
  for (const line of lines.filter((line) => line.lazy)) {
    const used = await isInUse(line, mounting);
    if (used === false) continue;
    const reason = used
      ? "a process uses it still"
      : "whether a process uses it still is not known";
    throw new RefusedError(
      "busy",
      `Cannot ${verb} ${appWords(line.app)} of pod ${quote(mounting.pod.pod)}: ` +
        `it was unmounted lazily, and ${reason}`,
      { path: line.rootfs, hint: "end the processes that were started in it, and run this again" },
    );
  }
}
