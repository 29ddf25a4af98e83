/**
 * The files of the repository.
 *
 * @module
 */

/**
 * Lists the files below a directory whose names end with a suffix.
 *
 * @param root An absolute path.
 * @param directory A path below it.
 * @returns Paths below the root, sorted.
 */
export async function filesBelow(
  root: string,
  directory: string,
  suffix: string,
): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${root}/${directory}`));
  const files = await Promise.all(entries.map(async ({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    return isDirectory ? await filesBelow(root, path, suffix) : name.endsWith(suffix) ? [path] : [];
  }));
  return files.flat().sort();
}
