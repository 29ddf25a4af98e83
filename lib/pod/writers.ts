/**
 * The mounts that write into uppers and works.
 *
 * @module
 */
import type { Mount } from "../system/mount_table.ts";
import { parseMountOptions } from "../overlay/mount_config.ts";
import type { AppLine } from "../overlay/app_line.ts";

/** The mounts that write into an upper or a work, by its absolute path. */
export class Writers {
  readonly #mounts = new Map<string, Mount[]>();

  /** Reads a mount table. */
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
