/**
 * Makes symbolic links with ln(1): Deno itself requires permission to read and write everything.
 *
 * @module
 */
import { PROGRAMS } from "./programs.ts";
import { programError, run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/**
 * Makes a symbolic link at a free path.
 *
 * Requires `--allow-run` permission for ln.
 *
 * @param path The link.
 * @param to The target, as it is written into the link.
 * @throws {OverlayError} If it cannot be made.
 */
export async function makeLink(path: string, to: string, options: ProgramOptions): Promise<void> {
  const args = ["--symbolic", "--no-target-directory", "--", to, path];
  const result = await run(PROGRAMS.ln, args, { ...options, cwd: "/" });
  if (result.status === 0) return;
  throw programError(result, "make", path);
}
