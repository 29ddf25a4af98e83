/**
 * Going down and up in paths that are parsed already: absolute, and without anything to normalise. So
 * this is concatenation; the general functions would read every path from its first character again.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The path of something below a directory; empty names are passed over. */
export function child(directory: string, ...names: readonly string[]): string {
  let path = directory === "/" ? "" : directory;
  for (const name of names) if (name !== "") path += `/${name}`;
  return path || "/";
}

/** The directory that a path lies in; `/` for itself. */
export function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** The last name of a path. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** A path and every directory that it lies in, nearest first; without `/`, which is around everything. */
export function upwards(path: string): string[] {
  const found: string[] = [];
  for (let at = path; at !== "/"; at = parent(at)) found.push(at);
  return found;
}

/** Whether `path` is `directory` itself or lies below it. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || directory === "/" || path.startsWith(`${directory}/`);
}
