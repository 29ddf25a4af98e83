/**
 * Carries out commands: calls the library until a signal ends it, and prints the result.
 *
 * @module
 */
import { InterruptedError } from "../core/interrupted.ts";
import type { Common, OutputOptions } from "./typed_command.ts";
import type { Io } from "./io.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { printable } from "../core/quote.ts";
import { wantsPull } from "../request/options.ts";

/** The outcome of a signal where pods or trees are done one by one. */
export const GO_ON = "what was done stays; run it again to go on";

export function changeOptions(
  io: Io,
  { output, waitMs }: Common,
  signal?: AbortSignal,
): ChangeOptions {
  return {
    ...(waitMs === undefined ? {} : { waitMs }),
    ...(output.quiet ? {} : { warn: (text) => io.err(`warning: ${printable(text)}\n`) }),
    ...(output.verbose ? { trace: (text) => io.err(`${printable(text)}\n`) } : {}),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** Runs an action that makes changes; a signal ends it, and its changes are undone. */
export async function interruptible<T>(
  io: Io,
  command: Common,
  act: (options: ChangeOptions) => Promise<T>,
  outcome?: string,
): Promise<T> {
  const controller = new AbortController();
  const done = io.onSignal((signal) => controller.abort(new InterruptedError(signal, outcome)));
  try {
    return await act(changeOptions(io, command, controller.signal));
  } finally {
    done();
  }
}

/** Runs a render, and reports the progress of a pull before it. */
export async function rendering<R extends object, T>(
  io: Io,
  command: Common,
  request: R,
  act: (request: R, options: ChangeOptions) => Promise<T>,
): Promise<T> {
  const run = (options: ChangeOptions) => act(request, options);
  if (!wantsPull(request)) return await interruptible(io, command, run);
  const { withProgress } = await import("./progress.ts");
  const how = { err: io.err, quiet: command.output.quiet };
  return await withProgress(how, (progress) => {
    return interruptible(io, command, (options) => run({ ...options, ...progress }));
  });
}

/** Prints a result: as JSON, or as the text that the function makes of it. */
export async function print<T extends object>(
  io: Io,
  { json }: OutputOptions,
  result: T,
  text: (result: T) => string,
): Promise<void> {
  const { formatJson } = await import("./output.ts");
  io.out(json ? formatJson(result) : text(result));
}

export async function tellFailures(
  failures: readonly { readonly reason: string; readonly hint: string | null }[],
  { json }: OutputOptions,
  io: Io,
): Promise<number> {
  if (failures.length === 0) return 0;
  const { printError } = await import("./report.ts");
  for (const { reason, hint } of json ? [] : failures) printError({ message: reason, hint }, io);
  return 1;
}
