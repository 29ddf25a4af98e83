/**
 * Trees without a name that no pod uses are pruned; all others stay.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { renderOverlay } from "../../mod.ts";
import { importTree, listTreesSync, planTreePruning, pruneTrees } from "../../lib/store/tree.ts";
import { disk, runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { MARKS } from "../_tree.ts";

/** Imports a directory with one file, with a name or without. */
async function put(dir: TempDir, store: string, file: string, name?: string): Promise<string> {
  await Deno.mkdir(dir.join(file));
  await Deno.writeTextFile(dir.join(file, file), file);
  const named = name === undefined ? {} : { name };
  return (await importTree({ source: dir.join(file), store, ...named })).id;
}

Deno.test("pruneTrees() takes what has no name and no pod, and nothing else", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const named = await put(dir, store, "one", "one");
  const used = await put(dir, store, "two");
  const useless = await put(dir, store, "three");
  const request = { store, tree: used, pod: dir.join("pod"), app: "web", options: MARKS };
  await renderOverlay(request);
  const before = await disk(store);
  const plan = await planTreePruning({ store });
  // A tree of one directory has no layers.
  assertEquals([plan.trees, plan.layers, plan.blobs], [[useless], [], []]);
  assertEquals(await disk(store), before);
  const { trees, layers } = await pruneTrees({ store });
  assertEquals([trees, layers], [[useless], plan.layers]);
  assertEquals(listTreesSync({ store }).map(({ id }) => id).sort(), [named, used].sort());
  assertEquals(await pruneTrees({ store }), { trees: [], layers: [], blobs: [] });
});

Deno.test("tree prune prints what is gone, and in an empty store nothing", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  assertEquals((await runMain(["tree", "prune", "--store", store])).stdout, "");
  const id = await put(dir, store, "one");
  const { status, stdout, stderr } = await runMain(["tree", "prune", "--store", store]);
  assertEquals([status, stderr, stdout.split("\n")[0]], [0, "", `tree ${id}`]);
});
