/**
 * The version of util-linux that a program belongs to.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";

/** The oldest util-linux that a render works with. */
export const UTIL_LINUX_MIN = "2.38";

/** Compares versions by their numbers. */
export function isAtLeast(version: string, least: string): boolean {
  const [have, want] = [version, least].map((text) => text.split(".").map(Number));
  for (const [at, number] of (want ?? []).entries()) {
    const own = have?.[at] ?? 0;
    if (own !== number) return own > number;
  }
  return true;
}

/** The version that a program reports. */
export interface ProgramVersion {
  /** The version of util-linux; `null` when the program belongs to another package, or cannot be run. */
  readonly version: string | null;
  /** The output of the program, or the reason why it cannot be run. */
  readonly said: string;
}

/**
 * Asks a program for its version.
 *
 * Requires `--allow-run` permission for the program.
 */
export async function readVersion(
  program: string,
  options: ProgramOptions,
): Promise<ProgramVersion> {
  try {
    const { stdout } = await run(program, ["--version"], { ...options, cwd: "/" });
    const [, version = null] = /util-linux (\d+(?:\.\d+)*)/.exec(stdout) ?? [];
    return { version, said: stdout.trim() || "it says nothing" };
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    return { version: null, said: error.message };
  }
}
