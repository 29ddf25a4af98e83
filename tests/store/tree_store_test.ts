import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  RefusedError,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import {
  checkTrees,
  importTree,
  listTreesSync,
  resolveTreeSync,
  treePathSync,
} from "../../lib/store/tree.ts";
import { ATTRIBUTE_FLAGS, ATTRIBUTES, layerArchive, makeLayout, smallImage } from "../_image.ts";
import { cli } from "../_cli.ts";
import { runMain } from "../_main.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, mountsOn, namesIn } from "../_tree.ts";

const ID = /^deps-sha512-[0-9a-f]{64}$/;

/** What the small image shows when it is rendered. */
async function assertSmall(rootfs: string): Promise<void> {
  assertEquals(await namesIn(rootfs), ["etc", "file", "hidden"]);
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the top");
  assertEquals(await Deno.readTextFile(`${rootfs}/etc/motd`), "welcome");
  assertEquals(await namesIn(`${rootfs}/hidden`), ["new"]);
}

Deno.test("importTree() makes a tree that is rendered by its id and by its image", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const before = await snapshot(source);
  const tree = await importTree({ source, store, ...ATTRIBUTES });
  assert(ID.test(tree.id));
  assertEquals([tree.image, tree.layers, tree.changed], ["test", 2, true]);
  assertEquals(await snapshot(source), before);

  const stored = await snapshot(store);
  for (const named of [{ tree: tree.id }, { image: "test" }]) {
    const app = Object.keys(named)[0] ?? "";
    const request = { ...named, store, pod: dir.join("pod"), app, options: MARKS };
    const { rootfs, tree: id } = await renderOverlay(request);
    assertEquals(id, tree.id);
    await assertSmall(rootfs);
    await Deno.remove(`${rootfs}/hidden`, { recursive: true });
    await Deno.writeTextFile(`${rootfs}/file`, "from the app");
    assertEquals((await renderOverlay(request)).changed, false);
    assertEquals(await mountsOn(rootfs), 1);
  }
  await unmountOverlay({ pod: dir.join("pod") });
  const isNote = (line: string) => /[ /]pod\/[0-9a-f]{64}$/.test(line);
  const now = (await snapshot(store)).split("\n").filter((line) => !isNote(line));
  assertEquals(now.join("\n"), stored);
  assertEquals((await checkTrees({ store })).flatMap(({ differences }) => differences), []);
});

Deno.test("importTree() does nothing the second time, and says so", async () => {
  await using dir = await tempDir();
  const request = { source: await smallImage(dir), store: dir.join("store"), ...ATTRIBUTES };
  const first = await importTree(request);
  const disk = await snapshot(request.store);
  const have: number[] = [];
  const again = await importTree(request, { onHave: (layer) => have.push(layer) });
  assertEquals(again, { ...first, changed: false });
  assertEquals(have, [0, 1]);
  assertEquals(await snapshot(request.store), disk);
});

Deno.test("importTree() knows an archive again that says nothing of itself", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const archive = await layerArchive(dir.join("root"), { "etc/motd": "welcome" });
  const source = dir.join("root.tar");
  await Deno.writeFile(source, archive);
  const first = await importTree({ source, store });
  assertEquals(await importTree({ source, store }), { ...first, changed: false });
  assertEquals((await namesIn(`${store}/layer`)).length, 1);
});

Deno.test("importTree() takes layers that end with their last content, as umoci insert makes", async () => {
  await using dir = await tempDir();
  const whole = await layerArchive(dir.join("layer"), { file: "%" });
  const end = whole.lastIndexOf("%".charCodeAt(0)) + 1;
  const source = await makeLayout(dir.join("layout"), [whole.slice(0, end)]);
  const store = dir.join("store");
  await importTree({ source, store });
  const [lower = ""] = treePathSync({ tree: "test", store });
  assertEquals(await Deno.readTextFile(`${lower}/file`), "%");
  assertEquals((await checkTrees({ store })).flatMap(({ differences }) => differences), []);
});

