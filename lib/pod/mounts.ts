/**
 * The lines of a pod compared with the mount table: which of them are mounted, and where.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import {
  attempt,
  errno,
  formatLasting,
  ifAny,
  isOnOtherDevice,
  isSame,
  look,
} from "../system/disk.ts";
import type { PodLayout } from "../request/layout.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import type { MountConfig } from "../overlay/mount_config.ts";
import { MountIndex } from "./mount_index.ts";
import { GENERIC_OPTIONS } from "../request/mount_option.ts";
import { sameLabel } from "../overlay/mount_label.ts";
import type { Mount } from "../system/mount_table.ts";
import { basename, child, isWithin, parent, upwards } from "../core/path.ts";
import type { MountState, SeenLine } from "../plan/snapshot.ts";

/** Tells whether two configurations mount the same directories. */
export function samePaths(a: MountConfig, b: MountConfig): boolean {
  return a.upper === b.upper && a.work === b.work && a.lower.join("\0") === b.lower.join("\0");
}

/** Tells whether two paths show the same directory, as those of a bind mount do. */
export function sameDirectory(a: string, b: string): boolean {
  return isSame(look(a), look(b));
}

/** Tells whether a rootfs shows the lower of a bind mount, or the directory that the lower was before it was replaced. */
function showsLower({ rootfs, source, lowerIds }: AppLine): boolean {
  if (sameDirectory(rootfs, source)) return true;
  const info = look(rootfs);
  return info !== null && formatLasting(info) === lowerIds;
}

/**
 * Tells by the disk alone whether a line seems to be mounted: its rootfs is on another device, as for an
 * overlay, or shows the directory that is bound there.
 *
 * Requires `--allow-read` permission for the rootfs, its destination and the lower of a bind mount.
 */
export function showsMount(line: AppLine): boolean {
  return line.source === "overlay" ? isOnOtherDevice(line.rootfs) : showsLower(line);
}

/** The mounts of a pod, by the mount table. */
export class PodMounts {
  /** The mount table. */
  readonly index: MountIndex;
  readonly #pod: PodLayout;
  /** Cached, since a bind mount is recognized by a look at the disk. */
  readonly #states = new Map<AppLine, MountState>();
  #realPod: string | null | undefined;

  /** Takes a mount table, which several pods can share. */
  constructor(pod: PodLayout, table: MountIndex | readonly Mount[]) {
    this.#pod = pod;
    this.index = table instanceof MountIndex ? table : new MountIndex(table);
  }

  /** The mount table, in the order of mounting. */
  get table(): readonly Mount[] {
    return this.index.mounts;
  }

