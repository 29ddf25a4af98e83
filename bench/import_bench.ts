/**
 * `deno task bench:import`: what it costs to make a tree of an image, against tar, skopeo, containerd and
 * umoci. Whole processes; medians of interleaved rounds; only ratios of one run mean anything. It is the
 * last part of `deno task bench:peers`, alone; see there for where it runs and what it leaves alone.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { bundle } from "../tools/bundle.ts";
import { scriptOf } from "./_importing.ts";
import { measureImports } from "./_imports.ts";
import { benchInside } from "./_inside.ts";
import { findPrograms } from "./_packages.ts";
import { fence, makePlace } from "./_place.ts";

async function measureAll(scratch: string): Promise<void> {
  say(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} processors\n`);
  const programs = await findPrograms();
  const place = await makePlace(scratch);
  await bundle(scriptOf(place));
  await fence(place);
  await measureImports(place, programs);
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