Deno.test("importTree() keeps a directory as a tree of one directory", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("root"), dir.join("store")];
  await Deno.mkdir(`${source}/etc`, { recursive: true });
  await Deno.writeTextFile(`${source}/etc/motd`, "welcome");
  await Deno.writeTextFile(`${source}/.wh.odd`, "a name like any other");
  await Deno.symlink("etc/motd", `${source}/link`);
  await Deno.link(`${source}/etc/motd`, `${source}/hard`);
  await sh("chmod", "1770", source);
  const tree = await importTree({ source, store, name: "mine" });
  const rootfs = `${store}/tree/${tree.id}/rootfs`;
  assertEquals(treePathSync({ store, tree: "mine" }), [rootfs]);
  assertEquals(await snapshot(rootfs), (await snapshot(source)).replaceAll(source, rootfs));
  assertEquals((await importTree({ source, store })).changed, false);
  assertEquals(await checkTrees({ store }), [{ id: tree.id, differences: [] }]);

  const render = await renderOverlay({
    image: "mine",
    store,
    pod: dir.join("pod"),
    options: MARKS,
  });
  assertEquals(await Deno.readTextFile(`${render.rootfs}/etc/motd`), "welcome");
});

Deno.test("layers that images share are on the disk once, and a name is one image's", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const base = await layerArchive(dir.join("base"), { "a": "a" });
  const tops = [
    await layerArchive(dir.join("one"), { "b": "b" }),
    await layerArchive(dir.join("two"), { "c": "c" }),
  ];
  const ids: string[] = [];
  for (const [i, top] of tops.entries()) {
    const source = await makeLayout(dir.join(`layout${i}`), [base, top]);
    ids.push((await importTree({ source, store, name: "same" })).id);
  }
  assertEquals((await namesIn(`${store}/layer`)).length, 3);
  const trees = listTreesSync({ store });
  assertEquals(trees.map(({ id }) => id).sort(), ids.toSorted());
  assertEquals(trees.find(({ id }) => id === ids[0])?.images, []);
  assertEquals(trees.find(({ id }) => id === ids[1])?.images, ["same"]);
});

Deno.test("an image is found by its name at any moment of an import that takes the name over", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const archive = (content: string) => layerArchive(dir.join(content), { file: content });
  const first = await makeLayout(dir.join("first"), [await archive("1")]);
  const second = await makeLayout(dir.join("second"), [await archive("2")]);
  const { id } = await importTree({ source: first, store, name: "mine" });
  const found: string[] = [];
  const request: RenderRequest = { image: "mine", store, pod: "/p" };
  const checkpoint = () => void found.push(resolveTreeSync(request).tree ?? "");
  const { id: other } = await importTree({ source: second, store, name: "mine" }, { checkpoint });
  assertEquals(found.filter((tree) => tree !== id && tree !== other), []);
  assert(found.length > 3, "there was no moment to look at");
  assertEquals(treePathSync({ tree: "mine", store }), treePathSync({ tree: other, store }));
});

Deno.test("a pod is rendered from trees and images of the store", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const spec = JSON.stringify({
    pod,
    store,
    apps: [{ app: "a", image: "test", options: MARKS }, { app: "b", tree: id, options: MARKS }],
  });
  const input = () => spec;
  const { stdout, status, stderr } = await runMain(["render", "--spec", "-"], { input });
  assertEquals([status, stderr], [0, ""]);
  const roots = stdout.trim().split("\n");
  assertEquals(roots.length, 2);
  for (const rootfs of roots) await assertSmall(rootfs);
  const bad = { pod, store, apps: [{ app: "c", image: "none" }] };
  const error = await assertRejects(() => renderPod(bad), OverlayError, "apps[0]");
  assertEquals(error.code, "missing");
  assertStringIncludes(error.hint ?? "", "test");
});

Deno.test("resolveTreeSync() refuses what it cannot find, and what says two things", async () => {
  await using dir = await tempDir();
  const [store, pod] = [dir.join("store"), dir.join("pod")];
  const none = assertThrows(() => resolveTreeSync({ pod, store, image: "a" }), OverlayError);
  assertEquals(none.code, "missing");
  assertStringIncludes(none.hint ?? "", "tree pull");
  for (const other of [{ tree: "t" }, { lower: "/l" }]) {
    const twice = assertThrows(
      () => resolveTreeSync({ pod, store, image: "a", ...other }),
      OverlayError,
    );
    assertEquals(twice.code, "usage");
  }
  const hand = { pod, store, tree: "made-by-hand" };
  const unknown = assertThrows(() => resolveTreeSync(hand), OverlayError);
  assertEquals(unknown.code, "missing");
  assertStringIncludes(unknown.hint ?? "", "tree list");
  await Deno.mkdir(`${store}/tree/made-by-hand/rootfs`, { recursive: true });
  assertEquals(resolveTreeSync(hand), hand);
});

