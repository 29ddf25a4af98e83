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
import { say } from "../tools/run.ts";
import { measureImports } from "./_imports.ts";
import { benchInside } from "./_inside.ts";
import { measure, withCell } from "./_measure.ts";
import type { Measured, Place, Row } from "./_measure.ts";
import { peakMemory } from "./_memory.ts";
import { findPrograms } from "./_packages.ts";
import { startPeers } from "./_peers.ts";
import { fence, makePlace } from "./_place.ts";
import { renderPod, writeSpecs } from "./_pod.ts";
import { manyApps, oneRoot } from "./_rendering.ts";
import { sayTable } from "./_table.ts";
import { renderTargets, sayTargets } from "./_targets.ts";
import { removing, unmounting } from "./_unmounting.ts";

/** Makes all that the rows need, and only then builds the fence. */
async function prepare(scratch: string): Promise<Place> {
  const place = await makePlace(scratch);
  await bundle(`${place.scratch}/overlay-render.js`);
  await writeSpecs(place);
  await fence(place);
  return place;
}

/** The rows of these are left out when they are missing. The others need nothing but util-linux. */
const PEERS = ["buildah", "podman", "ctr", "busybox"];

async function table(
  title: string,
  rows: readonly Row[],
  place: Place,
  { ready, seconds }: { readonly ready: ReadonlySet<string>; readonly seconds: number },
): Promise<Measured[]> {
  const wanted = rows.filter(({ by }) => !PEERS.includes(by) || ready.has(by));
  const all = await measure(wanted, place, seconds);
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

/** How long each table may take; with that of the imports and what is made ready, less than ten minutes. */
const SECONDS = { one: 30, many: 60, unmounting: 60, removing: 20 };

/** Everything in turn, each table as soon as it is measured. */
async function measureAll(scratch: string): Promise<void> {
  say(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} processors\n`);
  const programs = await findPrograms();
  const place = await prepare(scratch);
  const measureOne = async () => {
    await using peers = await startPeers(place, programs);
    const one = await table("One writable root", oneRoot(place), place, {
      ready: peers.ready,
      seconds: SECONDS.one,
    });
    return { one, ready: peers.ready };
  };
  // First, since they remove little: of an image each makes all files anew.
  await measureImports(place, programs);
  say("\nratio: to the row of overlay-render with as many apps\n");
  const { one, ready } = await measureOne();
  const many = await table("Apps of one pod", manyApps(place), place, {
    ready,
    seconds: SECONDS.many,
  });
  await table("Unmounting the apps of a pod", unmounting(place), place, {
    ready,
    seconds: SECONDS.unmounting,
  });
  await table("Unmounting and removing a pod", removing(place), place, {
    ready,
    seconds: SECONDS.removing,
  });
  await sayMemory(place);
  sayTargets(renderTargets(one, many));
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
