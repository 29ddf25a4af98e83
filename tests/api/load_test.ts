/**
 * Many apps, and many processes at once, on the real kernel.
 *
 * How many commands the race takes at most can be said in the environment: OVERLAY_RENDER_RACE_COMMANDS; and
 * how long, in seconds: OVERLAY_RENDER_RACE_SECONDS. Its random numbers start at OVERLAY_RENDER_RACE_SEED.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { parseMountOptions } from "../../mod.ts";
import type { OverlayStatus } from "../../mod.ts";
import { cli } from "../_cli.ts";
import type { CliOptions } from "../_cli.ts";
import type { Race, RaceResult, Wrong } from "../_racer.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS, namesIn } from "../_tree.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

function numbered(what: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${what}-${at}`);
}

/** A directory for pods, a tree, and a spec for each pod. */
interface Site {
  readonly pods: string;
  readonly specs: string;
  readonly tree: string;
  /** What the tree is like before anything is rendered from it. */
  readonly before: string;
}

async function setUp(
  dir: TempDir,
  names: readonly string[],
  apps: readonly string[],
): Promise<Site> {
  const tree = await makeTree(dir.join("image"));
  const [pods, specs] = [dir.join("pods"), dir.join("specs")];
  await Promise.all([Deno.mkdir(pods), Deno.mkdir(specs)]);
  for (const name of names) {
    const all = apps.map((app) => ({ app, lower: [tree], options: MARKS }));
    const spec = JSON.stringify({ pod: `${pods}/${name}`, apps: all });
    await Deno.writeTextFile(`${specs}/${name}.json`, spec);
  }
  return { pods, specs, tree, before: await snapshot(tree) };
}

/** Runs a command that must succeed, and returns what it prints with `--json`. */
async function answer<T>(args: readonly string[], options?: CliOptions): Promise<T> {
  const { status, stdout, stderr } = await cli([...args, "--json"], options);
  assertEquals([status, stderr], [0, ""], stdout);
  return JSON.parse(stdout) as T;
}

interface Statuses {
  readonly renders: readonly OverlayStatus[];
}

/** All are mounted, and `overlay.fstab` and the kernel agree. */
function assertAllMounted({ renders }: Statuses, count: number): void {
  assertEquals(renders.length, count);
  assertEquals(renders.filter(({ mounted, drift }) => !mounted || drift !== undefined), []);
}

/** A file that is written in a rootfs is in the upper of that app, and nothing else is. */
async function assertSeparate(renders: readonly OverlayStatus[]): Promise<void> {
  const nameOf = ({ pod, app }: OverlayStatus) => `${pod.replaceAll("/", "-")}-${app}`;
  await Promise.all(renders.map((render) => {
    return Deno.writeTextFile(`${render.rootfs}/${nameOf(render)}`, "");
  }));
  const uppers = await Promise.all(renders.map(({ upper }) => namesIn(`${upper}`)));
  assertEquals(uppers, renders.map((render) => [nameOf(render)]));
}

Deno.test("overlay-render takes 1,000 apps in 10 pods from render to gc", async (test) => {
  const [names, apps] = [numbered("pod", 10), numbered("app", 100)];
  await using dir = await tempDir();
  const { pods, specs, tree, before } = await setUp(dir, names, apps);
  await test.step("render", async () => {
    for (const name of names) await answer(["render", "--spec", `${specs}/${name}.json`]);
    assertEquals((await mountsBelow(pods)).length, 1000);
  });
  const all = await answer<Statuses>(["status", "--pods", pods]);
  await test.step("status", async () => {
    assertAllMounted(await answer<Statuses>(["status", "--pods", pods]), 1000);
  });
  await test.step("write", () => assertSeparate(all.renders));
  await test.step("unmount", async () => {
    for (const name of names) {
      const { unmounted } = await answer<{ unmounted: readonly unknown[] }>(
        ["unmount", "--pod", `${pods}/${name}`],
      );
      assertEquals(unmounted.length, 100);
    }
    assertEquals(await mountsBelow(pods), []);
  });
  await test.step("gc", async () => {
    const collected = await answer<Record<"marked" | "removed" | "kept", readonly unknown[]>>(
      ["gc", "--pods", pods, "--older-than", "0", "--grace-period", "0"],
    );
    const { marked, removed, kept } = collected;
    assertEquals([marked.length, removed.length, kept], [10, 10, []]);
    assertEquals(await namesIn(pods), []);
  });
  assertEquals(await snapshot(tree), before);
});

const MEGABYTE = 1_000_000;
const MEMORY_LIMIT = 150 * MEGABYTE;

