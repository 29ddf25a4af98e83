/**
 * What is mounted, as the kernel tells it through findmnt(8): `/proc/self/mountinfo` itself can only be
 * read with all permissions.
 *
 * @module
 */
import { OverlayError } from "./errors.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable } from "./quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** A mount of this mount namespace. */
export interface Mount {
  /** Tells it from every other mount that there is; see mountinfo in proc(5). */
  readonly id: number;
  /** The mount point, without symlinks. */
  readonly target: string;
  /** The type of the file system. */
  readonly fstype: string;
  /** The options of the file system. Of an overlay, its paths as they were given. */
  readonly options: string;
  /** Whether nothing can be written through it. */
  readonly readOnly: boolean;
}

interface FindmntRow {
  readonly id: number;
  readonly target: string;
  readonly fstype: string;
  readonly "fs-options": string | null;
  readonly "vfs-options": string | null;
}

/**
 * Reads the mount table, in the order of mounting.
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @param types Only file systems of this type. @default {all}
 * @throws {OverlayError} If findmnt cannot be run or fails.
 */
export async function mountTable(
  options: ProgramOptions,
  types?: string,
): Promise<readonly Mount[]> {
  const columns = ["--json", "--list", "--output", "ID,TARGET,FSTYPE,FS-OPTIONS,VFS-OPTIONS"];
  const filter = types === undefined ? [] : ["--types", types];
  const result = await run(PROGRAMS.findmnt, [...columns, ...filter], { ...options, cwd: "/" });
  // With status 1 and no word, nothing matched.
  if (result.status === 1 && result.stderr === "") return [];
  if (result.status !== 0) {
    const said = printable(result.stderr);
    throw new OverlayError("failed", `Cannot read the mount table: findmnt said "${said}"`);
  }
  const { filesystems } = JSON.parse(result.stdout) as { filesystems: FindmntRow[] };
  return filesystems.map((row) => {
    const { id, target, fstype, "fs-options": options, "vfs-options": flags } = row;
    const readOnly = (flags ?? "").split(",").includes("ro");
    return { id, target, fstype, options: options ?? "", readOnly };
  });
}
