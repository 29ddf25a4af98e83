/**
 * Running the command on a terminal, as its users do.
 *
 * @module
 */
import type { CliResult } from "./_cli.ts";

const CLI = new URL("../cli.ts", import.meta.url).pathname;
const CONFIG = new URL("../deno.json", import.meta.url).pathname;

/** Runs the command on a terminal that nobody answers on, without `--no-prompt`. */
export async function onTerminal(
  args: readonly string[],
  flags: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CliResult> {
  const words = [
    ...["timeout", "--kill-after=1", "20", Deno.execPath(), "run", "--quiet"],
    ...[`--config=${CONFIG}`, ...flags, CLI, ...args],
  ].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const output = await new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", words.join(" "), "/dev/null"],
    stdin: "null",
    env: { NO_COLOR: "1", SHELL: "/bin/sh", ...env },
  }).output();
  const stdout = new TextDecoder().decode(output.stdout).replaceAll("\r\n", "\n");
  return { status: output.code, stdout, stderr: "" };
}

/** Tells whether script(1), which makes the terminal, is there. */
export async function hasScript(): Promise<boolean> {
  try {
    return (await new Deno.Command("script", { args: ["--version"] }).output()).success;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return false;
  }
}