Deno.test("a tree whose import did not finish is not rendered", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  await Deno.remove(`${store}/tree/${id}/rendered`);
  const pod = dir.join("pod");
  const error = await assertRejects(() => renderOverlay({ tree: id, store, pod }), OverlayError);
  assertEquals(error.code, "bad-store");
  assert(await isMissing(pod));
  assertEquals(listTreesSync({ store }), []);
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay({ tree: id, store, pod, options: MARKS });
});

Deno.test("128 layers are rendered through a link in the pod, seen, and unmounted", async () => {
  await using dir = await tempDir();
  const [store, pod] = [dir.join("s".repeat(100)), dir.join("pod")];
  const archives: Uint8Array[] = [];
  for (let i = 0; i < 128; i++) {
    archives.push(
      await layerArchive(dir.join(`layer${i}`), { [`own/${i}`]: `${i}`, "all": `${i}` }),
    );
  }
  const source = await makeLayout(dir.join("layout"), archives);
  await importTree({ source, store, ...ATTRIBUTES });
  const request = { image: "test", store, pod, app: "web", options: MARKS };
  const { rootfs, lower } = await renderOverlay(request);
  assertEquals(lower.length, 128);
  assertEquals(await Deno.readTextFile(`${rootfs}/all`), "127");
  for (let i = 0; i < 128; i++) {
    assertEquals(await Deno.readTextFile(`${rootfs}/own/${i}`), `${i}`);
  }
  const [status] = await overlayStatus({ pod });
  assertEquals([status?.mounted, status?.lower], [true, lower]);
  assertEquals((await renderOverlay(request)).changed, false);
  await unmountOverlay({ pod });
  assertEquals(await mountsBelow(dir.path), []);
  // As an administrator would, from the file alone.
  const fstab = await Deno.readTextFile(`${pod}/overlay.fstab`);
  await Deno.writeTextFile(`${pod}/overlay.fstab`, fstab.replace(",noauto", ""));
  await sh("sh", "-c", `cd ${pod} && mount --all --fstab overlay.fstab`);
  assertEquals(await Deno.readTextFile(`${rootfs}/own/64`), "64");
  assertEquals((await renderOverlay(request)).changed, false);
  await sh("umount", rootfs);
});

Deno.test("the command imports, lists, checks and removes", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const run = (...args: string[]) => runMain(["tree", ...args, `--store=${store}`]);
  const imported = await run("import", source, ...ATTRIBUTE_FLAGS);
  const id = imported.stdout.trim();
  assertEquals([imported.status, ID.test(id)], [0, true]);
  assertEquals(imported.stderr.split("\n").filter((line) => line.startsWith("layer ")).length, 2);
  assertEquals((await run("import", source, "--quiet", ...ATTRIBUTE_FLAGS)).stderr, "");

  const list = await run("list");
  // Of the id, a table has the first digits.
  assertStringIncludes(list.stdout, id.slice("deps-sha512-".length).slice(0, 12));
  const json = JSON.parse((await run("list", "--json")).stdout);
  assertEquals([json.version, json.trees[0].images, json.trees[0].layers], [1, ["test"], 2]);
  assertEquals((await run("path", "test")).stdout.trim().split("\n").length, 2);

  assertEquals((await run("check", "test")).status, 0);
  const [layer = ""] = treePathSync({ store, tree: "test" });
  await Deno.writeTextFile(`${layer}/file`, "from an enemy");
  const checked = await run("check", "test");
  assertEquals(checked.status, 1);
  assertStringIncludes(checked.stdout, "/file sha256digest is ");
  assertEquals((await run("verify-all")).status, 1);

  const before = await snapshot(store);
  const { trees, layers } = JSON.parse((await run("gc", "--dry-run", "--json")).stdout);
  assertEquals([trees, layers], [[], []]);
  assertEquals(await snapshot(store), before);
  assertEquals((await run("remove", id)).stdout, `tree ${id}\n`);
  assertEquals((await run("gc")).stdout.trim().split("\n").length, 2);
  assertEquals((await run("list")).stderr, `no tree is in "${store}"\n`);
  const nothing = await runMain(["tree", "gc", "--store", dir.join("other")]);
  assertEquals([nothing.status, nothing.stdout, nothing.stderr], [0, "", ""]);
  const other = await runMain(["tree", "remove", "x", "--store", dir.join("other")]);
  assertStringIncludes(other.stderr, `overlay-render tree list --store ${dir.join("other")} says`);
  assertEquals(await isMissing(dir.join("other")), true);
  const error = await run("path", id);
  assertEquals([error.status, error.stdout], [1, ""]);
});

