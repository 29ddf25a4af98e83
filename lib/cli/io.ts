/**
 * The process that a command runs in: its streams, its signals, its working directory.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { Reserved } from "./reserved.ts";
import type { Screen } from "./table.ts";

/** The process that a command runs in. */
export interface Io {
  /** Writes to stdout. */
  readonly out: (text: string) => void;
  /** Writes to stderr. */
  readonly err: (text: string) => void;
  /** Reads stdin to its end. */
  readonly input: () => Uint8Array | string;
  /** The directory that relative paths are taken from. */
  readonly cwd: () => string;
  /** Reads a variable of the environment that may be read. @default {there is none} */
  readonly variable?: (name: string) => string | undefined;
  /** Tells what stdout is. @default {no terminal} */
  readonly screen?: () => Screen;
  /** Gives up the reserved permissions but for these. @default {nothing is given up} */
  readonly keepOnly?: (kept: readonly Reserved[]) => void;
  /** Set if this process is the command's own, and can be run again in a user namespace. @default {false} */
  readonly isOwn?: boolean;
  /** Calls back on SIGINT and SIGTERM with the signal's number; the result takes that back. */
  readonly onSignal: (handler: (signal: number) => void) => () => void;
}

/** The most bytes of a spec: some ten thousand apps have fewer. */
export const SPEC_MAX = 16 << 20;

const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/**
 * The listeners stay until the process ends: a signal that comes when all is done must not make it end
 * as if it had been undone. They do not keep it from ending.
 */
function onSignal(handler: (signal: number) => void): () => void {
  let interrupted = false;
  let done = false;
  for (const [name, number] of Object.entries(SIGNALS)) {
    Deno.addSignalListener(name as Deno.Signal, () => {
      // The second signal ends the process without waiting for the undo.
      if (interrupted) Deno.exit(128 + number);
      interrupted = true;
      if (!done) handler(number);
    });
  }
  return () => void (done = true);
}

/** The error if the work is done, but its result could not be printed. */
export class UnwritableError extends OverlayError {
  constructor(reason: string) {
    super("failed", `Cannot write the result: ${reason}; what was asked for is done, and stays`, {
      hint: "overlay-render status tells what is mounted",
    });
  }
}

function write(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  const data = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < data.length;) at += stream.writeSync(data.subarray(at));
  } catch (error) {
    // The reader has closed the pipe, as with `| head`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnwritableError(reason.replace(/ \(os .*/s, ""));
  }
}

/** Reads stdin without the streams of the web, whose start takes time. */
function readInput(): Uint8Array {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  let length = 0;
  for (let read = Deno.stdin.readSync(buffer); read !== null; read = Deno.stdin.readSync(buffer)) {
    parts.push(buffer.slice(0, read));
    length += read;
    if (length <= SPEC_MAX) continue;
    throw new OverlayError("too-large", `Cannot read spec "-": it has more than ${SPEC_MAX} bytes`);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Nothing is asked for: without permission, there is no variable. */
function readVariable(name: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) : undefined;
}

/** Looks at the terminal on stdout, if there is one. */
function readScreen(): Screen {
  if (!Deno.stdout.isTerminal()) return { columns: Infinity, colour: false };
  // A terminal that does not know its size says 0.
  return { columns: Deno.consoleSize().columns || 80, colour: !Deno.noColor };
}

/** This process. */
export const processIo: Io = {
  out: (text) => write(Deno.stdout, text),
  err: (text) => write(Deno.stderr, text),
  input: readInput,
  cwd: () => Deno.cwd(),
  variable: readVariable,
  screen: readScreen,
  onSignal,
};
