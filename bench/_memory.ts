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

/**
 * Runs a process and returns its peak resident memory in MB, without the programs that it runs. The
 * kernel keeps the mark; what is missed is what comes after the last look at it.
 */
export async function peakMemory(argv: readonly string[], { env }: Place): Promise<number> {
  const [program = "", ...args] = argv;
  const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
  const child = new Deno.Command(program, { ...quiet, args, clearEnv: true, env }).spawn();
  let peak = 0;
  let isRunning = true;
  const ended = child.status.finally(() => isRunning = false);
  while (isRunning) {
    peak = Math.max(peak, await highWaterMark(child.pid));
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
  const { code } = await ended;
  if (code !== 0) throw new Error(`exit status ${code}`);
  return peak / 1024;
}