/** Runs a command that must succeed, and in so much memory. */
async function answerInMemory<T>(dir: TempDir, args: readonly string[]): Promise<T> {
  const note = dir.join("peak");
  const deno = [Deno.execPath(), "run", "-A", "--quiet", "--no-check"];
  const wrapper = [...deno, `${ROOT}tests/_peak.ts`, note];
  const found = await answer<T>(args, { wrapper });
  const peak = Number(await Deno.readTextFile(note));
  const figure = `${args[0]} of 1,000 apps had ${(peak / MEGABYTE).toFixed(1)} MB of memory`;
  // Less than any Deno process has would be a mistake of the measurement.
  assert(peak > 10 * MEGABYTE && peak < MEMORY_LIMIT, figure);
  return found;
}

Deno.test("overlay-render needs less than 150 MB for 1,000 apps of a pod", async (test) => {
  await using dir = await tempDir();
  const { pods, specs, tree, before } = await setUp(dir, ["pod"], numbered("app", 1000));
  const pod = `${pods}/pod`;
  await test.step("render", async () => {
    await answerInMemory(dir, ["render", "--spec", `${specs}/pod.json`]);
  });
  await test.step("status", async () => {
    assertAllMounted(await answerInMemory<Statuses>(dir, ["status", "--pod", pod]), 1000);
  });
  await test.step("unmount", async () => {
    await answerInMemory(dir, ["unmount", "--pod", pod]);
    assertEquals(await mountsBelow(pods), []);
  });
  await test.step("gc", async () => {
    await answerInMemory(dir, ["gc", "--pod", pod]);
    assertEquals(await namesIn(pods), []);
  });
  assertEquals(await snapshot(tree), before);
});

/** A number from the environment. */
function setting(name: string, otherwise: number): number {
  const value = Number(Deno.env.get(name) ?? otherwise);
  assert(Number.isSafeInteger(value) && value >= 0, `${name} must be a whole number`);
  return value;
}

/** An overlay in the mount table. */
interface Overlay {
  readonly id: number;
  readonly target: string;
  readonly upper: string | null;
}

/** The overlays that are mounted in a directory or write into it. */
async function overlaysOf(directory: string): Promise<Overlay[]> {
  const columns = ["--json", "--list", "--output", "ID,TARGET,FSTYPE,FS-OPTIONS"];
  const { filesystems } = JSON.parse(await sh("findmnt", ...columns)) as {
    filesystems: { id: number; target: string; fstype: string; "fs-options": string }[];
  };
  return filesystems.filter(({ fstype }) => fstype === "overlay").map((row) => {
    const { upper } = parseMountOptions(row["fs-options"]);
    return { id: row.id, target: row.target, upper };
  }).filter(({ target, upper }) => `${target} ${upper}`.includes(`${directory}/`));
}

/** The uppers that the lines of a pod name, by rootfs. None of the names here has anything to escape. */
async function linesOf(pod: string): Promise<Map<string, string | null>> {
  const text = await Deno.readTextFile(`${pod}/overlay.fstab`).catch((error: unknown) => {
    // Pods come and go.
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  });
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const [, target = "", , options = ""] = line.split(" ");
    return [target, parseMountOptions(options).upper];
  }));
}

function twice<K>(overlays: readonly Overlay[], keyOf: (overlay: Overlay) => K): Overlay[][] {
  return [...Map.groupBy(overlays, keyOf).values()].filter((same) => same.length > 1);
}

/**
 * What is wrong with the mounts in a directory of pods, one sentence each: two on one rootfs, two that
 * write into one upper, one that no line names. A mount is looked at only if it is there before and after
 * the lines are read, since what is mounted and what is recorded cannot be read at once.
 */
async function wrongMounts(pods: string, names: readonly string[]): Promise<string[]> {
  const earlier = new Set((await overlaysOf(pods)).map((overlay) => JSON.stringify(overlay)));
  const lines = new Map<string, string | null>();
  for (const name of names) {
    for (const [target, upper] of await linesOf(`${pods}/${name}`)) {
      if (target.startsWith(`${pods}/${name}/`)) lines.set(target, upper);
    }
  }
  const overlays = (await overlaysOf(pods)).filter((overlay) => {
    return earlier.has(JSON.stringify(overlay));
  });
  const unnamed = overlays.filter(({ target, upper }) => lines.get(target) !== upper);
  return [
    ...twice(overlays, ({ target }) => target).map((same) => `stacked: ${JSON.stringify(same)}`),
    ...twice(overlays, ({ upper }) => upper).map((same) => `shared: ${JSON.stringify(same)}`),
    ...unnamed.map((overlay) => `in no line: ${JSON.stringify(overlay)}`),
  ];
}

/** How often in a row the very same must be wrong: the kernel shows its table piece by piece. */
const STRIKES = 4;

