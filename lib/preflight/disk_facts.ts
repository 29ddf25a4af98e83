/**
 * What is known of the disk before a render: the facts that `preflight.ts` judges. FactsCache at only as far
 * as the permissions go that the render has anyway.
 *
 * @module
 */
import { deviceAt, ifAny, look, majorOf } from "../system/disk.ts";
import { isGranted } from "../system/permissions.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";
import type { DirectoryFacts } from "./lower.ts";
import { lookAtLower } from "./lower.ts";

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
  return isGranted({ name: "read", path });
}

/**
 * The path without symlinks of something that need not be there; `null` when it cannot be found out, or a
 * link leads nowhere. That a link stands where none may be is for others to say.
 */
function realPathOf(path: string): string | null {
  let rest = "";
  for (let at = path; mayRead(at); at = parent(at)) {
    const info = look(at);
    if (info?.isSymlink && at === path) return null;
    if (info !== null) {
      const real = realPathIfAny(at);
      return real === null ? null : child(real, rest);
    }
    if (at === "/") return null;
    rest = child(at.slice(at.lastIndexOf("/") + 1), rest);
  }
  return null;
}

function realPathIfAny(path: string): string | null {
  return ifAny(() => Deno.realPathSync(path));
}

/** Where a path lies. */
interface Place {
  /** The device; `null` when it could not be found out. */
  readonly device: number | null;
  /** The path, or the nearest above it where something is; `null` when none could be looked at. */
  readonly nearest: string | null;
  /** Whether something is there, as far as is known. */
  readonly isThere: boolean;
}

/**
 * What was looked at already: many apps of a pod have lowers, directories and a file system in common.
 */
export class FactsCache {
  readonly #lowers = new Map<string, DirectoryFacts>();
  readonly #reals = new Map<string, string | null>();
  readonly #places = new Map<string, Place>();
  readonly #fileSystems = new Map<number | null, Promise<FileSystemFacts | null>>();

  /** What is known of a lower. */
  lower(path: string): DirectoryFacts {
    let facts = this.#lowers.get(path);
    if (facts === undefined) this.#lowers.set(path, facts = lookAtLower(path));
    return facts;
  }

  /** The path without symlinks of something that need not be there; `null` when it cannot be found out. */
  real(path: string): string | null {
    let real = this.#reals.get(path);
    if (real === undefined) this.#reals.set(path, real = realPathOf(path));
    return real;
  }

  /** Where a path in a pod lies. From the pod down: below what is not there nothing need be looked for. */
  place(path: string, pod: string): Place {
    let place = this.#places.get(path);
    if (place === undefined) {
      const above = isWithin(path, pod) && path !== "/" ? this.place(parent(path), pod) : null;
      this.#places.set(path, place = above?.isThere === false ? above : this.#look(path, above));
    }
    return place;
  }

  #look(path: string, above: Place | null): Place {
    if (!mayRead(path)) return { device: null, nearest: above?.nearest ?? null, isThere: true };
    const device = deviceAt(path);
    if (device !== null) return { device, nearest: path, isThere: true };
    // What a pod is to be made in may be missing, too.
    const known = above ?? (path === "/" ? null : this.#look(parent(path), null));
    return { device: known?.device ?? null, nearest: known?.nearest ?? null, isThere: false };
  }

  /**
   * The file system of a path on a device. Asked once a device, by whichever path comes first: in a pod
   * that is the same mount for all apps, and their uppers are many.
   */
  fileSystem(
    device: number | null,
    path: string,
    programs: ProgramOptions,
  ): Promise<FileSystemFacts | null> {
    let found = this.#fileSystems.get(device);
    if (found === undefined) {
      this.#fileSystems.set(device, found = fileSystemOf(path, programs));
    }
    return found;
  }
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
  // Of mounts that are stacked, the one on top is what anybody sees.
  const topmost = ["--direction", "backward", "--first-only"];
  const columns = [
    "--json",
    "--output",
    "FSTYPE,VFS-OPTIONS,FS-OPTIONS",
    "--target",
    path,
    ...topmost,
  ];
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

/** How facts are collected. */
export interface CollectFactsOptions {
  /** Whether the type of the file system is asked for in any case, as when a mount has failed. @default {false} */
  readonly thorough?: boolean;
  /** What was looked at already, for other apps. @default {nothing} */
  readonly cache?: FactsCache;
}

/**
 * Collects the facts of a render. Of an ordinary disk, all but a few system calls is left out: an upper
 * can lie on it. Only of file systems without one, such as tmpfs and overlayfs, the type is asked for.
 *
 * Requires no permissions; what they do not allow is not looked at.
 *
 * @param options Whether the type is asked for in any case, and what was looked at already.
 */
export async function collectFacts(
  mount: MountPlan,
  programs: ProgramOptions,
  { thorough = false, cache = new FactsCache() }: CollectFactsOptions = {},
): Promise<Facts> {
  const { lower, upper, work, pod, rootfs } = mount;
  const hasUpper = upper !== null && work !== null;
  const below = hasUpper ? fileSystemBelow({ upper, work, pod }, thorough, cache) : NOTHING_BELOW;
  // What takes longest is begun first: the rest is looked at while findmnt runs.
  const asked = below.askBy === null
    ? null
    : cache.fileSystem(below.devices?.upper ?? null, below.askBy, programs);
  try {
    const lowers = lower.map((path) => cache.lower(path));
    const real = hasUpper ? realPathsOf({ upper, work, rootfs, pod }, cache) : null;
    const closed = lowers.filter(({ kind }) => kind === "unchecked").map(({ path }) => path);
    const unchecked = [...closed, ...below.unchecked];
    return { lowers, real, devices: below.devices, fileSystem: await asked, unchecked };
  } catch (error) {
    await Promise.allSettled([asked]);
    throw error;
  }
}

/** What is known of the file system that an upper and a work lie on before anybody is asked. */
interface Below {
  readonly devices: Facts["devices"];
  /** By which directory its type is to be asked for; `null` when it need not be, or may not. */
  readonly askBy: string | null;
  readonly unchecked: readonly string[];
}

const NOTHING_BELOW: Below = { devices: null, askBy: null, unchecked: [] };

function fileSystemBelow(
  { upper, work, pod }: { readonly upper: string; readonly work: string; readonly pod: string },
  thorough: boolean,
  cache: FactsCache,
): Below {
  const { device: ofUpper, nearest } = cache.place(upper, pod);
  const { device: ofWork } = cache.place(work, pod);
  const devices = ofUpper === null || ofWork === null ? null : { upper: ofUpper, work: ofWork };
  const wanted = thorough || (devices !== null && majorOf(devices.upper) === 0);
  const command = PROGRAMS.findmnt;
  const asks = wanted && isGranted({ name: "run", command });
  return {
    devices,
    askBy: asks ? nearest ?? parent(pod) : null,
    unchecked: [
      ...(devices === null ? ["the file system of the pod"] : []),
      ...(wanted && !asks ? ["the type of the file system of the pod"] : []),
    ],
  };
}

/** In the pod nothing is a link, or it is refused; so all in it lies where the pod lies. */
function realPathsOf(
  paths: { readonly upper: string; readonly work: string; readonly rootfs: string; pod: string },
  cache: FactsCache,
): Facts["real"] {
  const real = cache.real(paths.pod);
  if (real === null) return null;
  const inPod = (path: string) => real + path.slice(paths.pod.length);
  const rootfs = isWithin(paths.rootfs, paths.pod) ? inPod(paths.rootfs) : cache.real(paths.rootfs);
  return rootfs === null ? null : { upper: inPod(paths.upper), work: inPod(paths.work), rootfs };
}
