/**
 * `deno task bench`: what a whole process of the command costs, against a bare start of Deno plus one
 * mount(8) process, which is what a render cannot do without. Medians of interleaved runs, so that a
 * machine that grows slow grows slow for all rows.
 *
 * @module
 */
import { planRender } from "../lib/plan/plan.ts";
import { permissionFlags } from "../lib/system/permissions.ts";
import { requiredPermissions } from "../lib/plan/required_permissions.ts";
import { bundle } from "../tools/bundle.ts";
import { findNamespace } from "../tools/namespace.ts";
import { run, say } from "../tools/run.ts";
import { freshGround } from "./_ground.ts";
import { addFigure, beginFigures } from "./_figures.ts";
import { COST_HEAD, costCells, measureProcess, middleOf } from "./_process.ts";
import type { Cost } from "./_process.ts";

const RUNS = 31;
const WARM_UP = 3;
const ROOT = `${import.meta.dirname}/..`;

/** One thing that is measured: what is done before it, what is timed, and what is done after it. */
interface Row {
  readonly name: string;
  /** The row that does the same without what this one is about. */
  readonly without?: string;
  before?(pod: string): Promise<void>;
  command(pod: string): readonly string[];
  after?(pod: string): Promise<void>;
  readonly costs: Cost[];
}

async function must(argv: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await run(argv);
  if (status !== 0) throw new Error(`${argv.join(" ")}: exit status ${status}: ${stderr}`);
  return stdout;
}

async function costOf(row: Row, pod: string): Promise<Cost> {
  await row.before?.(pod);
  const cost = measureProcess(row.command(pod));
  await row.after?.(pod);
  return cost;
}

const rootfsOf = (pod: string): string => `${pod}/apps/web/rootfs`;
const unmount = (target: string): Promise<string> => must(["umount", "-n", target]);

/** What is rendered. */
interface Rendered {
  readonly script: string;
  readonly lowers: readonly string[];
  readonly pod: string;
  /** What may be read beside what the plan asks for. */
  readonly read?: string;
}

/** The flags that the plan asks for, and no others but those to read more. */
function flagsFor({ lowers, pod, read }: Rendered): readonly string[] {
  const needed = requiredPermissions(planRender({ lower: lowers, tree: "t", pod, app: "web" }));
  const more = read === undefined ? [] : [read];
  return ["--no-prompt", ...permissionFlags({ ...needed, read: [...needed.read, ...more] })];
}

function commandOf(rendered: Rendered, options: string): string[] {
  const { script, lowers, pod } = rendered;
  const given = lowers.flatMap((path) => ["--lower", path]);
  const option = options === "" ? [] : ["--option", options.slice(1)];
  const request = [...given, "--tree", "t", "--pod", pod, "--app", "web", ...option];
  return [Deno.execPath(), "run", ...flagsFor(rendered), script, "render", ...request];
}

const unmountApp = async (pod: string): Promise<void> => void await unmount(rootfsOf(pod));

/**
 * What the look before a render costs. Several lowers are looked at, with the second lower itself in the
 * time; and on a tmpfs, which could be an overlay by what is seen of it, its type is asked for, where the
 * directory above the pod may be read.
 */
function looks([name, script]: [string, string], scratch: string, options: string): Row[] {
  const lower = `${scratch}/image`;
  const [two, read] = [[lower, `${scratch}/other`], `${scratch}/tmpfs`];
  const onTmpfs = (pod: string) => pod.replace(scratch, read);
  const of = (rendered: Partial<Rendered>) => (pod: string) => {
    return commandOf({ script, lowers: [lower], pod, ...rendered }, options);
  };
  const above = (command: (pod: string) => string[]): Pick<Row, "command" | "after"> => ({
    command: (pod) => command(onTmpfs(pod)),
    after: (pod) => unmountApp(onTmpfs(pod)),
  });
  return [
    {
      name: `${name} render, two lowers`,
      without: `${name} render, a new pod`,
      command: of({ lowers: two }),
      after: unmountApp,
      costs: [],
    },
    { name: `${name} render, on a tmpfs`, ...above(of({})), costs: [] },
    {
      name: `${name} render, on a tmpfs that is looked at`,
      without: `${name} render, on a tmpfs`,
      ...above(of({ read })),
      costs: [],
    },
    {
      name: `${name} render, two lowers, on a tmpfs that is looked at`,
      without: `${name} render, on a tmpfs`,
      ...above(of({ read, lowers: two })),
      costs: [],
    },
  ];
}

