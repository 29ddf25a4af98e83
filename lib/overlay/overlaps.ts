/**
 * What the lines of a pod have to do with one another: uppers that would be shared, a rootfs that two
 * apps have or that lies in another. Everything is looked up by path, so that a thousand apps are not
 * compared with a thousand others.
 *
 * Requires no permissions.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { parent, upwards } from "../core/path.ts";
import { RefusedError } from "../core/errors.ts";
import { appWords, quote } from "../core/quote.ts";

/** The upper and the work of a line, as far as it has them. */
function writtenBy(line: AppLine, pod: string): readonly string[] {
  const { upper, work } = configOfLine(line, pod);
  return [upper, work].filter((path) => path !== null);
}

/** A directory that is written to. With its slash at the end, what lies in it starts as it does. */
interface Written {
  readonly path: string;
  readonly line: AppLine;
}

/**
 * Of each app another one whose directories are its own, or lie in one of them, or around one. Two lines of
 * one app, as a hand can write them, are taken together.
 */
function sharing(written: readonly Written[]): ReadonlyMap<string, AppLine> {
  const shared = new Map<string, AppLine>();
  const note = ({ app }: AppLine, other: AppLine) => {
    if (!shared.has(app)) shared.set(app, other);
  };
  // Sorted so, all that lies in a directory follows it.
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

/** Of one path, two different apps are enough: every app then finds another than itself. */
function isKnown({ path, line }: Written, around: readonly Written[]): boolean {
  const [second, first] = [around.at(-2), around.at(-1)];
  return first?.path === path && (first.line.app === line.app || second?.path === path);
}

/** What each app of a pod shares with another one. */
export class Overlaps {
  readonly #sharingUpper: ReadonlyMap<string, AppLine>;
  readonly #byRootfs = new Map<string, AppLine[]>();

  /**
   * Looks at all lines of a pod, those that are to be recorded included.
   *
   * @param writes The directories that a line writes to. @default {those that its options name}
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
      // Two different apps are enough: every app then finds another than itself.
      else if (had.length < 2 && had[0]?.app !== line.app) had.push(line);
    }
    this.#sharingUpper = sharing(written);
  }

  /** Another app whose upper or work is one of this app's, or lies in it, or the other way round. */
  sharingUpper(line: AppLine): AppLine | undefined {
    return this.#sharingUpper.get(line.app);
  }

  /** Another app with the same rootfs. */
  sharingRootfs(line: AppLine): AppLine | undefined {
    return this.#byRootfs.get(line.rootfs)?.find(({ app }) => app !== line.app);
  }
}

/**
 * The lines whose rootfs lies in the rootfs of another one, by that one's rootfs; the nearest to the
 * top is not told from those further up.
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

/** The lines among `others` in whose rootfs that of another line lies. */
export function imagesAround(
  lines: readonly AppLine[],
  others: readonly AppLine[],
): readonly AppLine[] {
  const above = new Set(lines.flatMap(({ rootfs }) => upwards(parent(rootfs))));
  return others.filter(({ rootfs }) => above.has(rootfs));
}

/**
 * Refuses an app whose upper or work another app of the pod has, or that would lie one in the other;
 * the kernel allows it, and what then happens is undefined.
 *
 * @param other The app that has it, if any.
 * @throws {RefusedError} If there is one.
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
