/**
 * Running a program from a tool, and saying something on stdout.
 *
 * @module
 */

/** The result of a program. */
export interface Answer {
  /** The exit status; 127 when the program could not be started, as in a shell. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is run. */
export interface RunOptions {
  readonly cwd?: string;
  /** Variables added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Ends the program with SIGTERM. */
  readonly signal?: AbortSignal;
}

/** Runs a program to its end, without stdin. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Answer> {
  const [program = "", ...args] = argv;
  try {
    const output = await new Deno.Command(program, { ...options, args, stdin: "null" }).output();
    const decode = (data: Uint8Array) => new TextDecoder().decode(data);
    return { status: output.code, stdout: decode(output.stdout), stderr: decode(output.stderr) };
  } catch (error) {
    // A program that does not exist, or is none.
    const stderr = error instanceof Error ? error.message : String(error);
    return { status: 127, stdout: "", stderr };
  }
}

/** Writes to stdout. */
export function say(text: string): void {
  const data = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < data.length;) at += Deno.stdout.writeSync(data.subarray(at));
  } catch (error) {
    // The reader has closed the pipe, as with `| head`.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