function rows(scratch: string, options: string): Row[] {
  const deno = [Deno.execPath(), "run"];
  const lower = `${scratch}/image`;
  const base: Row[] = [
    {
      name: "deno run of an empty script",
      command: () => [...deno, `${scratch}/empty.ts`],
      costs: [],
    },
    {
      name: "one mount process",
      before: async (pod) => void await must(["mkdir", "-p", `${pod}/u`, `${pod}/w`, `${pod}/m`]),
      command: (pod) => {
        const data = `lowerdir=${lower},upperdir=${pod}/u,workdir=${pod}/w${options}`;
        return ["/bin/mount", "-t", "overlay", "overlay", "-o", data, `${pod}/m`];
      },
      after: async (pod) => void await unmount(`${pod}/m`),
      costs: [],
    },
  ];
  const render = (script: string, pod: string) => {
    return commandOf({ script, lowers: [lower], pod }, options);
  };
  const scripts = {
    "overlay-render.js": `${scratch}/overlay-render.js`,
    "cli.ts": `${ROOT}/cli.ts`,
  };
  const renders = Object.entries(scripts).flatMap(([name, script]): Row[] => [
    {
      name: `${name} render, a new pod`,
      command: (pod) => render(script, pod),
      after: unmountApp,
      costs: [],
    },
    {
      name: `${name} render, nothing to do`,
      before: async (pod) => void await must(render(script, pod)),
      command: (pod) => render(script, pod),
      after: unmountApp,
      costs: [],
    },
    ...looks([name, script], scratch, options),
  ]);
  return [...base, ...renders];
}

async function measure(scratch: string, options: string): Promise<void> {
  await Deno.mkdir(`${scratch}/image`);
  await Deno.mkdir(`${scratch}/other`);
  await Deno.mkdir(`${scratch}/tmpfs`);
  await must(["mount", "-n", "-t", "tmpfs", "tmpfs", `${scratch}/tmpfs`]);
  await Deno.writeTextFile(`${scratch}/image/file`, "from the tree\n");
  await Deno.writeTextFile(`${scratch}/empty.ts`, "");
  await bundle(`${scratch}/overlay-render.js`);
  const all = rows(scratch, options);
  // What was written and removed before this is on its way to the disk, and the journal is shared.
  await must(["sync"]);
  for (let round = -WARM_UP; round < RUNS; round++) {
    for (const [at, row] of all.entries()) {
      const cost = await costOf(row, `${scratch}/pod-${round}-${at}`);
      if (round >= 0) row.costs.push(cost);
    }
  }
  report(all);
}

function report(all: readonly Row[]): void {
  const timeOf = (row: Row | undefined) => middleOf(row?.costs ?? []).ms;
  const base = timeOf(all[0]) + timeOf(all[1]);
  addFigure("One render", all.map((row) => ({ what: row.name, ms: timeOf(row) })));
  const line = (cells: readonly string[], what: string) => {
    say(`${cells.map((cell) => cell.padStart(7)).join(" ")}  ${what}\n`);
  };
  say(`Medians of ${RUNS} interleaved runs of whole processes, Deno ${Deno.version.deno}.\n`);
  say(`Ratio to a bare start plus one mount process, ${base.toFixed(1)} ms.\n\n`);
  line([...COST_HEAD, "ratio", "more"], "what");
  for (const row of all) {
    const other = all.find(({ name }) => name === row.without);
    const more = other === undefined ? "" : (timeOf(row) - timeOf(other)).toFixed(1);
    line([...costCells(row.costs), (timeOf(row) / base).toFixed(2), more], row.name);
  }
  say("\nmore: milliseconds more than the same render without that look.\n");
  say("cpu s, faults: processor time and page faults, with those of the programs that it runs.\n");
}

/** Starts again where mounts are private, so that nothing is left even if this is killed. */
async function main(): Promise<number> {
  const [inner, scratch, options] = Deno.args;
  if (inner === "--inner" && scratch !== undefined && options !== undefined) {
    await measure(scratch, options);
    return 0;
  }
  beginFigures(Deno.args);
  const directory = await Deno.makeTempDir({ prefix: "overlay-render-bench-" });
  try {
    const namespace = await findNamespace(directory);
    if ("missing" in namespace) {
      say(namespace.missing);
      return 1;
    }
    const ground = await freshGround(directory);
    const options = namespace.options.map((option) => `,${option}`).join("");
    const self = [Deno.execPath(), "run", "-A", "-q", `${ROOT}/bench/render_bench.ts`];
    const argv = [...namespace.enter(directory), ...self, "--inner", ground, options];
    const { status, stdout, stderr } = await run(argv);
    say(stdout + stderr);
    return status;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) Deno.exitCode = await main();
