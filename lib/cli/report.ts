/**
 * The report of an error: words on stderr, or one JSON object on stdout.
 *
 * @module
 */
import { MissingPermissionError, OverlayError, PodError, UnmountError } from "../core/errors.ts";
import { printable } from "../core/quote.ts";
import { UnwritableError } from "./io.ts";
import { withSuggestion } from "./suggest.ts";
import type { Io } from "./io.ts";

/** Prints an error and its hint on stderr. */
export function printError(
  { message, hint }: { readonly message: string; readonly hint: string | null },
  io: Pick<Io, "err">,
): void {
  io.err(`error: ${printable(message)}\n`);
  if (hint !== null) io.err(`hint: ${printable(hint)}\n`);
}

/** Makes the error for unexpected failures: a permission that is partly denied, or an internal error. */
function unexpected(error: unknown): OverlayError {
  const reason = error instanceof Error ? error.message : String(error);
  if (error instanceof Deno.errors.NotCapable) {
    const isKept = error.message.includes("Requires all access");
    const hint = "choose a directory that is not in /dev, /proc or /sys, or give --allow-all";
    const message = `Cannot run without all Deno permissions: ${reason}`;
    return new MissingPermissionError(message, [], isKept ? { hint } : {});
  }
  const name = error instanceof Error ? `${error.name}: ` : "";
  return new OverlayError("failed", `Internal error: ${name}${reason} (please report it)`, {
    cause: error,
  });
}

/**
 * Prints an error.
 *
 * @param json Set to print a JSON object on stdout. If stdout cannot be written, the error is on stderr.
 * @returns The exit status.
 */
export function report(thrown: unknown, json: boolean, io: Io): number {
  const error = thrown instanceof OverlayError ? withSuggestion(thrown) : unexpected(thrown);
  if (!json || error instanceof UnwritableError) {
    printError(error, io);
    // The report of an internal error needs its stack.
    const isOurs = error.cause === thrown && thrown instanceof Error;
    if (isOurs) io.err(`${thrown.stack?.replace(/^[^]*?\n(?= {4}at )/, "") ?? ""}\n`);
    return error.exitStatus;
  }
  const unmounted = error instanceof UnmountError ? { unmounted: error.unmounted } : {};
  const failures = error instanceof PodError ? { failures: error.failures } : {};
  try {
    io.out(`${JSON.stringify({ version: 1, error, ...unmounted, ...failures })}\n`);
    return error.exitStatus;
  } catch (unwritable) {
    if (!(unwritable instanceof UnwritableError)) throw unwritable;
    return report(thrown, false, io);
  }
}
