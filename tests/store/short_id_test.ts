/**
 * The first digits of a tree id stand for the id.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { InvalidValueError, OverlayError, renderOverlay } from "../../mod.ts";
import {
  importTree,
  inspectTreeSync,
  removeTree,
  resolveTreeSync,
  tagTree,
  treePathSync,
  untagTree,
} from "../../lib/store/tree.ts";
import { runMain } from "../_main.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

const PREFIX = "deps-sha512-";

/** Imports a directory; returns the store, the tree id, and its digits. */
async function scene(dir: TempDir): Promise<{ store: string; id: string; digits: string }> {
  const store = dir.join("store");
  const source = await makeTree(dir.join("image"));
  const { id } = await importTree({ source, store, name: "mine" });
  return { store, id, digits: id.slice(PREFIX.length) };
}

Deno.test("the first digits of an id name a tree, wherever one is named", async () => {
  await using dir = await tempDir();
  const { store, id, digits } = await scene(dir);
  for (const tree of [digits.slice(0, 4), digits.slice(0, 12), digits, id.slice(0, -1)]) {
    assertEquals(inspectTreeSync({ store, tree }).id, id);
    assertEquals(treePathSync({ store, tree }), treePathSync({ store, tree: id }));
    assertEquals(resolveTreeSync({ store, tree, pod: "/p" }).tree, id);
  }
  const short = digits.slice(0, 4);
  assertEquals((await tagTree({ store, tree: short, name: "more" })).images, ["mine", "more"]);
  const pod = dir.join("pod");
  {
    await using app = await renderOverlay({ store, tree: short, pod, app: "web", options: MARKS });
    assertEquals(app.tree, id);
  }
  const gc = await runMain(["gc", "--pod", pod, "-q"]);
  assertEquals(gc.status, 0, gc.stderr);
  assertEquals((await removeTree({ store, tree: short })).trees, [id]);
});

Deno.test("fewer digits, other digits, and digits for a name are an error", async () => {
  await using dir = await tempDir();
  const { store, digits } = await scene(dir);
  const other = digits.startsWith("0000") ? "ffff" : "0000";
  for (const tree of [digits.slice(0, 3), other, `${PREFIX}${digits}0`, digits.toUpperCase(), ""]) {
    const error = assertThrows(() => inspectTreeSync({ store, tree }), OverlayError);
    assertEquals(error.code, "missing", tree);
  }
  const untag = () => untagTree({ store, name: digits.slice(0, 8) });
  assertEquals((await assertRejects(untag, OverlayError)).code, "missing");
  assertEquals(inspectTreeSync({ store, tree: digits.slice(0, 8) }).images, ["mine"]);
});

Deno.test("an error lists the trees whose ids begin in the same way", async () => {
  await using dir = await tempDir();
  const { store, id, digits } = await scene(dir);
  const twin = `${PREFIX}${digits.slice(0, 6)}${"0".repeat(58)}`;
  await Deno.mkdir(`${store}/tree/${twin}`);
  await Deno.writeTextFile(`${store}/tree/${twin}/rendered`, "");
  const tree = digits.slice(0, 6);
  for (const act of [inspectTreeSync, treePathSync, resolveTreeSync]) {
    const error = assertThrows(() => act({ store, tree, pod: "/p" }), InvalidValueError);
    assertStringIncludes(error.message, "2 trees begin so");
    for (const one of [id, twin]) assertStringIncludes(error.hint ?? "", one);
  }
  assertEquals(inspectTreeSync({ store, tree: id }).id, id);
});

Deno.test("a tree that was made by hand goes before the digits of another", async () => {
  await using dir = await tempDir();
  const { store, digits } = await scene(dir);
  const hand = digits.slice(0, 4);
  await Deno.mkdir(`${store}/tree/${hand}/rootfs`, { recursive: true });
  const request = { store, tree: hand, pod: "/p" };
  assertEquals(resolveTreeSync(request), request);
  assert(inspectTreeSync({ store, tree: digits.slice(0, 5) }).images.includes("mine"));
});
