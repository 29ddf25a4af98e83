/**
 * Making the kernel's mounts match `overlay.fstab`, and looking whether they do.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import type { Application } from "./application.ts";
import { look } from "./disk.ts";
import { MountError } from "./errors.ts";
import { parent } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions, ProgramResult } from "./run.ts";

/**
 * Whether the line of an app is mounted now, told without the mount table: an overlay has a device of
 * its own, and a bind mount shows the very directory it is of. Holds only where nothing else can be
 * mounted on the rootfs.
 *
 * Requires `--allow-read` permission for the rootfs, its destination and the lower.
 */
export function isMounted(line: AppLine): boolean {
  const rootfs = look(line.rootfs);
  if (rootfs === null) return false;
  if (line.source === "overlay") return rootfs.dev !== look(parent(line.rootfs))?.dev;
  const source = Deno.statSync(line.source);
  return rootfs.dev === source.dev && rootfs.ino === source.ino;
}

/** Nothing of ours is kept in `/run/mount/utab`, so it need not be made, read or locked. */
const NO_MTAB = "--no-mtab";

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/**
 * Mounts every line of `overlay.fstab` that is not mounted, in one process. Runs in the pod, since
 * paths in the file may be relative to it.
 *
 * Requires `--allow-run` permission for mount.
 */
export function mountAll(
  fstab: string,
  options: ProgramOptions,
): Promise<ProgramResult> {
  const args = [NO_MTAB, "--all", "--fstab", nameOf(fstab)];
  return run(PROGRAMS.mount, args, { ...options, cwd: parent(fstab) });
}

/**
 * Mounts one line of `overlay.fstab`, which must not be mounted.
 *
 * Requires `--allow-run` permission for mount.
 */
export function mountOne(
  fstab: string,
  rootfs: string,
  options: ProgramOptions,
): Promise<ProgramResult> {
  const args = [NO_MTAB, "--fstab", nameOf(fstab), "--", rootfs];
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
  return run(PROGRAMS.umount, [NO_MTAB, "--", ...targets], { ...options, cwd: "/" });
}

/** What mount or umount said of one mount point, without the prefix that names it. */
export function saidOf(result: ProgramResult, target: string): string {
  const lines = result.stderr.split(/\n(?=u?mount: )/);
  const own = lines.filter((line) => line.includes(`mount: ${target}: `));
  const said = (own.length > 0 ? own : lines).join("\n");
  const words = said.replaceAll(/^u?mount: /gm, "").replaceAll(`${target}: `, "");
  return printable(words) || `exit status ${result.status}`;
}

/** Notes that this run has mounted something, and must unmount it before it undoes what is below. */
export function noteMount(rootfs: string, run: Application): void {
  run.changed = true;
  run.journal.addBarrier(`unmount ${quote(rootfs)}`, async () => {
    const result = await unmountAll([rootfs], run.programs);
    if (result.status !== 0) throw new Error(saidOf(result, rootfs));
  });
}

function likelyCause(said: string): string {
  if (/superuser|permission denied/i.test(said)) {
    return "run as root, or inside: unshare --user --map-root-user --mount";
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
export function mountError(line: AppLine, result: ProgramResult): MountError {
  const said = saidOf(result, line.rootfs);
  const { argv, status, stderr } = result;
  return new MountError(
    "mount-failed",
    `Cannot mount overlay at ${quote(line.rootfs)}: mount said "${said}", ` +
      `with options ${quote(line.options)}`,
    { path: line.rootfs, hint: likelyCause(said), failure: { argv, status, stderr } },
  );
}
