/**
 * Runs a program in the foreground: with the streams and the environment of this process, and its signals.
 *
 * @module
 */
import { spawnInherited } from "../system/run.ts";
import type { InheritedOptions } from "../system/run.ts";

/** The end of a program. */
export interface ProcessEnd {
  /** The exit status; 128 and the number of a signal that ended it. */
  readonly code: number;
  /** The signal that ended it. */
  readonly signal: Deno.Signal | null;
}

/** The options of a program in the foreground. */
export interface ForegroundOptions extends InheritedOptions {
  /** Ends the program with SIGTERM when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** The signals that are handed on to the program. */
const HANDED_ON: readonly Deno.Signal[] = ["SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2"];

/** The signals of the keyboard. On a terminal, the program gets them by itself. */
const KEYBOARD: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT"];

/** Tells whether one of the streams of this process is a terminal. */
function hasTerminal(): boolean {
  return [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
}

/** Sends a signal to a program, unless it has ended. */
function send(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Calls back with each signal that is for the program, and ignores those that it gets by itself. */
function listen(act: (signal: Deno.Signal) => void): Disposable {
  const ignored = hasTerminal() ? KEYBOARD : [];
  const listeners = [...HANDED_ON, ...KEYBOARD].map((signal) => {
    const listener = ignored.includes(signal) ? () => {} : () => act(signal);
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return { [Symbol.dispose]: () => listeners.forEach((remove) => remove()) };
}

/**
 * Runs a program in the foreground, hands signals on to it, and waits for its end.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @param argv The program, by absolute path, and its arguments.
 * @throws {OverlayError} If it does not exist or cannot be run.
 */
export async function runForeground(
  [program = "", ...args]: readonly string[],
  { signal, ...options }: ForegroundOptions = {},
): Promise<ProcessEnd> {
  const waiting: Deno.Signal[] = [];
  let act = (signal: Deno.Signal): void => void waiting.push(signal);
  // Before the start: a signal that comes meanwhile would end this process alone.
  using _ = listen((signal) => act(signal));
  const child = spawnInherited(program, args, options);
  act = (signal) => send(child, signal);
  waiting.forEach(act);
  const abort = () => send(child, "SIGTERM");
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    const { code, signal: ended } = await child.status;
    return { code, signal: ended };
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}
