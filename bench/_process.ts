/**
 * One process that is measured: how long it took, and what it and the programs that it ran used. The time
 * depends on what else runs and on how fast the machine hands out memory; the rest travels better.
 *
 * @module
 */

/** The cost of a process. */
export interface Cost {
  /** From its start to its end, in milliseconds. */
  readonly ms: number;
  /** Processor time in user and system mode, in seconds. */
  readonly cpu: number;
  /** Page faults that needed no disk. */
  readonly faults: number;
}

/** How a process is run. */
export interface ProcessOptions {
  /** Where it runs. @default {where this process runs} */
  readonly cwd?: string | undefined;
  /** The whole environment. @default {that of this process} */
  readonly env?: Readonly<Record<string, string>>;
}

const libc = Deno.dlopen("libc.so.6", {
  getrusage: { parameters: ["i32", "buffer"], result: "i32" },
});
const RUSAGE_CHILDREN = -1;

/** The 18 words of getrusage(2): user and system time in two words each, six others, page faults, more. */
function usageOfChildren(): Omit<Cost, "ms"> {
  const usage = new BigInt64Array(18);
  if (libc.symbols.getrusage(RUSAGE_CHILDREN, usage) !== 0) throw new Error("getrusage failed");
  const [user = 0, userMicros = 0, system = 0, systemMicros = 0, , , , , faults = 0] = [...usage]
    .map(Number);
  return { cpu: user + system + (userMicros + systemMicros) / 1e6, faults };
}

/**
 * Measures a process while this one only waits: nothing of it runs beside what is measured.
 *
 * @throws {Error} If it fails.
 */
export function measureProcess(
  [program = "", ...args]: readonly string[],
  { cwd, env }: ProcessOptions = {},
): Cost {
  const where = cwd === undefined ? {} : { cwd };
  const environment = env === undefined ? {} : { clearEnv: true, env };
  const options = { ...where, ...environment, args, stdin: "null", stdout: "null" } as const;
  const command = new Deno.Command(program, options);
  const before = usageOfChildren();
  const start = performance.now();
  const { code, stderr } = command.outputSync();
  const ms = performance.now() - start;
  const after = usageOfChildren();
  if (code === 0) return { ms, cpu: after.cpu - before.cpu, faults: after.faults - before.faults };
  throw new Error(`exit status ${code}: ${new TextDecoder().decode(stderr).trim()}`);
}

/** The median, or NaN if there is none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? NaN;
  return (at(Math.floor((sorted.length - 1) / 2)) + at(Math.floor(sorted.length / 2))) / 2;
}

/** Each figure by itself: the median of all, and the least time. */
export function middleOf(costs: readonly Cost[]): Cost & { readonly least: number } {
  return {
    ms: median(costs.map(({ ms }) => ms)),
    least: Math.min(...costs.map(({ ms }) => ms)),
    cpu: median(costs.map(({ cpu }) => cpu)),
    faults: median(costs.map(({ faults }) => faults)),
  };
}

/** The heads of the columns that {@linkcode costCells} fills. */
export const COST_HEAD: readonly string[] = ["ms", "min", "cpu s", "faults"];

/** A row of a table, as far as it is the same in all tables. */
export function costCells(costs: readonly Cost[]): string[] {
  const { ms, least, cpu, faults } = middleOf(costs);
  return [ms.toFixed(1), least.toFixed(1), cpu.toFixed(3), faults.toFixed(0)];
}