/** Looks at the mounts again and again, and returns what was wrong with them. */
async function watch(
  pods: string,
  names: readonly string[],
  isOver: () => boolean,
): Promise<{ readonly looks: number; readonly wrong: readonly string[] }> {
  const wrong = new Set<string>();
  let strikes = new Map<string, number>();
  let looks = 0;
  for (; !isOver(); looks++) {
    const found = await wrongMounts(pods, names);
    strikes = new Map(found.map((what) => [what, (strikes.get(what) ?? 0) + 1]));
    for (const [what, count] of strikes) if (count >= STRIKES) wrong.add(what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { looks, wrong: [...wrong] };
}

async function runRacer(race: Race, signal: AbortSignal): Promise<RaceResult> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--no-check", "-q", `--config=${ROOT}deno.json`],
      `${ROOT}tests/_racer.ts`,
      JSON.stringify(race),
    ],
    stdin: "null",
    signal,
  }).output();
  const [said, complaints] = [stdout, stderr].map((data) => new TextDecoder().decode(data));
  if (success) return JSON.parse(`${said}`) as RaceResult;
  const example = `racer ${race.seed}: ${complaints}${said}`;
  return { counts: {}, wrong: [{ what: "racer that did not end in order", example }] };
}

/** How long a racer may take for its last command, in milliseconds: much longer than it waits for locks. */
const PATIENCE_MS = 300_000;

const RACERS = 20;

/** What came of a race. */
interface Outcome {
  readonly results: readonly RaceResult[];
  readonly looks: number;
  /** What was wrong with the mounts meanwhile. */
  readonly wrong: readonly string[];
}

/** Runs all racers to their end and watches them; none outlives this. */
async function runRacers(races: readonly Race[], site: Site): Promise<Outcome> {
  const controller = new AbortController();
  const last = Math.max(...races.map(({ until }) => until));
  const timer = setTimeout(() => controller.abort(), last + PATIENCE_MS - Date.now());
  let isOver = false;
  const running = Promise.all(races.map((race) => runRacer(race, controller.signal)))
    .finally(() => isOver = true);
  const ended = Promise.allSettled([running]);
  try {
    const watched = await watch(site.pods, races[0]?.names ?? [], () => isOver);
    return { results: await running, ...watched };
  } finally {
    clearTimeout(timer);
    controller.abort();
    await ended;
  }
}

function total(results: readonly RaceResult[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [what, count] of results.flatMap(({ counts }) => Object.entries(counts))) {
    counts[what] = (counts[what] ?? 0) + count;
  }
  return counts;
}

/** What went wrong, each kind once, with how often it did and an example. */
function summary(wrong: readonly Wrong[]): string[] {
  return [...Map.groupBy(wrong, ({ what }) => what).values()].map((same) => {
    return `${same.length} times, such as: ${same[0]?.example}`;
  }).sort();
}

/** The processes whose command line names something in a directory. */
async function processesIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const commandLine = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (commandLine.includes(`${directory}/`)) found.push(commandLine.replaceAll("\0", " "));
  }
  return found;
}

/** Collects each pod by its name, which must leave nothing; one that is collected already is missing. */
async function assertCollected(pods: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const { status, stdout, stderr } = await cli(["gc", "--pod", `${pods}/${name}`, "--json"]);
    const { error, kept } = JSON.parse(stdout);
    assertEquals([stderr, error?.code ?? "missing", kept ?? []], ["", "missing", []], stdout);
    assertEquals(status, error === undefined ? 0 : 1);
  }
  assertEquals(await mountsBelow(pods), []);
  assertEquals(await namesIn(pods), []);
}

Deno.test("overlay-render keeps pods in order that 20 processes render and collect", async () => {
  const seconds = setting("OVERLAY_RENDER_RACE_SECONDS", 60);
  const seed = setting("OVERLAY_RENDER_RACE_SEED", 1);
  const commands = setting("OVERLAY_RENDER_RACE_COMMANDS", 1200);
  const [names, apps] = [numbered("pod", 3), numbered("app", 3)];
  await using dir = await tempDir();
  const site = await setUp(dir, names, apps);
  const { pods, specs, tree, before } = site;
  const flags = ["--lower", tree, ...MARKS.map((mark) => `--option=${mark}`)];
  const until = Date.now() + seconds * 1000;
  const races = Array.from({ length: RACERS }, (_, at): Race => {
    const most = Math.ceil(commands / RACERS);
    return { pods, names, apps, specs, flags, until, most, seed: seed * 1000 + at };
  });
  const { results, looks, wrong: seen } = await runRacers(races, site);
  const counts = JSON.stringify({ looks, ...total(results) }, null, 2);
  const said = `seed ${seed}: ${counts}`;
  const wrong = [
    ...summary(results.flatMap(({ wrong }) => wrong)),
    ...new Set([...seen, ...await wrongMounts(pods, names)]),
  ];
  assertEquals(wrong, [], said);
  assertEquals(await processesIn(dir.path), []);
  await assertCollected(pods, names);
  assertEquals(await snapshot(tree), before);
});
