#!/usr/bin/env -S deno run --no-prompt -R -W --allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/chcon,/bin/cp,/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find,/bin/fuser,/bin/xz,/bin/zstd,/bin/unshare,/bin/setpriv -S=uid -N -E
/**
 * The command `overlay-render`: reads the command line, calls the library, prints.
 *
 * @module
 */
import { parseCommand } from "./lib/cli/command.ts";
import { withDefaults } from "./lib/cli/defaults.ts";
import { enter } from "./lib/cli/enter.ts";
import { processIo } from "./lib/cli/io.ts";
import type { Io } from "./lib/cli/io.ts";
import { keepOnly } from "./lib/cli/reserved.ts";
import { run } from "./lib/cli/run.ts";

export type { Io } from "./lib/cli/io.ts";
export type { Reserved } from "./lib/cli/reserved.ts";
export type { Screen } from "./lib/cli/table.ts";

/**
 * Runs the command.
 *
 * @param args The command line, without the program's name.
 * @param io The process it runs in. @default {this one}
 * @returns The exit status: 0 done, 1 failed, 2 usage, 3 refused, 4 a permission is missing, 130 and 143
 * interrupted.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { main } from "@overlay/render/cli";
 *
 * const lines: string[] = [];
 * const out = (text: string) => void lines.push(text);
 * const io = { out, err: out, input: () => new Uint8Array(), cwd: () => "/", onSignal: () => () => {} };
 * // Exits 1 where it sees that there is no such lower.
 * await main(["plan", "--lower", "/images/debian", "--pod", "/pods/one"], io);
 * assert(lines.join("").includes("--allow-write=/pods/one"));
 * ```
 */
export async function main(args: readonly string[], io: Io = processIo): Promise<number> {
  try {
    const given = io.variable === undefined ? args : withDefaults(args, io.variable);
    const command = parseCommand(given, io.cwd());
    const entered = io.isOwn ? await enter(command, io) : null;
    return entered ?? await run(command, io) ?? 0;
  } catch (error) {
    const { report } = await import("./lib/cli/report.ts");
    return report(error, args.includes("--json"), io);
  }
}

// Not `Deno.exitCode`: what is still being opened, such as a FIFO without a writer, must not hold it.
if (import.meta.main) Deno.exit(await main(Deno.args, { ...processIo, isOwn: true, keepOnly }));
