/**
 * Finds lines of a pod that overlap: shared uppers, a shared rootfs, or a rootfs in another one. The lookup
 * is by path, so that a thousand apps are not compared with a thousand others.
 *
 * Requires no permissions.
 *
 * @module
 */
import { readLineConfig } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { parent, upwards } from "../core/path.ts";
import { RefusedError } from "../core/errors.ts";
import { appWords, quote } from "../core/quote.ts";

/** Lists the upper and the work of a line, if it has them. */
function writtenBy(line: AppLine, pod: string): readonly string[] {
  const { upper, work } = readLineConfig(line, pod);
  return [upper, work].filter((path) => path !== null);
}

/** A directory that an app writes to. With its final slash it is a prefix of every path in it. */
interface Written {
  readonly path: string;
  readonly line: AppLine;
}

/**
 * Finds for each app the first other app that shares a directory with it. Several lines of one app, as after
 * an edit by hand, count as one.
 */
function sharing(written: readonly Written[]): ReadonlyMap<string, AppLine> {
  const shared = new Map<string, AppLine>();
  const note = ({ app }: AppLine, other: AppLine) => {
    if (!shared.has(app)) shared.set(app, other);
  };
  // In this order, every path in a directory follows the directory.
  const sorted = written.toSorted((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
  const around: Written[] = [];
  for (const inner of sorted) {
    for (let last = around.at(-1); last !== undefined; last = around.at(-1)) {
      if (inner.path.startsWith(last.path)) break;
      around.pop();
    }
    for (const outer of around) {
      if (outer.line.app === inner.line.app) continue;
      note(outer.line, inner.line);
      note(inner.line, outer.line);
    }
    if (!isKnown(inner, around)) around.push(inner);
  }
  return shared;
}

/** Keeps two different apps for each path: that is enough for every app to find another one. */
function isKnown({ path, line }: Written, around: readonly Written[]): boolean {
  const [second, first] = [around.at(-2), around.at(-1)];
  return first?.path === path && (first.line.app === line.app || second?.path === path);
}

/** The overlaps of the apps of a pod. */
export class Overlaps {
  readonly #sharingUpper: ReadonlyMap<string, AppLine>;
  readonly #byRootfs = new Map<string, AppLine[]>();

  /**
   * Indexes all lines of a pod, including those that are to be recorded.
   *
   * @param writes Lists the directories that a line writes to. @default {the upper and work in its options}
   */
  constructor(
    lines: readonly AppLine[],
    pod: string,
    writes: (line: AppLine) => readonly string[] = (line) => writtenBy(line, pod),
  ) {
    const written: Written[] = [];
    for (const line of lines) {
      for (const path of writes(line)) {
        written.push({ path: path === "/" ? path : `${path}/`, line });
      }
      const had = this.#byRootfs.get(line.rootfs);
      if (had === undefined) this.#byRootfs.set(line.rootfs, [line]);
      // Two different apps are enough for every app to find another one.
      else if (had.length < 2 && had[0]?.app !== line.app) had.push(line);
    }
    this.#sharingUpper = sharing(written);
  }

  /** Finds another app whose upper or work overlaps with that of this app. */
  sharingUpper(line: AppLine): AppLine | undefined {
    return this.#sharingUpper.get(line.app);
  }

  /** Finds another app with the same rootfs. */
  sharingRootfs(line: AppLine): AppLine | undefined {
    return this.#byRootfs.get(line.rootfs)?.find(({ app }) => app !== line.app);
  }
}

/**
 * Groups lines by the mount points among `tops` that are, or lie above, their rootfs.
 */
export function linesWithin(
  lines: readonly AppLine[],
  tops: ReadonlySet<string>,
): ReadonlyMap<string, readonly AppLine[]> {
  const found = new Map<string, AppLine[]>();
  for (const line of lines) {
    for (const at of upwards(line.rootfs)) {
      if (!tops.has(at)) continue;
      const had = found.get(at);
      if (had === undefined) found.set(at, [line]);
      else had.push(line);
    }
  }
  return found;
}

/** Lists the lines among `others` whose rootfs contains that of another line. */
export function imagesAround(
  lines: readonly AppLine[],
  others: readonly AppLine[],
): readonly AppLine[] {
  const above = new Set(lines.flatMap(({ rootfs }) => upwards(parent(rootfs))));
  return others.filter(({ rootfs }) => above.has(rootfs));
}

/**
 * Refuses an app whose upper or work overlaps with that of another app of the pod. The kernel allows it,
 * but the behaviour is undefined.
 *
 * @param other The other app, if any.
 * @throws {RefusedError} If there is such an app.
 */
export function refuseSharedUpper(line: AppLine, other: AppLine | undefined): void {
  if (other === undefined) return;
  throw new RefusedError(
    "in-use",
    `Cannot render ${appWords(line.app)} from tree ${quote(line.tree)}: ` +
      `its upper would share a directory with that of ${appWords(other.app)}`,
    { path: line.rootfs, hint: "give the tree another name with --tree" },
  );
}
