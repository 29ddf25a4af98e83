/**
 * The facts about the disk before a render, which `disk_rules.ts` judges. They are collected only as far as
 * the permissions of the render allow.
 *
 * @module
 */
import { decodeMajor, deviceAt, ifAny, look } from "../system/disk.ts";
import { isGranted } from "../system/permissions.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";
import type { DirectoryFacts } from "./lower.ts";
import { lookAtLower } from "./lower.ts";

/** The facts about a file system. */
export interface FileSystemFacts {
  /** Its type, as the mount table names it. */
  readonly type: string;
  /** Set if it is read-only. */
  readonly readOnly: boolean;
}

/** The facts before a render. */
export interface Facts {
  /** The lowers, top first. */
  readonly lowers: readonly DirectoryFacts[];
  /** The upper, work and rootfs without symlinks, even if they do not exist; `null` when unknown. */
  readonly real: { readonly upper: string; readonly work: string; readonly rootfs: string } | null;
  /** The devices that upper and work lie on, or will; `null` when unknown. */
  readonly devices: { readonly upper: number; readonly work: number } | null;
  /** The file system of the upper; `null` when it is not needed or unknown. */
  readonly fileSystem: FileSystemFacts | null;
  /** The checks that the permissions do not allow, in words. */
  readonly unchecked: readonly string[];
}

function mayRead(path: string): boolean {
  return isGranted({ name: "read", path });
}

/**
 * Resolves the symlinks of a path that need not exist; `null` when it is unknown, or a link leads nowhere.
 * Links that are not allowed are refused elsewhere.
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

/** The place of a path. */
interface Place {
  /** The device; `null` when unknown. */
  readonly device: number | null;
  /** The path, or its nearest parent that exists; `null` when unknown. */
  readonly nearest: string | null;
  /** Set if the path is known to exist. */
  readonly isThere: boolean;
}

/**
 * The facts that are already known: many apps of a pod share lowers, directories and a file system.
 */
export class FactsCache {
  readonly #lowers = new Map<string, DirectoryFacts>();
  readonly #reals = new Map<string, string | null>();
  readonly #places = new Map<string, Place>();
  readonly #fileSystems = new Map<number | null, Promise<FileSystemFacts | null>>();

  /** Returns the facts about a lower. */
  lower(path: string): DirectoryFacts {
    let facts = this.#lowers.get(path);
    if (facts === undefined) this.#lowers.set(path, facts = lookAtLower(path));
    return facts;
  }

  /** Resolves the symlinks of a path that need not exist; `null` when unknown. */
  real(path: string): string | null {
    let real = this.#reals.get(path);
    if (real === undefined) this.#reals.set(path, real = realPathOf(path));
    return real;
  }

  /** Returns the place of a path in a pod. It starts at the pod: nothing exists below a missing directory. */
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
    // The directory of the pod may be missing, too.
    const known = above ?? (path === "/" ? null : this.#look(parent(path), null));
    return { device: known?.device ?? null, nearest: known?.nearest ?? null, isThere: false };
  }

  /**
   * Returns the file system of a path on a device. Each device is asked for once, by the first path: in a pod
   * all apps are on the same mount, and they have many uppers.
   */
  fileSystem(
    device: number | null,
    path: string,
    programs: ProgramOptions,
  ): Promise<FileSystemFacts | null> {
    let found = this.#fileSystems.get(device);
    if (found === undefined) {
      this.#fileSystems.set(device, found = findFileSystem(path, programs));
    }
    return found;
  }
}

/**
 * Asks findmnt for the file system of a path.
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @returns `null` when findmnt does not know it.
 */
export async function findFileSystem(
  path: string,
  programs: ProgramOptions,
): Promise<FileSystemFacts | null> {
  // Only the topmost of stacked mounts is visible.
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

/** The options for collecting facts. */
export interface CollectFactsOptions {
  /** Set if the type of the file system is always asked for, as when a mount has failed. @default {false} */
  readonly thorough?: boolean;
  /** The facts that were collected for other apps. @default {none} */
  readonly cache?: FactsCache;
}

/**
 * Collects the facts of a render. For an ordinary disk this takes only a few system calls, because an upper
 * can lie on it. The type is asked for only if the file system has no disk, such as tmpfs and overlayfs.
 *
 * Requires no permissions; checks that they do not allow are skipped.
 *
 * @param options The options, and the facts that are already known.
 */
export async function collectFacts(
  mount: MountPlan,
  programs: ProgramOptions,
  { thorough = false, cache = new FactsCache() }: CollectFactsOptions = {},
): Promise<Facts> {
  const { lower, upper, work, pod, rootfs } = mount;
  const hasUpper = upper !== null && work !== null;
  const below = hasUpper ? fileSystemBelow({ upper, work, pod }, thorough, cache) : NOTHING_BELOW;
  // findmnt takes longest, so it is started first; the other facts are collected while it runs.
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

/** The facts about the file system of an upper and a work that need no program. */
interface Below {
  readonly devices: Facts["devices"];
  /** The directory by which its type is asked for; `null` when that is not needed or not allowed. */
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
  const wanted = thorough || (devices !== null && decodeMajor(devices.upper) === 0);
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

/** Resolves a path in a pod: links in a pod are refused, so only the path of the pod is resolved. */
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
