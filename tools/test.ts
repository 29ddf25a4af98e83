/**
 * `deno task test`: every check and every test, with real mounts that nothing outside sees. Its last line
 * is `N passed, N failed`, with `, N skipped` where something could not run; it exits 1 if anything failed.
 *
 * `deno task test NAME…` runs only the tests of these rooms, or the test files whose path holds one of the
 * names. `deno task ok` (`--quick`) makes every check, and runs the tests of the pure rooms.
 *
 * @module
 */
import { filesBelow } from "./files.ts";
import { findNamespace } from "./namespace.ts";
import type { Namespace } from "./namespace.ts";
import { run, say } from "./run.ts";
import type { Answer } from "./run.ts";
import { emptyTally, readIfThere, readTestReport } from "./test_report.ts";
import type { Tally } from "./test_report.ts";
import { endLeftProcesses, leftThings } from "./test_remains.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");
const DENO = Deno.execPath();

/**
 * How long a test file may take, in minutes. It only ends what hangs: the longest takes two at rest, and a
 * machine can be many times slower.
 */
const MINUTES = 20;

/** One thing that is run and counted. */
interface Step {
  readonly name: string;
  readonly act: () => Promise<Outcome>;
}

/** The outcome of a step. */
interface Outcome {
  readonly tally: Tally;
  /** The text to show; empty if there is none. */
  readonly text: string;
  /** The processor time that it and all that it ran took, in seconds, where that is known. */
  readonly processor?: number | undefined;
}

/** Where the tests run, and what they have in common. */
interface Bench {
  readonly directory: string;
  readonly coverage: string;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** The remains of tests. */
  readonly left: string[];
}

function outcome(failed: boolean, text = ""): Outcome {
  return { tally: { ...emptyTally(), passed: failed ? 0 : 1, failed: failed ? 1 : 0 }, text };
}

function textOf({ stdout, stderr, status }: Answer): string {
  return `${stdout}${stderr}` || `It ended with status ${status} and said nothing.\n`;
}

/** Makes a step that runs one program, whose output is shown if it fails. */
function command(bench: Bench, name: string, ...args: string[]): Step {
  const { env, signal } = bench;
  const act = async () => {
    const answer = await run([DENO, ...args], { cwd: ROOT, env, signal });
    return outcome(answer.status !== 0, answer.status === 0 ? "" : textOf(answer));
  };
  return { name, act };
}

/** Small files that take long: each runs the command many times, or a race. */
const SLOW = [
  "load",
  "fuzz",
  "crash",
  "crash_removal",
  "any_path",
  "import_crash",
  "gc_removal",
  "images",
  "import_swap",
];

/** The rooms that make no call of `Deno`. Their tests change nothing of a process, and share one. */
const PURE = ["core", "request", "overlay", "plan", "tar"];

/** The test that holds the order of the rooms. */
const ROOMS_TEST = "tests/tools/rooms_test.ts";

/** Tells whether a name selects a file: the name of a room selects only its files. */
function isMeant(file: string, name: string, rooms: ReadonlySet<string>): boolean {
  return rooms.has(name) ? file.startsWith(`tests/${name}/`) : file.includes(name);
}

