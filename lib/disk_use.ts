/**
 * What a directory takes on the disk.
 *
 * @module
 */
import { attempt, identityOf, look } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import { child } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
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

/** How Deno shows what of a name is not UTF-8; by that name it finds nothing, or something else. */
const NOT_UTF8 = "\ufffd";

/**
 * Measures a directory with all that is below it. Links are not followed.
 *
 * Requires `--allow-read` permission for the directory, and `--allow-run` for find where a name in it is
 * not UTF-8.
 *
 * @throws {OverlayError} If a directory cannot be read.
 */
export async function diskUse(directory: string, options: ProgramOptions): Promise<DiskUse> {
  const sum = new Sum();
  const open = [directory];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    const names = attempt("read directory", at, () => [...Deno.readDirSync(at)]);
    for (const { name } of names) {
      if (name.includes(NOT_UTF8)) return await diskUseByFind(directory, options);
      const path = child(at, name);
      const info = look(path);
      // It is gone by now.
      if (info === null) continue;
      if (info.isDirectory) open.push(path);
      sum.add(identityOf(info), info.blocks ?? 0);
    }
  }
  return sum.total;
}

async function diskUseByFind(directory: string, options: ProgramOptions): Promise<DiskUse> {
  // What is gone by now is no error.
  const args = [directory, "-ignore_readdir_race", "-mindepth", "1", "-printf", "%D:%i %b\\n"];
  const { status, stdout, stderr } = await run(PROGRAMS.find, args, {
    ...options,
    cwd: "/",
    talkative: true,
  });
  if (status !== 0) {
    const said = quote(printable(stderr.slice(0, 2000)));
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
