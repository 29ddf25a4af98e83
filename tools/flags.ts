/**
 * The permissions that are baked into the one script and the binary: all that any command can need.
 *
 * @module
 */
import { COMPRESSION_PROGRAMS, PROGRAMS } from "../lib/system/programs.ts";

/** The programs that may be run, by absolute path. */
export const BAKED_PROGRAMS: readonly string[] = [
  ...Object.values(PROGRAMS),
  ...Object.values(COMPRESSION_PROGRAMS),
];

/** The flags of `deno run`; `cli.ts` and `deno.json` have to name them, too. */
export const BAKED: readonly string[] = [
  "--allow-read",
  "--allow-write",
  `--allow-run=${BAKED_PROGRAMS.join(",")}`,
  "--allow-sys=uid",
];
