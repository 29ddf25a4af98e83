/**
 * What a directory takes on the disk.
 *
 * @module
 */
import { attempt, look } from "./disk.ts";
import { child } from "./path.ts";

/** What a directory takes on the disk. */
export interface DiskUse {
  /** Bytes of the blocks that are allocated; a file with several names counts once. */
  readonly bytes: number;
  /** How many files, directories and others there are, as bytes are counted, without the directory itself. */
  readonly files: number;
}

/** The unit of `st_blocks`, see stat(2). */
const BLOCK = 512;

/**
 * Measures a directory with all that is below it. Links are not followed.
 *
 * Requires `--allow-read` permission for the directory.
 *
 * @throws {OverlayError} If a directory cannot be read.
 */
export function diskUse(directory: string): DiskUse {
  const seen = new Set<string>();
  let [bytes, files] = [0, 0];
  const open = [directory];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const names = attempt("read directory", at, () => [...Deno.readDirSync(at)]);
    for (const { name } of names) {
      const path = child(at, name);
      const info = look(path);
      // It is gone by now, or has a name that is not UTF-8.
      if (info === null) continue;
      // Not as it was listed: a name that is not UTF-8 is shown as another one, which can be a link's.
      if (info.isDirectory) open.push(path);
      const id = `${info.dev}:${info.ino}`;
      if (seen.has(id)) continue;
      seen.add(id);
      files++;
      bytes += (info.blocks ?? 0) * BLOCK;
    }
  }
  return { bytes, files };
}
