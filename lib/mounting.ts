/**
 * Making the kernel's mounts match `overlay.fstab`, and looking whether they do.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import type { Application } from "./application.ts";
import { look } from "./disk.ts";
import { MountError } from "./errors.ts";
import { isWithin, parent } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions, ProgramResult } from "./run.ts";

/**
 * Whether a rootfs is on a device of its own, as an overlay is. Tells that the line of an app is mounted
 * only in the pod, where nothing else can be.
 *
 * Requires `--allow-read` permission for the rootfs and its destination.
 */
function hasOwnDevice(rootfs: string): boolean {
  return look(rootfs)?.dev !== look(parent(rootfs))?.dev;
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * Mounts one line of `overlay.fstab`, which must not be mounted.
 *
 * Requires `--allow-run` permission for mount.
 */
function mountOne(
  fstab: string,
  rootfs: string,
  options: ProgramOptions,
): Promise<ProgramResult> {
  const args = ["--fstab", nameOf(fstab), "--", rootfs];
  return run(PROGRAMS.mount, args, { ...options, cwd: parent(fstab) });
}

/**
 * Unmounts mount points in one process, in the order given.
 *
 * Requires `--allow-run` permission for umount.
 */
export function unmountAll(
  targets: readonly string[],
  options: ProgramOptions,
): Promise<ProgramResult> {
  return run(PROGRAMS.umount, ["--", ...targets], { ...options, cwd: "/" });
}

/** What mount or umount said of one mount point, without the prefix that names it. */
export function saidOf(result: ProgramResult, target: string): string {
  const lines = result.stderr.split(/\n(?=u?mount: )/);
  const own = lines.filter((line) => line.includes(`mount: ${target}: `));
  const said = (own.length > 0 ? own : lines).join("\n");
  const words = said.replaceAll(/^u?mount: /gm, "").replaceAll(`${target}: `, "");
  if (words !== "") return printable(words);
  return result.status === 0 ? "nothing, and nothing is mounted" : `exit status ${result.status}`;
}

/**
 * Mounts the line of an app, which must not be mounted. Whether it is mounted then is seen, not
 * believed: in the pod by its device, elsewhere in the mount table.
 *
 * @throws {MountError} If it is not; what was mounted in its place, if anything, is noted to be undone.
 */
export async function mountLine(line: AppLine, run: Application): Promise<void> {
  const result = await mountOne(run.pod.fstab, line.rootfs, run.programs);
  const tellsByDevice = line.source === "overlay" && isWithin(line.rootfs, run.pod.pod);
  if (tellsByDevice && hasOwnDevice(line.rootfs)) return noteMount(line.rootfs, run);
  const { findMounted } = await import("./verify.ts");
  const { target, isRight } = await findMounted(line, run);
  if (target !== null) noteMount(target, run);
  if (!isRight) throw mountError(line, result);
}

/** Notes that this run has mounted something, and must unmount it before it undoes what is below. */
function noteMount(rootfs: string, run: Application): void {
  run.changed = true;
  run.journal.addBarrier(`unmount ${quote(rootfs)}`, async () => {
    const result = await unmountAll([rootfs], run.programs);
    if (result.status !== 0) throw new Error(saidOf(result, rootfs));
  });
}

function likelyCause(said: string): string {
  if (/superuser|permission denied/i.test(said)) {
    return "run as root, or inside: unshare --user --map-root-user --mount " +
      "(where the options metacopy and redirect_dir are not allowed)";
  }
  if (said.includes("any subsequent operation failed")) {
    return "give the options that the file system of the lower is mounted with, such as " +
      "--option nosuid --option nodev";
  }
  if (said.includes("special device overlay does not exist")) {
    return "a lower, the upper or the work is missing, or cannot be reached";
  }
  if (said.includes("Too many levels of symbolic links")) {
    return "a lower is given twice, or a lower, the upper or the work lies in another of them";
  }
  return "the pod may lie on overlayfs, as in a container, or options conflict; " +
    "the kernel's own words are at the end of: dmesg";
}

/** The error of an app that mount could not mount. */
function mountError(line: AppLine, result: ProgramResult): MountError {
  const said = saidOf(result, line.rootfs);
  const { argv, status, stderr } = result;
  return new MountError(
    "mount-failed",
    `Cannot mount overlay at ${quote(line.rootfs)}: mount said "${said}", ` +
      `with options ${quote(line.options)}`,
    { path: line.rootfs, hint: likelyCause(said), failure: { argv, status, stderr } },
  );
}
