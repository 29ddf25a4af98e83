/**
 * `deno task bench:export`: what it costs to make a layer of what an app changed, against umoci and buildah, and
 * to list it, against podman.
 * Whole processes; medians of interleaved rounds; only ratios of one run mean anything.
 *
 * @module
 */
import { bundle } from "../tools/bundle.ts";
import { say } from "../tools/run.ts";
import { exporting, FEW, listing, makeWideTree, MANY, ourExport } from "./_exporting.ts";
import type { Changed } from "./_exporting.ts";
import { scriptOf } from "./_importing.ts";
import { sayRows } from "./_import_table.ts";
import { benchInside } from "./_inside.ts";
import { makeLayout } from "./_layout.ts";
import { measure, medianOf, withCell } from "./_measure.ts";
import type { Measured } from "./_measure.ts";
import { peakMemory } from "./_memory.ts";
import { findPrograms } from "./_packages.ts";
import { fence, makePlace } from "./_place.ts";
import { configureStore } from "./_store.ts";
import { sayTargets } from "./_targets.ts";
import type { Target } from "./_targets.ts";

/** The time for the table of a tree. */
const SECONDS = 120;

/** Makes the goal for a row of overlay-render against that of a peer. */
function against(all: readonly Measured[], by: string, atMost: number, what: string): Target {
  const figure = medianOf(all, "overlay-render", 1) / medianOf(all, by, 1);
  return { what: `${what} / ${by}`, figure, goal: { atMost } };
}

async function measureAll(scratch: string): Promise<void> {
  say(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} processors\n`);
  await findPrograms();
  const place = await makePlace(scratch);
  await bundle(scriptOf(place));
  await configureStore(place);
  await fence(place);
  const wide = `${scratch}/wide`;
  await makeWideTree(wide);
  const trees: readonly Changed[] = [
    {
      name: "2,000 changes",
      layout: await makeLayout(place.tree, `${scratch}/layout`, 1),
      script: MANY,
    },
    {
      name: "10 changes of 100,000 files",
      layout: await makeLayout(wide, `${scratch}/wide-layout`, 1),
      script: FEW,
    },
  ];
  const targets: Target[] = [];
  for (const [at, changed] of trees.entries()) {
    const rows = await exporting(place, changed, `changed-${at}`);
    const all = await measure(rows, place, SECONDS);
    sayRows(`Exporting, ${changed.name}`, all, "umoci");
    const command = ourExport(place, `changed-${at}`);
    const peak = await withCell(place, () => peakMemory(command, place));
    const listed = await measure(await listing(place, changed, `changed-${at}`), place, SECONDS);
    sayRows(`Listing, ${changed.name}`, listed, "podman");
    const { name } = changed;
    targets.push(
      against(all, "umoci", 0.5, `${name}: export`),
      against(all, "buildah", 1, `${name}: export`),
      { what: `${name}: peak memory of the export, MB`, figure: peak, goal: { atMost: 150 } },
      against(listed, "podman", 0.35, `${name}: changes`),
    );
  }
  sayTargets(targets);
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