  /**
   * The mount point without symlinks, as the kernel names it; `null` when its destination is not there.
   *
   * Requires `--allow-read` permission for the pod, and for a destination outside it.
   */
  targetOf(rootfs: string): string | null {
    // A pod is used only while nothing below it is a symlink, so one look serves all its apps.
    if (!isWithin(rootfs, this.#pod.pod)) {
      return below(realPath(parent(rootfs)), rootfs, parent(rootfs));
    }
    return below(this.realPod(), rootfs, this.#pod.pod);
  }

  /** The pod without symlinks; `null` when it is not there. */
  realPod(): string | null {
    if (this.#realPod === undefined) this.#realPod = realPath(this.#pod.pod);
    return this.#realPod;
  }

  /** The mounts at the pod and below it. */
  inPod(): readonly Mount[] {
    const real = this.realPod();
    return real === null ? [] : this.index.within(real);
  }

  /**
   * Finds the mount of another pod in which a rootfs outside this pod lies. It is recognized by the path of its
   * upper, which a render chooses.
   */
  rootfsAround(rootfs: string): Mount | undefined {
    if (isWithin(rootfs, this.#pod.pod)) return undefined;
    const dest = parent(rootfs);
    const real = realIfAny(dest) ?? child(realIfAny(parent(dest)) ?? parent(dest), basename(dest));
    const at = upwards(real).find((path) => this.index.at(path) !== undefined) ?? "/";
    const mount = this.index.at(at);
    const isOurs = mount?.fstype === "overlay" && mount.target.endsWith("/rootfs") &&
      OUR_UPPER.test(parseMountOptions(mount.options).upper ?? "");
    return isOurs ? mount : undefined;
  }

  /**
   * Lists the mounts in the pod that no line names, in the order of mounting: the lines of these were lost.
   * Mounts in the rootfs of a mounted app belong to the app, and a file system on which the pod or its
   * `overlay` directory lies belongs to the administrator.
   */
  unnamed(lines: readonly AppLine[]): readonly Mount[] {
    const real = this.realPod();
    const named = new Set(lines.map(({ rootfs }) => this.targetOf(rootfs)));
    const live = lines.filter((line) => this.stateOf(line) === "mounted");
    const around = new Set(live.map(({ rootfs }) => this.targetOf(rootfs)));
    const below = this.inPod().filter(({ target }) => target !== real && !named.has(target));
    return below.filter(({ target, fstype }) => {
      if (upwards(target).some((at) => around.has(at))) return false;
      const overlay = `${real}${this.#pod.overlay.slice(this.#pod.pod.length)}`;
      return fstype === "overlay" || !isWithin(overlay, target);
    });
  }

  /**
   * Reports whether a mount has the label of its line. Without SELinux no mount has one, whatever was
   * recorded when there was.
   */
  #isLabelled(asked: string | null, shown: string | null): boolean {
    return sameLabel(asked, shown) || (shown === null && !this.index.hasSelinux);
  }

  /** Compares a line with the mount table, and returns its state and its mount point. */
  see(line: AppLine): SeenLine {
    const target = this.targetOf(line.rootfs);
    const inside = target === null ? [] : this.index.inside(target).map((mount) => mount.target);
    return { line, state: this.stateOf(line), target, inside };
  }

  /** Compares a line with the mount table. */
  stateOf(line: AppLine): MountState {
    let state = this.#states.get(line);
    if (state === undefined) this.#states.set(line, state = this.#compare(line));
    return state;
  }

  /**
   * Tells whether a mounted line has other options than it names. Only options that the kernel always shows
   * are compared: it leaves out those that have their default.
   */
  hasOtherOptions(line: AppLine): boolean {
    const target = this.targetOf(line.rootfs);
    const mount = target === null ? undefined : this.index.at(target);
    if (mount === undefined) return false;
    const asked = parseMountOptions(line.options);
    // Linux 6.18 shows volatile in a form that older kernels do not take.
    const options = mount.options.split(",").map((one) =>
      one.replace(/^fsync=volatile$/, "volatile")
    );
    const shown = [...options, ...mount.flags];
    // A bind mount has those of the file system that it shows, too.
    if (line.source !== "overlay") return !asked.options.every((option) => shown.includes(option));
    const isWritable = asked.upper !== null;
    return (isWritable && shown.includes("ro")) ||
      SHOWN_OPTIONS.some((option) => asked.options.includes(option) !== shown.includes(option));
  }

  #compare(line: AppLine): MountState {
    const target = this.targetOf(line.rootfs);
    const mount = target === null ? undefined : this.index.at(target);
    if (mount === undefined) return "unmounted";
    if (line.source !== "overlay") {
      // A bind mount that can be written through would let an app write into the lower.
      return mount.flags.includes("ro") && showsLower(line) ? "mounted" : "foreign";
    }
    // Both are compared as they were written: relative paths of the one are relative in the other.
    const [asked, shown] = [parseMountOptions(line.options), parseMountOptions(mount.options)];
    const same = samePaths(asked, shown) && this.#isLabelled(asked.label, shown.label);
    return mount.fstype === "overlay" && same ? "mounted" : "foreign";
  }
}

/** The options of an overlay that the mount table shows if and only if they are set. */
const SHOWN_OPTIONS: readonly string[] = ["volatile", "userxattr", ...GENERIC_OPTIONS];

/** The upper of a render, as the mount table has it. */
const OUR_UPPER = /(^|\/)overlay\/[^/]+\/upper(\/[^/]+)?$/;

function realIfAny(path: string): string | null {
  return ifAny(() => Deno.realPathSync(path));
}

function realPath(path: string): string | null {
  if (look(path) === null) return null;
  return attempt("find", path, () => {
    try {
      return Deno.realPathSync(path);
    } catch (error) {
      // Another process has removed it since it was looked at.
      if (errno(error) === "ENOENT") return null;
      throw error;
    }
  });
}

/** The path that lies below `real` as `path` lies below `named`. */
function below(real: string | null, path: string, named: string): string | null {
  return real === null ? null : child(real, path.slice(named.length).replace(/^\//, ""));
}
