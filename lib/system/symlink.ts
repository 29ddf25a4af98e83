/**
 * Making a symbolic link by ln(1): Deno itself makes one only for who may read and write everything.
 *
 * @module
 */
import { PROGRAMS } from "./programs.ts";
import { programError, run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/**
 * Makes a symbolic link where nothing is.
 *
 * Requires `--allow-run` permission for ln.
 *
 * @param path The link.
 * @param to Where it leads, as it is written into it.
 * @throws {OverlayError} If it cannot be made.
 */
export async function makeLink(path: string, to: string, options: ProgramOptions): Promise<void> {
  const args = ["--symbolic", "--no-target-directory", "--", to, path];
  const result = await run(PROGRAMS.ln, args, { ...options, cwd: "/" });
  if (result.status === 0) return;
  throw programError(result, "make", path);
}
