/**
 * The permissions that are baked into the one script and the binary: all that any command can need.
 *
 * @module
 */
import { COMPRESSION_PROGRAMS, PROGRAMS, STARTERS } from "../lib/system/programs.ts";

/** The programs that may be run, by absolute path. */
export const BAKED_PROGRAMS: readonly string[] = [
  ...Object.values(PROGRAMS),
  ...Object.values(COMPRESSION_PROGRAMS),
  ...Object.values(STARTERS),
];

/**
 * The flags of `deno run`, by their short names: the kernel reads 255 bytes of the first line of a script.
 * `cli.ts` and `deno.json` have to name them, too.
 */
export const BAKED: readonly string[] = [
  "-R",
  "-W",
  `--allow-run=${BAKED_PROGRAMS.join(",")}`,
  "-S=uid",
  "-N",
  "-E",
];
