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
import { parseMountOptions } from "./mount_config.ts";
import type { Mount } from "./mount_table.ts";
import { upwards } from "./path.ts";

/** Lines by path. Of each path two different apps are enough: every app then finds another than itself. */
class ByPath {
  readonly #lines = new Map<string, AppLine[]>();

  add(path: string, line: AppLine): void {
    const had = this.#lines.get(path);
    if (had === undefined) this.#lines.set(path, [line]);
    else if (had.length < 2 && had[0]?.app !== line.app) had.push(line);
  }

  other(path: string, line: AppLine): AppLine | undefined {
    return this.#lines.get(path)?.find(({ app }) => app !== line.app);
  }
}

function writable(line: AppLine, pod: string): string[] {
  const { upper, work } = configOfLine(line, pod);
  return [upper, work].filter((path) => path !== null);
}

/** What each app of a pod shares with another one. */
export class Neighbours {
  readonly #pod: string;
  readonly #owners = new ByPath();
  readonly #above = new ByPath();
  readonly #rootfs = new ByPath();

  /** Looks at all lines of a pod, those that are to be recorded included. */
  constructor(lines: readonly AppLine[], pod: string) {
    this.#pod = pod;
    for (const line of lines) {
      this.#rootfs.add(line.rootfs, line);
      for (const path of writable(line, pod)) {
        this.#owners.add(path, line);
        for (const at of upwards(path)) this.#above.add(at, line);
      }
    }
  }

  /** Another app whose upper or work is one of this app's, or lies in it, or the other way round. */
  sharingUpper(line: AppLine): AppLine | undefined {
    for (const path of writable(line, this.#pod)) {
      const inside = this.#above.other(path, line);
      if (inside !== undefined) return inside;
      for (const at of upwards(path)) {
        const around = this.#owners.other(at, line);
        if (around !== undefined) return around;
      }
    }
    return undefined;
  }

  /** Another app with the same rootfs. */
  sharingRootfs(line: AppLine): AppLine | undefined {
    return this.#rootfs.other(line.rootfs, line);
  }
}

/** The mounts that write into an upper or a work, by its absolute path. */
export class Writers {
  readonly #mounts = new Map<string, Mount[]>();

  /** Looks at a mount table. */
  constructor(table: readonly Mount[]) {
    for (const mount of table) {
      if (mount.fstype !== "overlay") continue;
      const { upper, work } = parseMountOptions(mount.options);
      // A relative path of a mount elsewhere is relative to another pod.
      if (!upper?.startsWith("/")) continue;
      for (const path of [upper, work]) {
        if (path !== null) this.#mounts.set(path, [...(this.#mounts.get(path) ?? []), mount]);
      }
    }
  }

  /** A mount that writes into the upper or work of a line with absolute paths, but not at its target. */
  of(line: AppLine, target: string | null): Mount | undefined {
    const { upper, work } = parseMountOptions(line.options);
    return [upper, work].flatMap((path) => path === null ? [] : this.#mounts.get(path) ?? [])
      .find((mount) => mount.target !== target);
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
