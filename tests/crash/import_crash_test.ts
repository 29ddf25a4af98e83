import { assert, assertEquals } from "@std/assert";
import { checkTrees, collectTrees, importTree, listTreesSync } from "../../lib/store/tree.ts";
import { inLanes } from "../_crash.ts";
import { ATTRIBUTES, layerArchive, makeLayout } from "../_image.ts";
import { noise, random } from "../_random.ts";
import { snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, namesIn } from "../_tree.ts";

const IMPORTER = new URL("../_importer.ts", import.meta.url).pathname;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

function importer(source: string, store: string, step: string): Deno.Command {
  const flags = ["run", "-A", "-q", `--config=${CONFIG}`];
  const attributes = ATTRIBUTES.userxattr ? "userxattr" : "";
  return new Deno.Command(Deno.execPath(), {
    args: [...flags, IMPORTER, source, store, step, attributes],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

const FILE_SIZE = 60_000;

/** An image of layers of two megabytes each, in files that do not compress: to unpack them takes a while. */
async function largeImage(dir: TempDir): Promise<string> {
  const bytes = noise(FILE_SIZE + 120);
  const archives = [];
  for (let layer = 0; layer < 3; layer++) {
    const files: Record<string, Uint8Array> = {};
    for (let file = 0; file < 40; file++) {
      const from = layer * 40 + file;
      files[`dir${file % 7}/file${layer}-${file}`] = bytes.subarray(from, from + FILE_SIZE);
    }
    files[`dir0/.wh.file${layer - 1}-0`] = new Uint8Array();
    archives.push(await layerArchive(dir.join(`layer${layer}`), files));
  }
  return await makeLayout(dir.join("layout"), archives);
}

/** Whatever is shown is whole, and whatever layer is in its place is as it was written down. */
async function assertConsistent(store: string): Promise<void> {
  if (await isMissing(`${store}/tree`)) return;
  const listed = listTreesSync({ store });
  const checked = await checkTrees({ store });
  assertEquals(checked.map(({ id }) => id), listed.map(({ id }) => id));
  assertEquals(checked.flatMap(({ differences }) => differences), []);
}

async function assertWhole(source: string, store: string): Promise<void> {
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  assertEquals(listTreesSync({ store }).map((tree) => tree.id), [id]);
  assertEquals(await checkTrees({ store }), [{ id, differences: [] }]);
  assertEquals(await namesIn(`${store}/tmp`), []);
  assertEquals((await namesIn(`${store}/layer`)).length, 3);
  assertEquals((await namesIn(`${store}/record`)).length, 6);
  assertEquals((await namesIn(`${store}/l`)).length, 3);
}

/** Kills a process; one that has just ended, and is not waited for yet, was faster. */
function killUnlessEnded(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch (error) {
    const ended = error instanceof TypeError && /already terminated/.test(error.message);
    if (!ended) throw error;
  }
}

const KILLS = 20;
const HOUR = 3_600_000;

/** Kills an import after so many milliseconds; says how long it took when it was faster. */
async function killAfter(ms: number, source: string, store: string): Promise<number | null> {
  const begun = performance.now();
  const child = importer(source, store, "").spawn();
  const timer = setTimeout(() => killUnlessEnded(child), ms);
  const { signal } = await child.output();
  clearTimeout(timer);
  return signal === "SIGKILL" ? null : performance.now() - begun;
}

Deno.test("an import that is killed at any moment leaves a store that the next one completes", async () => {
  await using dir = await tempDir();
  const source = await largeImage(dir);
  const image = await snapshot(source);
  const { int } = random(11);
  let duration = 0;
  // How long it takes while the other lanes import too.
  await inLanes([1, 2], async (numbers) => {
    for (const number of numbers) {
      const took = await killAfter(HOUR, source, dir.join(`first${number}`));
      duration = Math.max(duration, took ?? 0);
    }
  });
  const killOnce = async (kill: number, tries: number): Promise<boolean> => {
    const store = dir.join(`store${kill}-${tries}`);
    const took = await killAfter((kill + int(1000) / 1000) / KILLS * duration, source, store);
    // One that was faster tells how long they take.
    duration = Math.min(duration, took ?? duration);
    await assertConsistent(store);
    await assertWhole(source, store);
    await Deno.remove(store, { recursive: true });
    return took === null;
  };
  await inLanes(Array.from({ length: KILLS }, (_, kill) => kill), async (kills) => {
    for (const kill of kills) {
      for (let tries = 0; !await killOnce(kill, tries); tries++) {
        assert(tries < 2 * KILLS, `kill ${kill} came too late ${tries} times`);
      }
    }
  });
  assertEquals(await snapshot(source), image);
});

/** What is left of an import that was killed after a step is completed, or cleared away. */
async function killAt(step: number, source: string, store: string): Promise<void> {
  const { signal } = await importer(source, store, String(step)).output();
  assertEquals(signal, "SIGKILL", `step ${step}`);
  await assertConsistent(store);
  if (step % 2 === 0) await assertWhole(source, store);
  else {
    await collectTrees({ store });
    const trees = listTreesSync({ store });
    for (const name of ["layer", "l", "record", "tree"]) {
      if (trees.length === 0) assertEquals(await namesIn(`${store}/${name}`), [], `step ${step}`);
    }
    assertEquals(await namesIn(`${store}/tmp`), []);
  }
  await Deno.remove(store, { recursive: true });
}

Deno.test("an import that is killed after any of its steps leaves nothing that is not cleared away", async () => {
  await using dir = await tempDir();
  const source = await largeImage(dir);
  const { stdout } = await importer(source, dir.join("first"), "").output();
  const steps = Number(new TextDecoder().decode(stdout));
  assert(steps > 20, `${steps} steps`);
  // The first steps are pieces of the archives, and all alike.
  const wanted = Array.from({ length: steps }, (_, step) => step).filter((step) => {
    return step < 3 || step % 16 === 0 || step > steps - 24;
  });
  await inLanes(wanted, async (steps) => {
    for (const step of steps) await killAt(step, source, dir.join(`store${step}`));
  });
});

Deno.test("two imports of an image at once do the work once", async () => {
  await using dir = await tempDir();
  const [source, store] = [await largeImage(dir), dir.join("store")];
  const unpacked: number[] = [];
  const one = () => {
    const onUnpacked = (layer: number) => void unpacked.push(layer);
    return importTree({ source, store, ...ATTRIBUTES }, { onUnpacked });
  };
  const trees = await Promise.all([one(), one(), one()]);
  assertEquals(new Set(trees.map(({ id }) => id)).size, 1);
  assertEquals(trees.map(({ changed }) => changed).sort(), [false, false, true]);
  assertEquals(unpacked.sort(), [0, 1, 2]);
  await assertWhole(source, store);
});

Deno.test("a signal ends an import, and leaves nothing of it", async () => {
  await using dir = await tempDir();
  const [source, store] = [await largeImage(dir), dir.join("store")];
  const controller = new AbortController();
  const reason = new Error("enough");
  let reads = 0;
  const onRead = () => void (++reads === 5 && controller.abort(reason));
  const failed = await importTree({ source, store, ...ATTRIBUTES }, {
    onRead,
    signal: controller.signal,
  }).then(() => null, (error) => error);
  assertEquals([failed, await isMissing(store)], [reason, true]);
});
