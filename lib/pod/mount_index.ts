/**
 * An index of the mount table, which is read once in a call, however many pods are looked at.
 *
 * @module
 */
import { PathIndex } from "../core/path_index.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import { hasSelinux } from "../system/selinux.ts";
import type { Mount } from "../system/mount_table.ts";
import { Writers } from "./writers.ts";

/** The mounts of this mount namespace, by their mount points and by their lowers, uppers and works. */
export class MountIndex {
  /** The mount table, in the order of mounting. */
  readonly mounts: readonly Mount[];
  /** Only the topmost mount at a mount point is visible. */
  readonly #topmost: ReadonlyMap<string, Mount>;
  #targets: PathIndex<Mount> | null = null;
  #layers: PathIndex<Mount> | null = null;
  #writers: Writers | null = null;
  #children: ReadonlyMap<number, readonly Mount[]> | null = null;
  #selinux: boolean | null = null;

  /** Indexes a mount table. */
  constructor(mounts: readonly Mount[]) {
    this.mounts = mounts;
    this.#topmost = new Map(mounts.map((mount) => [mount.target, mount]));
  }

  /** The topmost mount at a mount point. */
  at(target: string): Mount | undefined {
    return this.#topmost.get(target);
  }

  /** The mounts at a directory and below it, in the order of mounting. */
  within(directory: string): readonly Mount[] {
    this.#targets ??= new PathIndex(this.mounts.map((mount) => [mount.target, mount]));
    return this.#targets.within(directory);
  }

  /**
   * The mounts in the mount at a mount point, innermost first: in this order each can be unmounted. By the
   * ids of the mounts and not by their paths, since a mount can hide others.
   */
  inside(target: string): readonly Mount[] {
    const mount = this.at(target);
    return mount === undefined ? [] : this.#below(mount);
  }

  #below({ id }: Mount): readonly Mount[] {
    this.#children ??= Map.groupBy(this.mounts, ({ parent }) => parent);
    // Later ones first: one can hide an earlier one beside it.
    const children = (this.#children.get(id) ?? []).filter((child) => child.id !== id).toReversed();
    return children.flatMap((child) => [...this.#below(child), child]);
  }

  /** The overlays that have a lower, an upper or a work in a directory, by the paths that their options name. */
  madeOf(directory: string): ReadonlySet<Mount> {
    this.#layers ??= new PathIndex(this.mounts.flatMap(layersOf));
    return new Set(this.#layers.within(directory));
  }

  /** The mounts that write into uppers and works. */
  get writers(): Writers {
    return this.#writers ??= new Writers(this.mounts);
  }

  /** Tells whether SELinux is enabled. */
  get hasSelinux(): boolean {
    return this.#selinux ??= hasSelinux(this.mounts);
  }
}

function layersOf(mount: Mount): [string, Mount][] {
  if (mount.fstype !== "overlay") return [];
  const { lower, upper, work } = parseMountOptions(mount.options);
  return [...lower, upper, work].flatMap((path) => path === null ? [] : [[path, mount]]);
}
