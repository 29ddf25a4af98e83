/**
 * The mount table, read with findmnt(8): Deno reads `/proc/self/mountinfo` itself only with all
 * permissions.
 *
 * @module
 */
import { PROGRAMS } from "./programs.ts";
import { isWithin } from "../core/path.ts";
import { programError, run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** A mount of this mount namespace. */
export interface Mount {
  /** The id of the mount; see mountinfo in proc(5). */
  readonly id: number;
  /** The id of the mount that it is mounted on. */
  readonly parent: number;
  /** The mount point, without symlinks. */
  readonly target: string;
  /** The type of the file system. */
  readonly fstype: string;
  /** The options of the file system. Of an overlay, its paths as they were given. */
  readonly options: string;
  /** The options of the mount point itself, such as `ro` and `nosuid`. */
  readonly flags: readonly string[];
}

interface FindmntRow {
  readonly id: number;
  readonly parent: number;
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
  const filter = types === undefined ? [] : ["--types", types];
  const columns = "ID,PARENT,TARGET,FSTYPE,FS-OPTIONS,VFS-OPTIONS";
  return (await rowsOf<FindmntRow>(columns, filter, options)).map((row) => {
    const { id, parent, target, fstype, "fs-options": options, "vfs-options": flags } = row;
    return { id, parent, target, fstype, options: options ?? "", flags: (flags ?? "").split(",") };
  });
}

async function rowsOf<Row>(
  columns: string,
  filter: readonly string[],
  options: ProgramOptions,
): Promise<readonly Row[]> {
  const args = ["--json", "--list", "--output", columns, ...filter];
  const result = await run(PROGRAMS.findmnt, args, { ...options, cwd: "/" });
  // With status 1 and no message, nothing matched.
  if (result.status === 1 && result.stderr === "") return [];
  if (result.status === 0) return (JSON.parse(result.stdout) as { filesystems: Row[] }).filesystems;
  throw programError(result, "read the mount table", null);
}

interface PropagationRow {
  readonly id: number;
  readonly parent: number;
  readonly target: string;
  readonly fsroot: string;
  readonly "maj:min": string;
  readonly "opt-fields": string | null;
}

/**
 * Lists the mount points that disappear when others are unmounted: a mount in a shared directory is
 * propagated to its peers (mount_namespaces(7)).
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @param targets The mount points that are unmounted.
 */
export async function listPeers(
  targets: ReadonlySet<string>,
  options: ProgramOptions,
): Promise<ReadonlySet<string>> {
  const columns = "ID,PARENT,TARGET,FSROOT,MAJ:MIN,OPT-FIELDS";
  const rows = await rowsOf<PropagationRow>(columns, [], options);
  const byId = new Map(rows.map((row) => [row.id, row]));
  const placeOf = (row: PropagationRow) => {
    const around = byId.get(row.parent);
    if (around === undefined || !isWithin(row.target, around.target)) return null;
    // The path in the file system of the parent mount, whatever part of it that mount shows.
    const below = around.target === "/" ? row.target : row.target.slice(around.target.length);
    const path = `${around.fsroot === "/" ? "" : around.fsroot}${below}`;
    const groups = (around["opt-fields"] ?? "").match(/\b(?:shared|master):\d+/g) ?? [];
    return { groups, key: `${row["maj:min"]} ${around["maj:min"]} ${path}` };
  };
  const taken = new Set(
    rows.filter(({ target }) => targets.has(target)).flatMap((row) => {
      const { groups = [], key } = placeOf(row) ?? {};
      return groups.filter((group) => group.startsWith("shared:"))
        .map((group) => `${group.slice("shared:".length)} ${key}`);
    }),
  );
  return new Set(
    rows.filter((row) => {
      const { groups = [], key } = placeOf(row) ?? {};
      return groups.some((group) => taken.has(`${group.slice(group.indexOf(":") + 1)} ${key}`));
    }).map(({ target }) => target),
  );
}
