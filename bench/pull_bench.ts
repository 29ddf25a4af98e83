/**
 * `deno task bench:pull`: what it costs to take an image from a registry, and to put one there, against podman
 * and skopeo. The
 * registry is Debian's docker-registry on loopback. Whole processes; medians of interleaved rounds; only ratios
 * of one run mean anything.
 *
 * @module
 */
import { freshDenoDir } from "../tests/_deno_dir.ts";
import { noRegistry, startRegistry } from "../tests/_registry.ts";
import { bundle } from "../tools/bundle.ts";
import { say } from "../tools/run.ts";
import { scriptOf } from "./_importing.ts";
import { sayRows } from "./_import_table.ts";
import { benchInside } from "./_inside.ts";
import { makeLayout, REF } from "./_layout.ts";
import { measure, medianOf, must, withCell } from "./_measure.ts";
import type { Measured, Place } from "./_measure.ts";
import { peakMemory } from "./_memory.ts";
import { findPrograms } from "./_packages.ts";
import { fence, makePlace } from "./_place.ts";
import { configureStore } from "./_store.ts";
import { pulling, pullOf } from "./_pulling.ts";
import type { Pulled } from "./_pulling.ts";
import { pushing } from "./_pushing.ts";
import { sayTargets } from "./_targets.ts";
import type { Target } from "./_targets.ts";

/** The numbers of layers that the tree is divided into. */
const LAYERS = [1, 20];

/** The time for the table of an image. */
const SECONDS = 180;

/** Makes an image of the tree, and pushes it. */
async function pushImage(place: Place, host: string, count: number): Promise<Pulled> {
  const layout = await makeLayout(place.tree, `${place.scratch}/layout-${count}`, count);
  const reference = `${host}/bench/debian:${count}`;
  const copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
  await must([...copy, `oci:${layout.path}:${REF}`, `docker://${reference}`], place.env);
  return { name: `${count} ${count === 1 ? "layer" : "layers"}`, reference, layout };
}

function targetsOf({ name }: Pulled, all: readonly Measured[], peak: number): Target[] {
  const [ours, again] = ["overlay-render", "again"].map((by) => medianOf(all, by, 1));
  const against = (by: string, atMost: number): Target => {
    const what = `${name}: pull / ${by}`;
    return { what, figure: (ours ?? NaN) / medianOf(all, by, 1), goal: { atMost } };
  };
  const over = ((ours ?? NaN) - medianOf(all, "import", 1)) / 1000;
  return [
    against("podman", 0.6),
    against("skopeo", 0.7),
    { what: `${name}: pull - import, s`, figure: over, goal: { atMost: 0.3 } },
    {
      what: `${name}: an unchanged tag / a bare start of Deno`,
      figure: (again ?? NaN) / medianOf(all, "deno", 1),
      goal: { atMost: 5 },
    },
    { what: `${name}: peak memory of the pull, MB`, figure: peak, goal: { atMost: 200 } },
  ];
}

async function measureAll(scratch: string): Promise<void> {
  if (noRegistry !== null) throw new Error(noRegistry.trim());
  say(`Deno ${Deno.version.deno}, ${navigator.hardwareConcurrency} processors\n`);
  await findPrograms();
  const place = await makePlace(scratch);
  await bundle(scriptOf(place));
  await freshDenoDir(place.env.DENO_DIR ?? "");
  await configureStore(place);
  await fence(place);
  const empty = `${scratch}/empty.js`;
  await Deno.writeTextFile(empty, "");
  await using registry = await startRegistry({ path: scratch });
  const targets: Target[] = [];
  for (const count of LAYERS) {
    const image = await pushImage(place, registry.host, count);
    const all = await measure(pulling(place, image, empty), place, SECONDS);
    sayRows(`Pulling, ${image.name}`, all, "podman");
    const peak = await withCell(place, () => peakMemory(pullOf(place, image.reference), place));
    targets.push(...targetsOf(image, all, peak));
  }
  const image = await pushImage(place, registry.host, 1);
  const all = await measure(await pushing(place, image, registry.storage), place, SECONDS);
  sayRows("Pushing, 1 layer", all, "skopeo");
  const figure = medianOf(all, "overlay-render", 1) / medianOf(all, "skopeo", 1);
  targets.push({ what: "1 layer: push / skopeo", figure, goal: { atMost: 1.3 } });
  sayTargets(targets);
}

if (import.meta.main) Deno.exitCode = await benchInside(import.meta.filename ?? "", measureAll);
