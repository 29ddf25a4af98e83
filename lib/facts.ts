/**
 * What is known of the disk before a render: the facts that `preflight.ts` judges. Looked at only as far
 * as the permissions go that the render has anyway.
 *
 * @module
 */
import { look } from "./disk.ts";
import { errno } from "./errors.ts";
import type { MountPlan } from "./plan.ts";
import { child, isWithin, parent } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** What is at a path. */
export type Kind = "directory" | "file" | "missing" | "unreadable" | "unchecked";

/** What is known of a directory. */
export interface DirectoryFacts {
  /** The path, as it is named. */
  readonly path: string;
  /** What is there. */
  readonly kind: Kind;
  /** The path without symlinks; `null` when nothing is there, or it could not be found out. */
  readonly real: string | null;
  /** Which directory it is, whatever its name; `null` as above. */
  readonly id: string | null;
}

/** What is known of a file system. */
export interface FileSystemFacts {
  /** Its type, as the mount table names it. */
  readonly type: string;
  /** Whether nothing can be written on it. */
  readonly readOnly: boolean;
}

/** What is known before a render. */
export interface Facts {
  /** The lowers, top first. */
  readonly lowers: readonly DirectoryFacts[];
  /** The upper, work and rootfs without symlinks, there or not; `null` when that could not be found out. */
  readonly real: { readonly upper: string; readonly work: string; readonly rootfs: string } | null;
  /** The devices that upper and work lie on, or will; `null` when that could not be found out. */
  readonly devices: { readonly upper: number; readonly work: number } | null;
  /** The file system that the upper lies on; `null` when it need not be asked for, or could not be. */
  readonly fileSystem: FileSystemFacts | null;
  /** What could not be looked at with the permissions that there are, in words. */
  readonly unchecked: readonly string[];
}

function mayRead(path: string): boolean {
  return Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

function directoryFacts(path: string): DirectoryFacts {
  if (!mayRead(path)) return { path, kind: "unchecked", real: null, id: null };
  try {
    const { dev, ino, isDirectory } = Deno.statSync(path);
    const real = Deno.realPathSync(path);
    // A directory that may not be read mounts all the same, and then shows nothing to anybody but root.
    if (isDirectory) Deno.readDirSync(path)[Symbol.iterator]().next();
    return { path, kind: isDirectory ? "directory" : "file", real, id: `${dev}:${ino}` };
  } catch (error) {
    const code = errno(error) ?? "";
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(code)) {
      return { path, kind: "missing", real: null, id: null };
    }
    if (code !== "EACCES" && code !== "EPERM") throw error;
    return { path, kind: "unreadable", real: null, id: null };
  }
}

/** The path without symlinks of something that need not be there; `null` when it cannot be found out. */
function realPathOf(path: string): string | null {
  let rest = "";
  for (let at = path;; at = parent(at)) {
    if (!mayRead(at)) return null;
    if (look(at) !== null) return child(Deno.realPathSync(at), rest);
    if (at === "/") return null;
    rest = child(at.slice(at.lastIndexOf("/") + 1), rest);
  }
}

/** The device of a path, or of the nearest directory above it that is there. */
function deviceOf(path: string): number | null {
  for (let at = path; mayRead(at); at = parent(at)) {
    const info = look(at);
    if (info !== null) return info.dev;
    if (at === "/") break;
  }
  return null;
}

/** The major number of a device, see makedev(3); 0 is that of file systems without a disk of their own. */
function majorOf(device: number): number {
  const number = BigInt(device);
  return Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn));
}

/**
 * Asks findmnt for the file system of a path.
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @returns `null` when findmnt does not say.
 */
export async function fileSystemOf(
  path: string,
  programs: ProgramOptions,
): Promise<FileSystemFacts | null> {
  const columns = ["--json", "--output", "FSTYPE,VFS-OPTIONS,FS-OPTIONS", "--target", path];
  const result = await run(PROGRAMS.findmnt, columns, { ...programs, cwd: "/" });
  if (result.status !== 0) return null;
  const { filesystems } = JSON.parse(result.stdout) as {
    filesystems: { fstype: string; "vfs-options": string; "fs-options": string | null }[];
  };
  const [found] = filesystems;
  if (found === undefined) return null;
  const flags = `${found["vfs-options"]},${found["fs-options"] ?? ""}`.split(",");
  return { type: found.fstype, readOnly: flags.includes("ro") };
}

/**
 * Collects the facts of a render. Of an ordinary disk, all but a few system calls is left out: an upper
 * can lie on it. Only of file systems without one, such as tmpfs and overlayfs, the type is asked for.
 *
 * Requires no permissions; what they do not allow is not looked at.
 *
 * @param thorough Whether the type is asked for in any case, as when the mount has failed.
 */
export async function collectFacts(
  mount: MountPlan,
  programs: ProgramOptions,
  thorough = false,
): Promise<Facts> {
  const lowers = mount.lower.map(directoryFacts);
  const unchecked = lowers.filter(({ kind }) => kind === "unchecked").map(({ path }) => path);
  const { upper, work, pod, rootfs } = mount;
  if (upper === null || work === null) {
    return { lowers, real: null, devices: null, fileSystem: null, unchecked };
  }
  const [upperDevice, workDevice] = [deviceOf(upper), deviceOf(work)];
  const devices = upperDevice === null || workDevice === null
    ? null
    : { upper: upperDevice, work: workDevice };
  if (devices === null) unchecked.push(parent(pod));
  const asks = thorough || (devices !== null && majorOf(devices.upper) === 0);
  return {
    lowers,
    real: realPathsOf({ upper, work, rootfs, pod }),
    devices,
    fileSystem: asks ? await fileSystemOf(nearest(upper, pod), programs) : null,
    unchecked,
  };
}

function nearest(path: string, pod: string): string {
  for (let at = path; isWithin(at, pod); at = parent(at)) {
    if (mayRead(at) && look(at) !== null) return at;
  }
  return parent(pod);
}

function realPathsOf(
  paths: { readonly upper: string; readonly work: string; readonly rootfs: string; pod: string },
): Facts["real"] {
  const real = realPathOf(paths.pod);
  const rootfs = realPathOf(paths.rootfs) ??
    (real === null || !isWithin(paths.rootfs, paths.pod)
      ? null
      : real + paths.rootfs.slice(paths.pod.length));
  if (real === null || rootfs === null) return null;
  const inPod = (path: string) => real + path.slice(paths.pod.length);
  return { upper: inPod(paths.upper), work: inPod(paths.work), rootfs };
}