Deno.test("an import that cannot be done makes no store", async () => {
  await using dir = await tempDir();
  const source = await smallImage(dir);
  const table: readonly [source: string, store: string, status: number, says: string][] = [
    [dir.join("none"), dir.join("store"), 1, "it does not exist"],
    ["", dir.join("store"), 2, "none was given"],
    ["/dev/null", dir.join("store"), 1, "neither a file nor a directory"],
    [source, `${source}/store`, 3, `the tree store "${source}/store" lies in it`],
    [source, source, 3, "lies in it"],
  ];
  await sh("sh", "-c", 'echo | xz > "$1"', "sh", dir.join("a.xz"));
  const before = await snapshot(dir.path);
  const flags = [`--allow-read=${dir.path}`, `--allow-write=${dir.path}`];
  const run = "--allow-run=/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find";
  const args = ["tree", "import", dir.join("a.xz"), "--store", dir.join("store")];
  const lacking = await cli(args, { flags: [...flags, run, "--allow-sys=uid"] });
  assertEquals([lacking.status, lacking.stdout], [4, ""]);
  assertStringIncludes(lacking.stderr, "missing --allow-run=/bin/xz\n");
  const kept = await cli(["tree", "import", source, "--store", "/dev/shm/overlay-render"], {
    flags: ["--allow-read", "--allow-write", run, "--allow-sys=uid"],
  });
  assertEquals([kept.status, kept.stdout], [4, ""]);
  assertStringIncludes(kept.stderr, "hint: choose a directory that is not in /dev, /proc or /sys");
  for (const [from, store, status, says] of table) {
    const result = await runMain(["tree", "import", from, "--store", store]);
    assertEquals([result.status, result.stdout], [status, ""], says);
    assertStringIncludes(result.stderr, says);
  }
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("an image for another platform than the one asked for is refused", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const error = await assertRejects(
    () => importTree({ source, store, platform: "linux/arm64" }),
    OverlayError,
    'it is for "linux/amd64"',
  );
  assertEquals(error.code, "bad-image");
  await importTree({ source, store, platform: "linux/amd64", ...ATTRIBUTES });
});

Deno.test("the command refuses what it does not know", async () => {
  const table: readonly [args: string[], word: string][] = [
    [[], "a subcommand is required"],
    [["imp"], '"imp"'],
    [["import"], "SOURCE is required"],
    [["import", "a", "b"], '"b"'],
    [["check"], "ID is required"],
    [["list", "x"], '"x"'],
    [["list", "--quick"], "--quick"],
    [["import", "a", "--max-size", "1X"], '"1X"'],
    [["import", "a", "--max-entries", "0"], '"0"'],
    [["import", "a", "--platform", "linux"], '"linux"'],
    [["import", "a", "--name", "a b"], '"a b"'],
  ];
  for (const [args, word] of table) {
    const { status, stderr, stdout } = await runMain(["tree", ...args]);
    assertEquals([status, stdout], [2, ""], args.join(" "));
    assertStringIncludes(stderr, word);
  }
});

Deno.test("an import from stdin, with no more permissions than it says", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const archive = await layerArchive(dir.join("root"), { "etc/motd": "welcome" });
  await Deno.writeFile(dir.join("root.tar"), archive);
  await sh("gzip", dir.join("root.tar"));
  const flags = [
    `--allow-read=${store}`,
    `--allow-write=${store}`,
    "--allow-run=/bin/ln,/bin/tar,/bin/sync,/bin/rm,/bin/find",
    "--allow-sys=uid",
  ];
  const piped = ["sh", "-c", `exec "$@" <"$0"`, dir.join("root.tar.gz")];
  const args = ["tree", "import", "-", "--quiet", `--store=${store}`];
  const { status, stdout, stderr } = await cli(args, { flags, wrapper: piped });
  assertEquals([status, stderr], [0, ""]);
  assert(ID.test(stdout.trim()));
  for (const [at] of flags.entries()) {
    const less = await cli(args, { flags: flags.toSpliced(at, 1), wrapper: piped });
    assertEquals([less.status, less.stdout], [4, ""]);
    assertStringIncludes(less.stderr, "missing --allow-");
  }
});

