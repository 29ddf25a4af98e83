/**
 * Helpers for paths that are parsed already: absolute and normalised. They only join and split text; the
 * general functions would scan every path again.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Joins names to a directory; empty names are skipped. */
export function child(directory: string, ...names: readonly string[]): string {
  let path = directory === "/" ? "" : directory;
  for (const name of names) if (name !== "") path += `/${name}`;
  return path || "/";
}

/** Returns the parent directory of a path; the parent of `/` is `/`. */
export function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** Returns the last component of a path. */
export function basename(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Lists a path and its parent directories, nearest first, without `/`. */
export function upwards(path: string): string[] {
  const found: string[] = [];
  for (let at = path; at !== "/"; at = parent(at)) found.push(at);
  return found;
}

/** Tells whether `path` is `directory` or lies below it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}
