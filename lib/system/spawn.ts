/**
 * Starting a program that this process talks to while it runs.
 *
 * @module
 */
import { startError } from "./run.ts";

/**
 * Starts a program with nothing of this process's environment. What it says on stderr must be read.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If it is not there or cannot be run.
 */
export function spawn(
  program: string,
  args: readonly string[],
  how: Pick<Deno.CommandOptions, "stdin" | "stdout" | "signal">,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      ...how,
      args: [...args],
      stderr: "piped",
      clearEnv: true,
      env: { LC_ALL: "C", TZ: "UTC" },
    }).spawn();
  } catch (error) {
    throw startError(program, error);
  }
}
