/**
 * The disk use of a directory.
 *
 * @module
 */
import type { ProgramOptions } from "./run.ts";
import { programError } from "./run.ts";
import { findPrinted } from "./find.ts";

/** The disk use of a directory. */
export interface DiskUse {
  /** Bytes of the blocks that are allocated; a file with several names counts once. */
  readonly bytes: number;
  /** The number of entries of all types, counted in the same way, without the directory itself. */
  readonly files: number;
}

/** The unit of `st_blocks`, see stat(2). */
const BLOCK = 512;

/** Counts each file once, even with several names. */
class Sum {
  readonly #seen = new Set<string>();
  #blocks = 0;

  add(id: string, blocks: number): void {
    if (this.#seen.has(id)) return;
    this.#seen.add(id);
    this.#blocks += blocks;
  }

  get total(): DiskUse {
    return { bytes: this.#blocks * BLOCK, files: this.#seen.size };
  }
}

/** The message of find for a directory that an app replaced meanwhile. */
const REPLACED = ": Not a directory";

/**
 * Measures a directory with everything below it. Links are not followed. find(1) does it: it descends through
 * open directories, so that a running app cannot redirect it, and handles every name and every depth.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} If a directory cannot be read.
 */
export async function diskUse(directory: string, options: ProgramOptions): Promise<DiskUse> {
  // A file that disappears meanwhile is no error.
  const args = [directory, "-ignore_readdir_race", "-mindepth", "1"];
  const how = { ...options, buffered: true };
  const { records, result } = await findPrinted(args, ["%D:%i", "%b"], how);
  const { status, stderr } = result;
  const wrong = stderr.split("\n").filter((line) => !line.endsWith(REPLACED)).join("\n");
  if (status !== 0 && wrong !== "") {
    const hint = "run as a user who may read all of it, such as root";
    throw programError({ ...result, stderr: wrong }, "read", directory, { hint });
  }
  const sum = new Sum();
  for (const [id = "", blocks] of records) sum.add(id, Number(blocks));
  return sum.total;
}
