/**
 * Looking at files by find(1): it sees those that Deno may not under path-scoped permissions, and goes down
 * by open directories, so that nobody leads it elsewhere by a link.
 *
 * @module
 */
import { PROGRAMS } from "./programs.ts";
import { run } from "./run.ts";
import type { ProgramResult, RunOptions } from "./run.ts";

/** The files that find(1) prints, and how it ended. */
export interface Printed {
  /** The fields of each file. */
  readonly records: readonly (readonly string[])[];
  /** How find ended; it also fails when one of the paths is not there. */
  readonly result: ProgramResult;
}

/**
 * Prints fields of files by find(1), which are separated by NUL.
 *
 * Requires `--allow-run` permission for find.
 *
 * @param args The paths, and the tests that choose the files.
 * @param fields The fields of each file, as for `-printf`: `%p`, `%D:%i`.
 */
export async function findPrinted(
  args: readonly string[],
  fields: readonly string[],
  options: Omit<RunOptions, "cwd">,
): Promise<Printed> {
  const format = fields.map((field) => `${field}\\0`).join("");
  const how = { ...options, cwd: "/" };
  const result = await run(PROGRAMS.find, [...args, "-printf", format], how);
  const words = result.stdout.split("\0");
  const records: string[][] = [];
  for (let at = 0; at + fields.length < words.length; at += fields.length) {
    records.push(words.slice(at, at + fields.length));
  }
  return { records, result };
}
