/**
 * Decides whether a line of `overlay.fstab` may be mounted: for a render, for a restore, and for an image
 * that a destination lies in.
 *
 * @module
 */
import { readLineConfig, toMountPlan } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { runPreflight } from "../preflight/run_preflight.ts";
import { look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import type { FactsCache } from "../preflight/disk_facts.ts";
import { checkAbove, checkGuarded, checkWay } from "../system/trust.ts";
import { volatileMark } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { mountOptions } from "../overlay/mount_config.ts";
import { linesWithin, Overlaps, refuseSharedUpper } from "../overlay/overlaps.ts";
import { isWithin, parent, upwards } from "../core/path.ts";
import type { PodMounts } from "./mounts.ts";
import { findMissing } from "./record.ts";
import { appWords, quote } from "../core/quote.ts";
import {
  refuseForeign,
  refuseHiding,
  refuseLiveImage,
  refuseLiveRootfs,
  refuseLiveUpper,
  refuseSameRootfs,
  refuseVolatile,
} from "../plan/refusals.ts";

/** The lines that are judged, the pod, and the mount table. */
export interface Docket {
  /** The pod. */
  readonly pod: PodLayout;
  /** The mount table. */
  readonly mounts: PodMounts;
  /** The lines of `overlay.fstab`. */
  readonly recorded: readonly AppLine[];
  /** The lines that may be mounted; recorded or not. */
  readonly asked: readonly AppLine[];
}

/** Judges lines by the other lines of the pod and by the mount table. */
export class LineJudge {
  readonly #pod: PodLayout;
  readonly #mounts: PodMounts;
  readonly #overlaps: Overlaps;
  readonly #places: ReadonlyMap<AppLine, number>;
  /** The place of the first line of each app. */
  readonly #first: ReadonlyMap<string, number>;
  readonly #byRootfs: ReadonlyMap<string, AppLine>;
  readonly #within: ReadonlyMap<string, readonly AppLine[]>;

  /** Looks at all lines of a pod. */
  constructor({ pod, mounts, recorded, asked }: Docket) {
    const names = new Set(asked.map(({ app }) => app));
    const others = recorded.filter(({ app }) => !names.has(app));
    this.#pod = pod;
    this.#mounts = mounts;
    this.#overlaps = new Overlaps([...others, ...asked], pod.pod);
    this.#places = new Map(recorded.map((line, at) => [line, at]));
    this.#first = new Map(recorded.map(({ app }, at) => [app, at] as const).reverse());
    this.#byRootfs = new Map(recorded.map((line) => [line.rootfs, line]));
    this.#within = linesWithin(recorded, new Set(asked.map(({ rootfs }) => rootfs)));
  }

  /**
   * Refuses a line that shares its upper with another one, mounted or not.
   *
   * @throws {RefusedError} If it does.
   */
  checkUpper(line: AppLine): void {
    refuseSharedUpper(line, this.#overlaps.sharingUpper(line));
  }

  /**
   * Refuses a line that must not be mounted beside what is mounted and recorded.
   *
   * @param how With `mounts`, the line is going to be mounted; a user who may not mount cannot read a work
   * either. With `live`, no process runs in the image that it lies in.
   * @throws {RefusedError} If it must not be mounted.
   */
  check(line: AppLine, { mounts, live = false }: { mounts: boolean; live?: boolean }): void {
    this.checkUpper(line);
    const state = this.#mounts.stateOf(line);
    // No render has made a mount that has no line.
    refuseForeign("mount", line, state === "mounted" ? "foreign" : state);
    const config = readLineConfig(line, this.#pod.pod);
    const absolute = { ...line, options: mountOptions(config) };
    refuseLiveUpper(
      absolute,
      this.#mounts.index.writers.of(absolute, this.#mounts.targetOf(line.rootfs)),
    );
    refuseSameRootfs(line, this.#overlaps.sharingRootfs(line));
    refuseHiding(line, this.#hiddenBy(line));
    const image = this.#imageAround(line);
    if (!live) {
      refuseLiveImage(line, image);
      refuseLiveRootfs(line, this.#mounts.rootfsAround(line.rootfs));
    } else if (image !== undefined) checkInside(line, image);
    if (!mounts || config.work === null) return;
    const mark = volatileMark(config.work);
    refuseVolatile(line, mark, look(mark) !== null);
  }

  /** The app, mounted or copied before, whose rootfs the rootfs of a line lies in. */
  #imageAround({ rootfs }: AppLine): AppLine | undefined {
    for (const at of upwards(parent(rootfs))) {
      const image = this.#byRootfs.get(at);
      if (image?.copy || (image !== undefined && this.#mounts.stateOf(image) === "mounted")) {
        return image;
      }
    }
    return undefined;
  }

  /** An app whose rootfs the mount would hide: one that is mounted, or is mounted before it. */
  #hiddenBy(line: AppLine): AppLine | undefined {
    const own = this.#first.get(line.app) ?? Infinity;
    return this.#within.get(line.rootfs)?.find((other) => {
      if (other.app === line.app) return false;
      return (this.#places.get(other) ?? 0) < own || this.#mounts.stateOf(other) === "mounted";
    });
  }
}

/**
 * Checks that only root and the current user can rename the directories between the rootfs of an image and
 * that of a line. The rootfs of the line itself may have any owner, as its lower may.
 */
function checkInside(line: AppLine, image: AppLine): void {
  const way = upwards(parent(line.rootfs)).filter((path) => isWithin(path, image.rootfs))
    .toReversed();
  for (const path of way) {
    if (!checkGuarded({ path, guarded: true, force: false })) return;
  }
}

/** The pod and the facts by which its recorded lines are judged. */
export interface Judging {
  /** The pod. */
  readonly pod: PodLayout;
  /** Knows the other lines and the mount table. */
  readonly judge: LineJudge;
  /** The lines of the pod that are not mounted. */
  readonly idle: readonly AppLine[];
  /** The facts that are known already. */
  readonly cache: FactsCache;
  /** The options of the call. */
  readonly options: ChangeOptions;
  /** The line may be mounted in an image that was mounted before. @default {false} */
  readonly live?: boolean;
}

/**
 * Checks that a recorded line may be mounted: everything that a render of it would check.
 *
 * @throws {RefusedError} If a render would refuse it.
 * @throws {OverlayError} If a directory that it needs is not there.
 */
export async function checkRecordedLine(line: AppLine, judging: Judging): Promise<void> {
  const { pod, judge, idle, cache, options, live = false } = judging;
  judge.check(line, { mounts: true, live });
  // First: a directory that is missing now may be made by another user later.
  refuseMissing(line, pod, idle);
  await checkWayOfLine(line, pod, options);
  await runPreflight([toMountPlan(line, pod.pod)], options, { cache });
}

/** Checks every directory that leads to the rootfs, the upper and the work of a line. */
async function checkWayOfLine(
  line: AppLine,
  pod: PodLayout,
  options: ChangeOptions,
): Promise<void> {
  const { upper, work } = readLineConfig(line, pod.pod);
  const written = [upper, work].filter((path) => path !== null);
  for (const path of [line.rootfs, ...written]) checkWay(path, pod.pod);
  for (const path of written) {
    for (let at = parent(path); isWithin(at, pod.overlay); at = parent(at)) {
      checkGuarded({ path: at, guarded: true, force: false });
    }
  }
  const dest = parent(line.rootfs);
  if (isWithin(dest, pod.pod)) return;
  // Outside the pod it is not checked yet that no other user can replace the destination.
  await checkAbove([dest], programOptions(options));
  checkGuarded({ path: dest, guarded: true, force: false });
}

function refuseMissing(line: AppLine, pod: PodLayout, idle: readonly AppLine[]): void {
  const gone = findMissing(line, pod, idle);
  if (gone === null) return;
  const message = `Cannot mount ${appWords(line.app)} again: ${quote(gone)} does not exist`;
  const hint = "put it back, or render the app again; its line is in overlay.fstab";
  throw new OverlayError("missing", message, { path: gone, hint });
}
