/**
 * One of the processes that render and collect the same pods at the same time. It does what a random
 * number says until its time is over, or it has done enough, and then prints what went wrong, as JSON.
 *
 * Most of the commands run in this process, so that a lock is fought for every few milliseconds and not
 * once in a start of the command; some run as processes of their own.
 *
 * @module
 */
import { cli } from "./_cli.ts";
import type { CliResult } from "./_cli.ts";
import { runMain } from "./_main.ts";
import { random } from "./_random.ts";
import type { Random } from "./_random.ts";

/** What a racer is told, as JSON in its first argument. */
export interface Race {
  /** The directory of the pods. */
  readonly pods: string;
  /** The pods that are raced for. */
  readonly names: readonly string[];
  /** The apps of each. */
  readonly apps: readonly string[];
  /** The directory with the spec of each pod, `<name>.json`. */
  readonly specs: string;
  /** What a single app is rendered with, as flags: the same as in the spec. */
  readonly flags: readonly string[];
  /** When to end, in milliseconds since 1970. */
  readonly until: number;
  /** How many commands to run at most. */
  readonly most: number;
  /** Where the random numbers start. */
  readonly seed: number;
}

/** What a racer answers. */
export interface RaceResult {
  /** How many times each command was run, and how many times each answer came. */
  readonly counts: Readonly<Record<string, number>>;
  /** The answers that no other process is the reason of. */
  readonly wrong: readonly Wrong[];
}

/** An answer that no other process is the reason of. */
export interface Wrong {
  /** What it has in common with others: the command and the message, without what tells pods apart. */
  readonly what: string;
  /** The command, when it ended, and what it said. */
  readonly example: string;
}

/** One time in so many a command is a process of its own. */
const CLI_EVERY = 20;

/** One time in so many a command does not wait for a lock, and makes way for the others. */
const HASTY_EVERY = 3;

const KINDS = [
  "render spec",
  "render app",
  "unmount pod",
  "unmount app",
  "gc pod",
  "gc pods",
  "status pods",
  "restore pods",
] as const;

type Kind = (typeof KINDS)[number];

/** What another process may be the reason of: it holds the lock, or has just collected what was asked for. */
const HONEST: Readonly<Record<Kind, readonly string[]>> = {
  "render spec": ["locked"],
  "render app": ["locked"],
  "unmount pod": ["locked", "missing"],
  "unmount app": ["locked", "missing"],
  "gc pod": ["locked", "missing"],
  "gc pods": ["locked", "in-use"],
  "status pods": [],
  "restore pods": ["locked"],
};

function argsOf(kind: Kind, race: Race, source: Random): string[] {
  const name = source.pick(race.names);
  const app = source.pick(race.apps);
  const pod = `${race.pods}/${name}`;
  switch (kind) {
    case "render spec":
      return ["render", "--spec", `${race.specs}/${name}.json`];
    case "render app":
      return ["render", "--pod", pod, "--app", app, ...race.flags];
    case "unmount pod":
      return ["unmount", "--pod", pod];
    case "unmount app":
      return ["unmount", "--pod", pod, "--app", app];
    case "gc pod":
      return ["gc", "--pod", pod];
    case "gc pods":
      return ["gc", "--pods", race.pods, "--older-than", "0", "--grace-period", "0"];
    case "status pods":
      return ["status", "--pods", race.pods];
    case "restore pods":
      return ["restore", "--pods", race.pods];
  }
}

interface Trouble {
  readonly code: string;
  readonly message?: string;
  readonly reason?: string;
}

/** What the answer of a command complains of: its error, or what it left alone. */
function troubles(stdout: string): readonly Trouble[] {
  const { error, kept = [], failed = [] } = JSON.parse(stdout) as {
    error?: Trouble;
    kept?: readonly Trouble[];
    failed?: readonly Trouble[];
  };
  return [...(error === undefined ? [] : [error]), ...kept, ...failed];
}

/** The troubles of an answer; one that says nothing is one too. */
function troublesOf({ status, stdout, stderr }: CliResult): readonly Trouble[] {
  const silent = { code: `status ${status}`, message: stderr };
  try {
    const found = troubles(stdout);
    return found.length === 0 && status !== 0 ? [silent] : found;
  } catch {
    return [silent];
  }
}

function waitFlags(kind: Kind, source: Random): string[] {
  const waits = kind !== "status pods";
  return source.int(HASTY_EVERY) === 0 && waits ? ["--wait", "0"] : [];
}

async function runRace(race: Race): Promise<RaceResult> {
  const source = random(race.seed);
  const counts: Record<string, number> = {};
  const wrong: Wrong[] = [];
  const count = (what: string) => counts[what] = (counts[what] ?? 0) + 1;
  for (let run = 0; run < race.most && Date.now() < race.until; run++) {
    const kind = source.pick(KINDS);
    const args = [...argsOf(kind, race, source), "--json", ...waitFlags(kind, source)];
    const act = source.int(CLI_EVERY) === 0 ? cli : runMain;
    count(kind);
    for (const { code, message, reason } of troublesOf(await act(args))) {
      count(`${kind}: ${code}`);
      if (HONEST[kind].includes(code)) continue;
      const said = `${code}: ${message ?? reason}`;
      wrong.push({
        what: `${kind}: ${said.replaceAll(race.pods, "").replaceAll(/-\d+/g, "")}`,
        example: `${new Date().toISOString()} ${args.join(" ")}: ${said}`,
      });
    }
  }
  return { counts, wrong };
}

if (import.meta.main) {
  const result = await runRace(JSON.parse(Deno.args[0] ?? "") as Race);
  await Deno.stdout.write(new TextEncoder().encode(JSON.stringify(result)));
}
