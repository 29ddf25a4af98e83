/**
 * The most memory that a process had.
 *
 * @module
 */
import type { Place } from "./_measure.ts";

const PAUSE = 1;

/** Its high-water mark so far in KB, or 0 when it has ended. */
async function highWaterMark(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
  return Number(/^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0);
}

type Input = AsyncIterable<Uint8Array<ArrayBuffer>>;

async function feed(child: Deno.ChildProcess, input: Input): Promise<void> {
  await ReadableStream.from(input).pipeTo(child.stdin);
}

/**
 * Runs a process and returns its peak resident memory in MB, without the programs that it runs. The
 * kernel keeps the mark; what is missed is what comes after the last look at it.
 *
 * @param input What it gets on stdin.
 */
export async function peakMemory(
  argv: readonly string[],
  { env }: Place,
  input?: Input,
): Promise<number> {
  const [program = "", ...args] = argv;
  const stdin = input === undefined ? "null" : "piped";
  const quiet = { stdin, stdout: "null", stderr: "null" } as const;
  const child = new Deno.Command(program, { ...quiet, args, clearEnv: true, env }).spawn();
  const fed = input === undefined ? null : feed(child, input);
  let peak = 0;
  let isRunning = true;
  const ended = child.status.finally(() => isRunning = false);
  while (isRunning) {
    peak = Math.max(peak, await highWaterMark(child.pid));
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  const { code } = await ended;
  await fed;
  if (code !== 0) throw new Error(`exit status ${code}`);
  return peak / 1024;
}
