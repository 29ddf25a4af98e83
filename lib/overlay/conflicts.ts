/**
 * Mount options of overlayfs that cannot be used together. The kernel refuses them with EINVAL, which
 * mount(8) reports as a wrong file system type. Each row was measured on Linux 6.18, by mounting with every
 * combination.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Two options that exclude each other, and the reason. */
export interface Conflict {
  /** The two options, as they were given. */
  readonly options: readonly [string, string];
  /** The reason, as the end of a sentence. */
  readonly reason: string;
}

const MARKS = "userxattr keeps overlayfs from following what users could have written";
const FOLLOW =
  "a file that is only metadata is found through its redirect, which metacopy=on turns on";

/** Each row tells whether it holds with an upper, without one, or in both cases. */
type Where = "upper" | "view" | "both";

const ROWS: readonly (readonly [a: string, b: string, where: Where, reason: string])[] = [
  ["userxattr", "metacopy=on", "both", MARKS],
  ["userxattr", "redirect_dir=on", "both", MARKS],
  ["userxattr", "redirect_dir=off", "both", "userxattr means redirect_dir=nofollow"],
  ["userxattr", "redirect_dir=follow", "both", MARKS],
  ["metacopy=on", "redirect_dir=nofollow", "both", FOLLOW],
  ["metacopy=on", "redirect_dir=off", "upper", FOLLOW],
  ["metacopy=on", "redirect_dir=follow", "upper", FOLLOW],
  ["index=off", "nfs_export=on", "upper", "a file is exported by its entry in the index"],
  ["metacopy=on", "nfs_export=on", "upper", "a file that is only metadata cannot be exported"],
];

/**
 * Finds two options of a mount that exclude each other.
 *
 * @param options The options, each `name` or `name=value`.
 * @param hasUpper Whether the mount has an upper.
 * @returns The first such pair; `null` when there is none.
 */
export function findConflict(options: readonly string[], hasUpper: boolean): Conflict | null {
  const given = new Set(options);
  const row = ROWS.find(([a, b, where]) => {
    const holds = where === "both" || (where === "upper") === hasUpper;
    return holds && given.has(a) && given.has(b);
  });
  return row === undefined ? null : { options: [row[0], row[1]], reason: row[3] };
}
