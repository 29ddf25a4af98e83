/**
 * `deno task bench:pods`: what the commands cost that look at all pods of a directory, with few pods and
 * with many. Each pod has one app, and all are mounted before each row but that of a reboot.
 *
 * @module
 */
import { renderOverlay } from "../mod.ts";
import { bundle } from "../tools/bundle.ts";
import { say } from "../tools/run.ts";
import { freshGround } from "./_ground.ts";
import { benchInside } from "./_inside.ts";
import { measure, must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { placeIn } from "./_place.ts";
import { overlayRender, podFlags } from "./_pod.ts";
import { OURS, sayTable } from "./_table.ts";

const COUNTS = [1, 30, 300];
const ROUNDS_OF_PODS = 10;
const SECONDS = 120;

async function makePods(directory: string, count: number, lower: string): Promise<void> {
  for (let at = 0; at < count; at++) {
    await renderOverlay({ lower, pod: `${directory}/pod-${at}`, app: "app" });
  }
}

function rowsOf(place: Place, count: number): Row[] {
  const pods = `${place.cell}/pods`;
  const command = (...args: string[]) => overlayRender(place, podFlags(place), ...args);
  const restore = command("restore", "--pods", pods);
  // What is mounted in the cell is gone after each row; what was made there stays.
  const prepare = async () => {
    const isThere = await Deno.stat(pods).then(() => true, () => false);
    if (isThere) return void await must(restore, place.env);
    await Deno.mkdir(pods);
    await makePods(pods, count, place.tree);
  };
  const base = { apps: count, mounts: 0, rounds: ROUNDS_OF_PODS, cell: `pods-${count}`, prepare };
  return [
    { ...base, by: OURS, what: "status --pods", command: command("status", "--pods", pods) },
    { ...base, by: "restore", what: "restore --pods, nothing to do", command: restore },
    { ...base, by: "gc", what: "gc -n --pods", command: command("gc", "-n", "--pods", pods) },
    {
      ...base,
      by: "reboot",
      what: "restore --pods after a reboot",
      mounts: count,
      prepare: () => Promise.resolve(),
      command: restore,
    },
  ];
}

async function measureAll(scratch: string): Promise<void> {
  const place = placeIn(await freshGround(scratch));
  const { HOME = "", TMPDIR = "" } = place.env;
  for (const directory of [place.cell, place.tree, HOME, TMPDIR]) await Deno.mkdir(directory);
  await bundle(`${place.scratch}/overlay-render.js`);
  const all = await measure(COUNTS.flatMap((count) => rowsOf(place, count)), place, SECONDS);
  sayTable("All pods of a directory", all, "pods");
  say("\nratio: to status of as many pods\n");
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
