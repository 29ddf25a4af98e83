import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import {
  collectPods,
  OverlayError,
  RefusedError,
  renderOverlay,
  undoCollect,
  unmountOverlay,
} from "../../mod.ts";
import {
  collectTrees,
  importTree,
  listTreesSync,
  removeTree,
  resolveTreeSync,
  treePathSync,
} from "../../lib/store/tree.ts";
import { lockPod } from "../../lib/system/lock.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, snapshot, tempDir } from "../_temp.ts";
import { MARKS, namesIn } from "../_tree.ts";

const NEEDS_ROOT = isRealRoot ? "" : " [skipped: needs root]";

Deno.test("a tree is not removed while a pod uses it, mounted or not", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod, options: MARKS });
  assertEquals(listTreesSync({ store }).map(({ pods }) => pods), [[pod]]);
  for (const mounted of [true, false]) {
    if (!mounted) await unmountOverlay({ pod });
    const before = await snapshot(store);
    const changed = async () => (await Deno.stat(`${store}/tree/${id}`)).ctime?.getTime();
    const then = await changed();
    const error = await assertRejects(() => removeTree({ store, tree: "test" }), RefusedError);
    assertEquals(error.code, "in-use");
    assertStringIncludes(error.message, JSON.stringify(pod));
    assertEquals(await snapshot(store), before);
    // The pod can be rendered again at any moment: the mark of the tree was not even taken away for a while.
    assertEquals(await changed(), then);
  }
  await Deno.remove(pod, { recursive: true });
  assertEquals(await removeTree({ store, tree: "test" }), { trees: [id], layers: [], blobs: [] });
  assertEquals(listTreesSync({ store }), []);
  assertEquals((await namesIn(`${store}/layer`)).length, 2);

  const dry = await collectTrees({ store, dryRun: true });
  assertEquals(dry.layers, await namesIn(`${store}/layer`));
  assertEquals(await collectTrees({ store }), dry);
  for (const name of ["layer", "l", "record", "tree", "tmp", "pod"]) {
    assertEquals(await namesIn(`${store}/${name}`), [], name);
  }
});

Deno.test("a tree is not removed while a pod is set aside that uses it: it can be brought back", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  await importTree({ source, store, ...ATTRIBUTES });
  const request = { image: "test", store, pod, app: "web", options: MARKS };
  // The name is taken in the garbage by one that uses nothing.
  await Deno.mkdir(dir.join("garbage", "pod"), { recursive: true, mode: 0o700 });
  for (const lose of [undefined, "manifest"]) {
    await renderOverlay(request);
    await unmountOverlay({ pod });
    const { marked } = await collectPods({ pod, phase: "mark" });
    assertEquals(marked, [{ pod, garbage: dir.join("garbage", "pod~1") }]);
    const [tree = ""] = await namesIn(`${store}/tree`);
    const manifest = `${store}/tree/${tree}/manifest`;
    const content = await Deno.readTextFile(manifest);
    if (lose !== undefined) await Deno.writeTextFile(manifest, "");
    assertEquals(await collectTrees({ store }), { trees: [], layers: [], blobs: [] });
    await Deno.writeTextFile(manifest, content);
    assertEquals((await namesIn(`${store}/pod`)).length, 1);
    const error = await assertRejects(() => removeTree({ store, tree: "test" }), RefusedError);
    assertStringIncludes(error.message, `pod ${JSON.stringify(pod)} uses it`);
    await undoCollect(marked[0]?.garbage ?? "");
    const { rootfs } = await renderOverlay(request);
    assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the top");
    await unmountOverlay({ pod });
  }
  await collectPods({ pod });
  assertEquals((await removeTree({ store, tree: "test" })).trees.length, 1);
  await collectTrees({ store });
  assertEquals(await namesIn(`${store}/pod`), []);
});

Deno.test("a tree is not removed while a pod uses it that was rendered by another name of the store", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod: dir.join("pod"), options: MARKS });
  await unmountOverlay({ pod: dir.join("pod") });
  await Deno.rename(store, dir.join("moved"));
  const moved = { store: dir.join("moved"), tree: "test" };
  assertEquals(listTreesSync(moved)[0]?.pods, [dir.join("pod")]);
  await assertRejects(() => removeTree(moved), RefusedError, "uses it");
  assertEquals(await collectTrees(moved), { trees: [], layers: [], blobs: [] });
  assertEquals((await namesIn(dir.join("moved", "pod"))).length, 1);
});