Deno.test("a store that others can change is refused, and so is a link in its place", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  await Deno.mkdir(store);
  await Deno.chmod(store, 0o777);
  const shared = await assertRejects(() => importTree({ source, store }), RefusedError);
  assertEquals(shared.code, "shared-pod");
  assertEquals(await namesIn(store), []);
  const below = { source, store: `${store}/below` };
  const swappable = await assertRejects(() => importTree(below), RefusedError);
  assertEquals([swappable.code, await namesIn(store)], ["shared-pod", []]);
  await Deno.chmod(store, 0o700);
  await Deno.symlink(dir.join("pod-moved"), `${store}/layer`);
  await Deno.mkdir(dir.join("pod-moved"));
  const linked = await assertRejects(() => importTree({ source, store }), RefusedError);
  assertEquals(linked.code, "symlink");
  assertEquals(await namesIn(dir.join("pod-moved")), []);
});

Deno.test("what was written down and is damaged is found, and written anew by an import", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const [record = ""] = (await namesIn(`${store}/record`)).filter((name) => /json$/.test(name));
  for (const file of [`${store}/tree/${id}/manifest`, `${store}/record/${record}`]) {
    const good = await Deno.readTextFile(file);
    for (const bad of ["", "{", "[]", '{"version": 2}', good.slice(0, 20)]) {
      await Deno.writeTextFile(file, bad);
      const [checked] = await checkTrees({ store });
      assertEquals([checked?.id, (checked?.differences.length ?? 0) > 0], [id, true], bad);
      await importTree({ source, store, ...ATTRIBUTES });
      assertEquals(await checkTrees({ store }), [{ id, differences: [] }]);
      assertEquals(await Deno.readTextFile(file), good);
    }
  }
});

Deno.test("a second import waits for the first as long as it is told to", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  let refused: OverlayError | null = null;
  const onUnpacked = async () => {
    refused ??= await assertRejects(
      () => importTree({ source, store, ...ATTRIBUTES }, { waitMs: 0 }),
      RefusedError,
    );
  };
  const tried: Promise<void>[] = [];
  await importTree({ source, store, ...ATTRIBUTES }, {
    onUnpacked: () => void tried.push(onUnpacked()),
  });
  await Promise.all(tried);
  assertEquals((refused as OverlayError | null)?.code, "locked");
});

Deno.test({
  name: `on a terminal an import keeps one line up to date${
    await hasScript() ? "" : " [skipped: needs script(1)]"
  }`,
  ignore: !await hasScript(),
  fn: async () => {
    await using dir = await tempDir();
    const store = dir.join("store");
    const content = new Uint8Array(40_000_000);
    for (let at = 0; at < content.length; at += 64) content[at] = at % 251;
    const archive = await layerArchive(dir.join("root"), { "large": content });
    const source = dir.join("root.tar");
    await Deno.writeFile(source, archive);
    const args = ["tree", "import", source, `--store=${store}`];
    const { status, stdout } = await onTerminal(args, ["-A"]);
    assertEquals(status, 0);
    // deno-lint-ignore no-control-regex
    const lines = stdout.split(/\r\x1b\[K|\n/);
    const kept = /^layer 1 .*root\.tar: [\d.]+ \w+ of 38 MiB, [\d.]+ \w+\/s(, \d+ s left)?$/;
    assert(lines.some((line) => kept.test(line)), stdout);
    assert(lines.some((line) => /^layer 1 .*: 2 entries, 38 MiB$/.test(line)), stdout);
    const id = lines.find((line) => ID.test(line)) ?? "";
    assertEquals(listTreesSync({ store }).map((tree) => tree.id), [id]);
  },
});
