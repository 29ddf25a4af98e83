/**
 * Lists files with find(1). It reads files that path-scoped permissions hide from Deno, and descends through
 * open directories, so that no link can redirect it.
 *
 * @module
 */
import { PROGRAMS } from "./programs.ts";
import { run } from "./run.ts";
import type { ProgramResult, ProgramRun } from "./run.ts";

/** The files that find(1) printed, and its result. */
export interface Printed {
  /** The fields of each file. */
  readonly records: readonly (readonly string[])[];
  /** The result of find, which also fails when one of the paths does not exist. */
  readonly result: ProgramResult;
}

/**
 * Reads fields of files with find(1).
 *
 * Requires `--allow-run` permission for find.
 *
 * @param args The paths, and the tests that choose the files.
 * @param fields The fields of each file, as for `-printf`: `%p`, `%D:%i`.
 */
export async function findPrinted(
  args: readonly string[],
  fields: readonly string[],
  options: Omit<ProgramRun, "cwd">,
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