Deno.test("what a pod uses is not collected, whatever became of its tree's manifest", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod, options: MARKS });
  await unmountOverlay({ pod });
  const manifest = `${store}/tree/${id}/manifest`;
  const content = await Deno.readTextFile(manifest);
  await Deno.writeTextFile(manifest, content.slice(0, 20));
  const error = await assertRejects(
    () => removeTree({ store, tree: id }),
    OverlayError,
    "not as it",
  );
  assertEquals(error.code, "bad-store");
  for (const dryRun of [true, false]) {
    assertEquals(await collectTrees({ store, dryRun }), { trees: [], layers: [], blobs: [] });
  }
  const fstab = await Deno.readTextFile(`${pod}/overlay.fstab`);
  await Deno.writeFile(`${pod}/overlay.fstab`, new Uint8Array([0xff]));
  const unknown = await assertRejects(() => collectTrees({ store }), RefusedError, "is not known");
  assertStringIncludes(unknown.hint ?? "", `overlay-render status --pod ${pod}`);
  await Deno.writeTextFile(`${pod}/overlay.fstab`, fstab);
  await importTree({ source, store, ...ATTRIBUTES });
  const { rootfs } = await renderOverlay({ image: "test", store, pod, options: MARKS });
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the top");
  assertEquals(await Deno.readTextFile(`${rootfs}/etc/motd`), "welcome");
  await unmountOverlay({ pod });

  await Deno.remove(pod, { recursive: true });
  await Deno.writeTextFile(manifest, content.slice(0, 20));
  const gone = await collectTrees({ store });
  assertEquals([gone.trees, gone.layers.length], [[id], 2]);
});

Deno.test("a tree is not removed while a pod that was noted is worked on", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod, options: MARKS });
  await unmountOverlay({ pod });
  // As a render leaves it that has noted the pod, and not written its line.
  await Deno.remove(`${pod}/overlay.fstab`);
  {
    using _lock = await lockPod(`${pod}/overlay.lock`);
    await assertRejects(() => removeTree({ store, tree: "test" }), RefusedError, "just rendering");
    await collectTrees({ store });
    assertEquals((await namesIn(`${store}/pod`)).length, 1);
  }
  await collectTrees({ store });
  assertEquals(await namesIn(`${store}/pod`), []);
  await removeTree({ store, tree: "test" });
});

Deno.test("a pod that cannot be written to keeps its tree, and nothing else from being collected", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod, options: MARKS });
  await unmountOverlay({ pod });
  await sh("mount", "--bind", pod, pod);
  await sh("mount", "--options", "remount,bind,ro", pod);
  await assertRejects(() => removeTree({ store, tree: "test" }), OverlayError, "Read-only");
  assertEquals(await collectTrees({ store }), { trees: [], layers: [], blobs: [] });
  assertEquals((await namesIn(`${store}/pod`)).length, 1);
  await sh("umount", pod);
});

Deno.test("a tree whose removal was killed is there again", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const before = await snapshot(store);
  const rendered = `${store}/tree/${id}/rendered`;
  await Deno.rename(rendered, `${rendered}.removing`);
  assertEquals(listTreesSync({ store }), []);
  assertEquals(await collectTrees({ store }), { trees: [], layers: [], blobs: [] });
  assertEquals(await snapshot(store), before);
});

Deno.test("a pod whose lines cannot be read does not keep trees from being listed, but from being removed", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ image: "test", store, pod, options: MARKS });
  await unmountOverlay({ pod });
  await Deno.rename(`${pod}/overlay.fstab`, `${pod}/elsewhere`);
  await Deno.symlink("pod-moved", `${pod}/overlay.fstab`);
  assertEquals(listTreesSync({ store })[0]?.pods, []);
  await assertRejects(() => removeTree({ store, tree: "test" }), RefusedError, "is not known");
});

for (
  const [how, name, lowerdir] of [
    ["by its path", "store", (store: string) => store],
    ["by a path that must be escaped", "a:b", (store: string) => store.replace(":", "\\:")],
    ["by a path that is relative", "store", () => "."],
  ] as const
) {
  Deno.test(`a tree that somebody else has mounted ${how} is not removed${NEEDS_ROOT}`, {
    ignore: !isRealRoot,
  }, async () => {
    await using dir = await tempDir();
    const [source, store] = [await smallImage(dir), dir.join(name)];
    await importTree({ source, store });
    const lowers = treePathSync({ store, tree: "test" }).map((path) => {
      return lowerdir(store) + path.slice(store.length);
    });
    const at = dir.join("at");
    await Deno.mkdir(at);
    const options = `ro,lowerdir=${lowers.join(":")}`;
    await sh(
      "sh",
      "-c",
      'cd "$1" && shift && "$@"',
      "sh",
      store,
      "mount",
      "-t",
      "overlay",
      "-o",
      options,
      "x",
      at,
    );
    const error = await assertRejects(() => removeTree({ store, tree: "test" }), RefusedError);
    assertStringIncludes(error.message, JSON.stringify(at));
    assertEquals(listTreesSync({ store }).length, 1);
    await sh("umount", at);
    await removeTree({ store, tree: "test" });
  });
}

Deno.test("a directory whose import did not finish is no tree, and is collected", async () => {
  await using dir = await tempDir();
  const [store, source] = [dir.join("store"), dir.join("mine")];
  await Deno.mkdir(source);
  const checkpoint = (step: string) => {
    if (step === "rootfs") throw new Error("it was killed");
  };
  await assertRejects(() => importTree({ source, store }, { checkpoint }), Error, "killed");
  const trees = await namesIn(`${store}/tree`);
  const [tree = ""] = trees;
  assertThrows(() => resolveTreeSync({ tree, store, pod: "/p" }), OverlayError, "did not finish");
  assertEquals(await collectTrees({ store }), { trees, layers: [], blobs: [] });
  assertEquals(await namesIn(`${store}/tree`), []);
});
