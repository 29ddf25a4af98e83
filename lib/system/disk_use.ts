/**
 * What a directory takes on the disk.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { PROGRAMS } from "./programs.ts";
import { printable, quote } from "../core/quote.ts";
import { run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** What a directory takes on the disk. */
export interface DiskUse {
  /** Bytes of the blocks that are allocated; a file with several names counts once. */
  readonly bytes: number;
  /** How many files, directories and others there are, as bytes are counted, without the directory itself. */
  readonly files: number;
}

/** The unit of `st_blocks`, see stat(2). */
const BLOCK = 512;

/** Counts what has several names once. */
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

/** The words of find for a directory that an app has replaced meanwhile. */
const REPLACED = ": Not a directory";

/**
 * Measures a directory with all that is below it. Links are not followed. find(1) does it: it goes down by open
 * directories, so that an app that is running leads nobody elsewhere, and takes every name and every depth.
 *
 * Requires `--allow-run` permission for find.
 *
 * @throws {OverlayError} If a directory cannot be read.
 */
export async function diskUse(directory: string, options: ProgramOptions): Promise<DiskUse> {
  // What is gone by now is no error.
  const args = [directory, "-ignore_readdir_race", "-mindepth", "1", "-printf", "%D:%i %b\\n"];
  const { status, stdout, stderr } = await run(PROGRAMS.find, args, {
    ...options,
    cwd: "/",
    buffered: true,
  });
  const wrong = stderr.split("\n").filter((line) => !line.endsWith(REPLACED));
  if (status !== 0 && wrong.length > 0) {
    const said = quote(printable(wrong.join("\n").slice(0, 2000)));
    throw new OverlayError("failed", `Cannot read ${quote(directory)}: find said ${said}`, {
      path: directory,
      hint: "run as a user who may read all of it, such as root",
    });
  }
  const sum = new Sum();
  for (const line of stdout.split("\n")) {
    const [id, blocks] = line.split(" ");
    if (id !== undefined && blocks !== undefined) sum.add(id, Number(blocks));
  }
  return sum.total;
}
