/**
 * Names of images: given, taken, and shown.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError } from "../../mod.ts";
import { importTree, inspectTreeSync, tagTree, untagTree } from "../../lib/store/tree.ts";
import { ATTRIBUTES, layerArchive, makeLayout, smallImage } from "../_image.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";

Deno.test("tree tag gives a further name, and takes it from an image that has it", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const one = await importTree({
    source: await smallImage(dir),
    store,
    name: "one",
    ...ATTRIBUTES,
  });
  const archive = await layerArchive(dir.join("two"), { two: "2" });
  const source = await makeLayout(dir.join("layout-two"), [archive]);
  const two = await importTree({ source, store, name: "two", ...ATTRIBUTES });
  assertEquals(await tagTree({ store, tree: "one", name: "more" }), {
    id: one.id,
    images: ["one", "more"],
  });
  const { digest, config } = inspectTreeSync({ store, tree: "more" });
  assertEquals([digest, config?.os], [one.digest, "linux"]);
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  await tagTree({ store, tree: two.id, name: "more" }, { warn });
  assertEquals(inspectTreeSync({ store, tree: "more" }).id, two.id);
  assertEquals(inspectTreeSync({ store, tree: one.id }).images, ["one"]);
  assertEquals(warnings.length, 1);
});

Deno.test("tree untag takes a name, and the tree keeps its config without any", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const { id } = await importTree({
    source: await smallImage(dir),
    store,
    name: "one",
    ...ATTRIBUTES,
  });
  await tagTree({ store, tree: id, name: "two" });
  assertEquals(await untagTree({ store, name: "one" }), { id, images: ["two"] });
  assertEquals(await untagTree({ store, name: "two" }), { id, images: [] });
  assertEquals(inspectTreeSync({ store, tree: id }).config?.os, "linux");
  for (const name of ["one", id]) {
    const error = await assertRejects(() => untagTree({ store, name }), OverlayError);
    assertEquals(error.code, "missing");
  }
});

Deno.test("tree inspect shows config, layers and history", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  await importTree({ source: await smallImage(dir), store, name: "one", ...ATTRIBUTES });
  const { status, stdout } = await runMain(["tree", "inspect", "one", "--store", store]);
  assertEquals(status, 0);
  for (const word of ["image", "one", "linux/amd64", '["A=b"]', "LAYER", "sha256:"]) {
    assertStringIncludes(stdout, word);
  }
  const json = await runMain(["tree", "inspect", "one", "--store", store, "--json"]);
  assertEquals(JSON.parse(json.stdout).layers.length, 2);
});
