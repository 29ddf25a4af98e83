/**
 * Runs a program in the foreground: with the streams and the environment of this process, and its signals.
 *
 * @module
 */
import { spawnInherited } from "../system/run.ts";
import type { InheritedOptions } from "../system/run.ts";

/** The end of a program. */
export interface Ended {
  /** The exit status; 128 and the number of a signal that ended it. */
  readonly code: number;
  /** The signal that ended it; `null` if a program between it and this process has told its end by the status. */
  readonly signal: Deno.Signal | null;
}

/** The options of a program in the foreground. */
export interface ForegroundOptions extends InheritedOptions {
  /** Ends the program with SIGTERM when it is aborted. */
  readonly signal?: AbortSignal | undefined;
}

/** The signals that are for the program, with their numbers. */
const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGTERM: 15,
} as const;

/** The signals of the keyboard. A program in the terminal of this process gets them by itself. */
export const KEYBOARD: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT"];

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

/** Calls back with each signal that is for a program, and its number, until it is disposed of. */
export function listen(act: (signal: Deno.Signal, number: number) => void): Disposable {
  const listeners = Object.entries(SIGNALS).map(([name, number]) => {
    const signal = name as keyof typeof SIGNALS;
    const listener = () => act(signal, number);
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
): Promise<Ended> {
  const waiting: Deno.Signal[] = [];
  let act = (signal: Deno.Signal): void => void waiting.push(signal);
  // Before the start: a signal that comes meanwhile would end this process alone.
  const own = hasTerminal() ? KEYBOARD : [];
  using _ = listen((signal) => own.includes(signal) || act(signal));
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