/** Those that take longest first, then the largest: the last one to end should not have started last. */
async function testFiles(filters: readonly string[]): Promise<string[]> {
  const files = await filesBelow(ROOT, "tests", "_test.ts");
  const parts = filters.map((filter) => filter.replace(`${ROOT}/`, "").replace(/^\.\//, ""));
  const rooms = new Set(files.map((file) => file.split("/")[1] ?? ""));
  const wanted = files.filter((file) => {
    return parts.length === 0 || parts.some((part) => isMeant(file, part, rooms));
  });
  const sizes = await Promise.all(wanted.map((file) => Deno.stat(`${ROOT}/${file}`)));
  const bySize = wanted.map((file, at) => ({ file, size: sizes[at]?.size ?? 0 }));
  const rank = (file: string) => {
    const at = SLOW.indexOf(file.replace(/^.*\/|_test\.ts$/g, ""));
    return at < 0 ? SLOW.length : at;
  };
  return bySize.sort((a, b) => rank(a.file) - rank(b.file) || b.size - a.size)
    .map(({ file }) => file);
}

/** Notes what is there before and after a program, from inside its mount namespace. */
const WITNESS = `
  findmnt --raw --noheadings --output TARGET > "$0/before"
  "$@"; status=$?
  times > "$0/times"
  findmnt --raw --noheadings --output TARGET > "$0/after"
  ls -A "$TMPDIR" > "$0/files"
  exit $status`;

/** Reads the processor time of child processes in seconds, in the second line of `times` of sh. */
function processorTime(text: string): number | undefined {
  const times = text.split("\n")[1]?.matchAll(/([\d.]+)m([\d.]+)s/g) ?? [];
  const seconds = [...times].map(([, minutes, seconds]) => Number(minutes) * 60 + Number(seconds));
  return seconds.length === 2 ? seconds.reduce((a, b) => a + b) : undefined;
}

/** A step that is one `deno test` in a mount namespace and a temporary directory of its own. */
function tests(bench: Bench, space: Namespace, name: string, ...args: string[]): Step {
  const act = async () => {
    const notes = await Deno.makeTempDir({ dir: bench.directory });
    const scratch = `${notes}/tmp`;
    await Deno.mkdir(scratch);
    // Other users write here too, as they may in /tmp.
    await Promise.all([Deno.chmod(notes, 0o755), Deno.chmod(scratch, 0o1777)]);
    const answer = await run([
      ...["timeout", "--kill-after=10", `${MINUTES}m`, ...space.enter(scratch)],
      ...["sh", "-c", WITNESS, notes, DENO, "test", "--allow-all", `--coverage=${bench.coverage}`],
      ...["--coverage-raw-data-only", `--junit-path=${notes}/report.xml`, ...args],
    ], { cwd: ROOT, env: { ...bench.env, TMPDIR: scratch }, signal: bench.signal });
    bench.left.push(...await leftThings(name, notes));
    const tally = await readTestReport(`${notes}/report.xml`, answer.status);
    const late = answer.status === 124 ? `It did not end within ${MINUTES} minutes.\n` : "";
    const processor = processorTime(await readIfThere(`${notes}/times`));
    return { tally, text: tally.failed > 0 ? `${textOf(answer)}${late}` : "", processor };
  };
  return { name, act };
}

/** A process or a thread that is ended while it writes what it covered leaves a part of it, which nobody can read. */
async function removeCut(directory: string): Promise<void> {
  for await (const { name, isFile } of Deno.readDir(directory)) {
    const path = `${directory}/${name}`;
    if (isFile && !(await Deno.readTextFile(path)).trimEnd().endsWith("}")) await Deno.remove(path);
  }
}

/** Coverage of what is published, by the tests' own processes. Those of the command would take half as long again. */
function coverage(bench: Bench): Step {
  const act = async () => {
    // The thresholds are in deno.json.
    const include = `--include=^file://${ROOT}/(lib/|cli\\.ts$|mod\\.ts$)`;
    const { env, signal } = bench;
    await removeCut(bench.coverage);
    const answer = await run([DENO, "coverage", include, bench.coverage], {
      cwd: ROOT,
      env,
      signal,
    });
    const lines = answer.stdout.split("\n");
    const rows = lines.filter((line) => /^\| (File|All files) /.test(line));
    if (answer.status !== 0 || rows.length !== 2) return outcome(true, textOf(answer));
    return outcome(false, `${rows.join("\n")}\n`);
  };
  return { name: "coverage", act };
}

/** Nothing that a test mounted, made or started is there any more. */
function clean(bench: Bench): Step {
  const act = async () => {
    const left = [...bench.left, ...await endLeftProcesses(bench.directory)];
    return outcome(left.length > 0, left.map((line) => `${line}\n`).join(""));
  };
  return { name: "nothing left behind", act };
}

async function perform(step: Step, total: Tally): Promise<void> {
  const start = performance.now();
  const { tally, text, processor } = await step.act().catch((error: unknown) => {
    return outcome(true, `${error instanceof Error ? error.stack : String(error)}\n`);
  });
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped.push(...tally.skipped);
  const seconds = ((performance.now() - start) / 1000).toFixed(1).padStart(5);
  const skipped = tally.skipped.length > 0 ? `, ${tally.skipped.length} skipped` : "";
  const counts = tally.failed > 0 ? `${tally.failed} failed, ` : "";
  const state = tally.failed > 0 ? "FAILED" : "ok    ";
  const busy = processor === undefined ? "" : `, ${processor.toFixed(1)} s of processor time`;
  say(`${state} ${seconds} s  ${step.name} (${counts}${tally.passed} passed${skipped})${busy}\n`);
  if (text !== "") say(text.endsWith("\n") ? text : `${text}\n`);
}

/**
 * As many at a time as there are processors. Each test file is a process of its own and not a thread, as
 * with `deno test --parallel`: the umask, which tests set, and the working directory belong to the process.
 */
async function performAll(steps: readonly Step[], total: Tally): Promise<void> {
  const queue = [...steps];
  const worker = async () => {
    for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
      await perform(step, total);
    }
  };
  await Promise.all(Array.from({ length: navigator.hardwareConcurrency }, worker));
}

/** The files whose comments or text hold an example. Deno loads each file that it is to search for some. */
async function filesWithExamples(): Promise<string[]> {
  const below = [...await filesBelow(ROOT, "docs", ".md"), ...await filesBelow(ROOT, "lib", ".ts")];
  const files = ["mod.ts", "cli.ts", "README.md", ...below];
  const texts = await Promise.all(files.map((file) => Deno.readTextFile(`${ROOT}/${file}`)));
  return files.filter((_, at) => texts[at]?.includes("```"));
}

/** One process for all tests of the pure rooms, and one for each other file. */
function groupFiles(files: readonly string[]): Map<string, string[]> {
  return Map.groupBy(files, (file) => {
    return PURE.includes(file.split("/")[1] ?? "") ? "the pure rooms" : file;
  });
}

async function testSteps(bench: Bench, filters: readonly string[]): Promise<Step[]> {
  const scratch = `${bench.directory}/probe`;
  await Deno.mkdir(scratch);
  const space = await findNamespace(scratch);
  if ("missing" in space) {
    return [{ name: "tests", act: () => Promise.resolve(outcome(true, space.missing)) }];
  }
  say(`          tests in ${space.name} of their own\n`);
  const files = await testFiles(filters);
  // Their types have been checked before; the examples' have not.
  const steps = [...groupFiles(files)].map(([name, files]) => {
    return tests(bench, space, files.length === 1 ? `${files[0]}` : name, "--no-check", ...files);
  });
  if (filters.length > 0) {
    if (steps.length > 0) return steps;
    const text = `No file in tests/ has a path that holds ${filters.join(" or ")}.\n`;
    return [{ name: "tests", act: () => Promise.resolve(outcome(true, text)) }];
  }
  const documents = await filesWithExamples();
  return [tests(bench, space, "examples in the documentation", "--doc", ...documents), ...steps];
}

/** The checks that take no test. */
function checks(bench: Bench): Step[] {
  const checked = ["mod.ts", "cli.ts", "tests", "tools", "bench", "std"];
  return [
    command(bench, "deno fmt --check", "fmt", "--check"),
    command(bench, "deno lint", "lint"),
    command(bench, "deno check", "check", ...checked),
    command(bench, "deno doc --lint", "doc", "--lint", "mod.ts", "cli.ts", "lib/store/tree.ts"),
  ];
}

/** Checks everything, and runs the tests that cost little. */
async function performQuickly(bench: Bench, total: Tally): Promise<void> {
  for (const step of checks(bench)) await perform(step, total);
  await performAll(await testSteps(bench, [...PURE, ROOMS_TEST]), total);
  await perform(clean(bench), total);
}

async function performEverything(
  bench: Bench,
  filters: readonly string[],
  total: Tally,
): Promise<void> {
  const all = filters.length === 0;
  // The types are checked before; those that are slow to infer are found without.
  const publish = ["publish", "--dry-run", "--allow-dirty", "--no-check"];
  const after = [coverage(bench), command(bench, "deno publish --dry-run", ...publish)];
  for (const step of all ? checks(bench) : []) await perform(step, total);
  await performAll(await testSteps(bench, filters), total);
  for (const step of all ? after : []) await perform(step, total);
  await perform(clean(bench), total);
}

/** Ends the running programs when this one is asked to end; the steps then fail one after the other. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => controller.abort(new Error(`interrupted by ${name}`)));
  }
  return controller.signal;
}

async function makeBench(): Promise<Bench> {
  const directory = await Deno.realPath(
    await Deno.makeTempDir({ prefix: "overlay-render-tests-" }),
  );
  const coverage = `${directory}/coverage`;
  await Deno.mkdir(coverage);
  // Other users' processes are measured too.
  await Promise.all([Deno.chmod(directory, 0o755), Deno.chmod(coverage, 0o1777)]);
  const env = {
    // By this name processes are found that outlive their test.
    OVERLAY_RENDER_TESTS: directory,
    // The tests name what they mean.
    OVERLAY_RENDER_STORE: "",
    OVERLAY_RENDER_PODS: "",
    NO_COLOR: "1",
    FORCE_COLOR: "",
    RUST_BACKTRACE: "0",
    DENO_NO_UPDATE_CHECK: "1",
  };
  return { directory, coverage, env, signal: interruption(), left: [] };
}

async function main(): Promise<number> {
  const total = emptyTally();
  const start = performance.now();
  try {
    const bench = await makeBench();
    try {
      if (Deno.args[0] === "--quick") await performQuickly(bench, total);
      else await performEverything(bench, Deno.args, total);
    } finally {
      await run(["chmod", "-R", "u+rwX", bench.directory]);
      await Deno.remove(bench.directory, { recursive: true });
    }
  } catch (error) {
    total.failed += 1;
    say(`FAILED  ${error instanceof Error ? error.stack : String(error)}\n`);
  }
  for (const name of total.skipped) say(`skipped: ${name}\n`);
  const { passed, failed, skipped } = total;
  say(`\nin ${((performance.now() - start) / 1000).toFixed(0)} s\n`);
  const rest = skipped.length > 0 ? `, ${skipped.length} skipped` : "";
  say(`${passed} passed, ${failed} failed${rest}\n`);
  return failed > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main());
