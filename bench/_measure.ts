/**
 * Whole processes, measured in turn: rounds of rows, so that a machine that grows slow grows slow for
 * all of them.
 *
 * @module
 */
import { run } from "../tools/run.ts";
import { measureProcess, median } from "./_process.ts";
import type { Cost } from "./_process.ts";

/** The most rounds that a row takes part in. */
export const ROUNDS = 30;
const WARM_UP = 2;

/** The rounds that a row takes part in however long its table takes. */
const LEAST_ROUNDS = 1;

/** A row that takes part in no more rounds than this takes long, and is not warmed up. */
const FEW_ROUNDS = 5;

/** Where it is measured. Nothing outside the scratch directory is written to. */
export interface Place {
  /** The scratch directory. */
  readonly scratch: string;
  /** What is rendered into. Each row has another directory there. */
  readonly cell: string;
  /** The tree that is rendered. */
  readonly tree: string;
  /** The whole environment of what is measured. */
  readonly env: Readonly<Record<string, string>>;
}

/** One process that is measured, and what is done around it. */
export interface Row {
  /** Whose process it is; the rows of one number of apps are compared with that of overlay-render. */
  readonly by: string;
  /** What it is, in words. */
  readonly what: string;
  /** How many apps it renders or unmounts. */
  readonly apps: number;
  /** How many overlays there are afterwards that were not there before: none measured does nothing. */
  readonly mounts: number;
  /** What is to be gone afterwards. */
  readonly removes?: string;
  /** How many of the rounds it takes part in. */
  readonly rounds: number;
  /** The name of its cell if that is used in each round again. @default {a new one each round} */
  readonly cell?: string;
  /** What is done before it, and is not timed. */
  prepare?(): Promise<void>;
  readonly command: readonly string[];
  /** How much memory is to be at hand, in bytes. @default {what there is} */
  readonly memory?: number;
  /** Where it runs. @default {where this process runs} */
  readonly cwd?: string;
  /** What is done after it, even if it failed. What is mounted in the cell goes by itself. */
  cleanUp?(): Promise<void>;
}

/** A row, and what came of it. */
export interface Measured {
  readonly row: Row;
  readonly costs: Cost[];
  /** Why it is measured no longer; empty as long as it did not fail. */
  failure: string;
}

/** Why something failed, in one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().replaceAll(/\s*\n\s*/g, "; ");
}

/** Runs a program that has to succeed, and returns its stdout. */
export async function must(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { status, stdout, stderr } = await run(argv, { env });
  if (status === 0) return stdout;
  throw new Error(`exit status ${status} of ${argv[0]}: ${stderr.trim()}`);
}

async function countOverlays(): Promise<number> {
  const table = await Deno.readTextFile("/proc/self/mountinfo");
  return table.match(/ - overlay /g)?.length ?? 0;
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

let cells = 0;

/**
 * Does something with a cell. The cell is a mount of its own, so that all that is mounted in it can be
 * taken away in one go. What was made in it is not removed before the end: ext4 goes around inodes that
 * were deleted in the last minutes one by one, and who makes directories after that waits for it.
 *
 * @param name Its name, if it is to be used again; otherwise the cell is new and empty.
 */
export async function withCell<T>(
  { scratch, cell }: Place,
  act: () => Promise<T>,
  name = `${cells++}`,
): Promise<T> {
  const directory = `${scratch}/cells/${name}`;
  await Deno.mkdir(directory, { recursive: true });
  await must(["mount", "--bind", directory, cell]);
  try {
    return await act();
  } finally {
    // What was measured may have done it.
    await run(["umount", "--lazy", cell]);
  }
}

/**
 * The disk has one journal, and who syncs a file waits for what all others have changed: what was
 * done for other rows is to be on the disk before this one begins.
 */
async function settle({ scratch }: Place): Promise<void> {
  await must(["sync", "--file-system", scratch]);
}

/**
 * Takes memory, and gives it back. The host of a virtual machine makes it when it is first touched, and
 * takes it away when it was free for some seconds: what then writes a file is ten times as slow as what
 * finds memory that was used a moment ago, and who began last would have the advantage.
 */
async function touchMemory(bytes: number): Promise<void> {
  const script = 'head --bytes="$0" /dev/zero | tail --bytes="$0" > /dev/null';
  await must(["sh", "-c", script, `${bytes}`]);
}

async function costOf(row: Row, place: Place): Promise<Cost> {
  await row.prepare?.();
  await settle(place);
  if (row.memory !== undefined) await touchMemory(row.memory);
  const before = await countOverlays();
  const cost = measureProcess(row.command, { cwd: row.cwd, env: place.env });
  const mounts = await countOverlays() - before;
  if (mounts !== row.mounts) throw new Error(`it mounted ${mounts} and not ${row.mounts}`);
  if (row.removes !== undefined && await isThere(row.removes)) {
    throw new Error(`${row.removes} is still there`);
  }
  return cost;
}

async function costInCell(row: Row, place: Place): Promise<Cost> {
  const act = async () => {
    try {
      return await costOf(row, place);
    } finally {
      await row.cleanUp?.();
    }
  };
  return await withCell(place, act, row.cell);
}

/** Spreads the rounds of a row over all rounds. The longer it takes, the fewer rounds warm it up. */
function takesPart({ rounds }: Row, round: number): boolean {
  if (round < 0) return rounds > FEW_ROUNDS && (round === -1 || rounds === ROUNDS);
  return (round * rounds) % ROUNDS < rounds;
}

/**
 * Measures rows in turn. One that fails is measured no longer; the others are.
 *
 * @param seconds How long it may take: after that, rows take part that were measured too few times.
 */
export async function measure(
  rows: readonly Row[],
  place: Place,
  seconds: number,
): Promise<Measured[]> {
  const all = rows.map((row): Measured => ({ row, costs: [], failure: "" }));
  const end = performance.now() + seconds * 1000;
  const isWanted = ({ costs, failure }: Measured) => {
    return failure === "" && (performance.now() < end || costs.length < LEAST_ROUNDS);
  };
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    for (const one of all.filter(({ row }) => takesPart(row, round))) {
      if (!isWanted(one)) continue;
      try {
        const cost = await costInCell(one.row, place);
        if (round >= 0) one.costs.push(cost);
      } catch (error) {
        one.failure = reasonOf(error);
      }
    }
  }
  return all;
}

/** The median time of a row that did not fail, or NaN. */
export function medianOf(all: readonly Measured[], by: string, apps: number): number {
  const found = all.find(({ row }) => row.by === by && row.apps === apps);
  if (found === undefined || found.failure !== "") return NaN;
  return median(found.costs.map(({ ms }) => ms));
}
