/**
 * `deno task bench:peers`: what a render costs, against what people use instead: a shell script,
 * buildah, podman, containerd. Whole processes; medians of interleaved rounds; only ratios of one run
 * mean anything.
 *
 * It runs in a private mount namespace and a process namespace of its own, with the stores of all peers
 * in one temporary directory: nothing that it mounts, starts or makes is left when it ends. TMPDIR
 * chooses the disk. On ext4, leave it alone for some minutes before: where many files were removed, new
 * ones are slower to make, which is most of what some rows do.
 *
 * @module
 */
import { bundle } from "../tools/bundle.ts";
import { findNamespace } from "../tools/namespace.ts";
import { run, say } from "../tools/run.ts";
import { measure, withCell } from "./_measure.ts";
import type { Measured, Place, Row } from "./_measure.ts";
import { peakMemory } from "./_memory.ts";
import { findPrograms } from "./_packages.ts";
import { startPeers } from "./_peers.ts";
import { fence, placeIn, refusal } from "./_place.ts";
import { renderPod, writeSpecs } from "./_pod.ts";
import { manyApps, oneRoot } from "./_rendering.ts";
import { sayTable } from "./_table.ts";
import { sayTargets } from "./_targets.ts";
import { makeTree } from "./_tree.ts";
import { removing, unmounting } from "./_unmounting.ts";

const ROOT = `${import.meta.dirname}/..`;

/** Makes all that the rows need, and only then builds the fence. */
async function prepare(place: Place): Promise<void> {
  const { HOME = "", TMPDIR = "" } = place.env;
  for (const directory of [place.cell, HOME, TMPDIR]) await Deno.mkdir(directory);
  say(`tree: ${await makeTree(place.tree)}\n`);
  await bundle(`${place.scratch}/overlay-render.js`);
  await writeSpecs(place);
  await fence(place);
}

/** The rows of these are left out when they are missing. The others need nothing but util-linux. */
const PEERS = ["buildah", "podman", "ctr", "busybox"];

async function table(
  title: string,
  rows: readonly Row[],
  ready: ReadonlySet<string>,
  place: Place,
): Promise<Measured[]> {
  const wanted = rows.filter(({ by }) => !PEERS.includes(by) || ready.has(by));
  const all = await measure(wanted, place);
  sayTable(title, all);
  return all;
}

/** Of the render of one app too: most of it is Deno. */
async function sayMemory(place: Place): Promise<void> {
  say("\nPeak resident memory of overlay-render render --spec, in MB\n\n");
  for (const apps of [1, 1000]) {
    const argv = renderPod(place, apps);
    const peak = await withCell(place, () => peakMemory(argv, place)).catch(() => NaN);
    const shown = Number.isNaN(peak) ? "FAILED" : peak.toFixed(1);
    say(`${shown.padStart(9)}  ${apps === 1 ? "1 app" : `${apps} apps`}\n`);
  }
}

/** Everything in turn, each table as soon as it is measured. */
async function measureAll(scratch: string): Promise<void> {
  say(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} processors\n`);
  const programs = await findPrograms();
  const place = placeIn(scratch);
  await prepare(place);
  const measureOne = async () => {
    await using peers = await startPeers(place, programs);
    const one = await table("One writable root", oneRoot(place), peers.ready, place);
    return { one, ready: peers.ready };
  };
  say("ratio: to the row of overlay-render with as many apps\n");
  const { one, ready } = await measureOne();
  const many = await table("Apps of one pod", manyApps(place), ready, place);
  await table("Unmounting the apps of a pod", unmounting(place), ready, place);
  await table("Unmounting and removing a pod", removing(place), ready, place);
  await sayMemory(place);
  sayTargets(one, many);
}

/** Removes the scratch directory. Processes that were ended by force take a moment to let go of it. */
async function removeScratch(scratch: string): Promise<void> {
  for (let tries = 20; tries > 0; tries--) {
    const { status } = await run(["rm", "-rf", "--one-file-system", scratch]);
    if (status === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  say(`Cannot remove ${scratch}\n`);
}

/**
 * Starts again where mounts are private, and as the first process of a process namespace: with it, and
 * with this one when it is interrupted, all that it started ends.
 */
async function startInside(argv: readonly string[], scratch: string): Promise<number> {
  const [program = "", ...args] = argv;
  const child = new Deno.Command(program, { args, stdin: "null", env: { TMPDIR: scratch } })
    .spawn();
  const end = () => child.kill("SIGKILL");
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, end);
  try {
    return (await child.status).code;
  } finally {
    for (const signal of signals) Deno.removeSignalListener(signal, end);
  }
}

async function main(): Promise<number> {
  const [inner, inside] = Deno.args;
  if (inner === "--inner" && inside !== undefined) {
    await measureAll(inside);
    return 0;
  }
  const scratch = await Deno.realPath(await Deno.makeTempDir({ prefix: "overlay-peers-" }));
  try {
    const reason = refusal(scratch);
    if (reason !== null) {
      say(reason);
      return 1;
    }
    const namespace = await findNamespace(scratch);
    if ("missing" in namespace || namespace.options.length > 0) {
      say("missing" in namespace ? namespace.missing : "This needs root with CAP_SYS_ADMIN.\n");
      return 1;
    }
    const own = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const self = [Deno.execPath(), "run", "-A", "-q", `${ROOT}/bench/peers_bench.ts`];
    const argv = [...namespace.enter(scratch), ...own, ...self, "--inner", scratch];
    return await startInside(argv, scratch);
  } finally {
    await removeScratch(scratch);
  }
}

if (import.meta.main) Deno.exitCode = await main();
