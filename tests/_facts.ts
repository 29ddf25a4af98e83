/**
 * Prints the facts of a render, as a process with fewer permissions than the tests have collects them.
 *
 * deno run --allow-read=… tests/_facts.ts MOUNT THOROUGH
 *
 * @module
 */
import { collectFacts } from "../lib/preflight/disk_facts.ts";
import type { Facts } from "../lib/preflight/disk_facts.ts";
import type { MountPlan } from "../lib/overlay/app_line.ts";

/** How the process is run that collects the facts. */
export interface FactsOptions {
  /** The flags of `deno run`. */
  readonly flags: readonly string[];
  /** A command line put in front, such as `setpriv`. @default {none} */
  readonly wrapper?: readonly string[];
  /** Set if the type of the file system is asked for in any case. @default {false} */
  readonly thorough?: boolean;
}

/** Collects facts in a process of its own. */
export async function factsOf(mount: MountPlan, options: FactsOptions): Promise<Facts> {
  const { flags, wrapper = [], thorough = false } = options;
  const config = new URL("../deno.json", import.meta.url).pathname;
  const [program = "", ...args] = [
    ...[...wrapper, Deno.execPath(), "run", "--quiet", "--no-check", "--no-prompt"],
    ...[`--config=${config}`, ...flags, import.meta.filename ?? ""],
    ...[JSON.stringify(mount), JSON.stringify(thorough)],
  ];
  const env = { NO_COLOR: "1", RUST_BACKTRACE: "0" };
  const command = new Deno.Command(program, { args, env, stdin: "null" });
  const { success, stdout, stderr } = await command.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout)) as Facts;
}

if (import.meta.main) {
  const [mount = "", thorough = ""] = Deno.args;
  const facts = await collectFacts(JSON.parse(mount), {}, { thorough: JSON.parse(thorough) });
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(facts)));
}
