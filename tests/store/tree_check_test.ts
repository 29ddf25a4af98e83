import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError, renderOverlay, renderPod, unmountOverlay } from "../../mod.ts";
import {
  checkTrees,
  importTree,
  removeTree,
  resolveTreeSync,
  treePathSync,
} from "../../lib/store/tree.ts";
import { archive, archiveOfFiles, directory, file, layoutFiles } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { runMain } from "../_main.ts";
import { snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

/** What can become of the link with a short name to a layer, when all others are as they were. */
const LOSSES: readonly [what: string, lose: (link: string, other: string) => Promise<void>][] = [
  ["gone", (link) => Deno.remove(link)],
  ["a link to another layer", async (link, other) => {
    await Deno.remove(link);
    await Deno.symlink(await Deno.readLink(other), link);
  }],
  ["a link to nothing", async (link) => {
    await Deno.remove(link);
    await Deno.symlink("../layer/none", link);
  }],
  ["a file", async (link) => {
    await Deno.remove(link);
    await Deno.writeTextFile(link, "");
  }],
];

for (const [what, lose] of LOSSES) {
  Deno.test(`a short link that is ${what} is found by check and by render, and an import mends it`, async () => {
    await using dir = await tempDir();
    const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
    const { id } = await importTree({ source, store, ...ATTRIBUTES });
    const request = { image: "test", store, pod, app: "web", options: MARKS };
    const { lower, rootfs } = await renderOverlay(request);
    await unmountOverlay({ pod });
    const before = await snapshot(`${store}/l`);
    const [link = "", other = ""] = lower;
    await lose(link, other);
    const [checked] = await checkTrees({ store });
    assertEquals(checked?.differences.map(({ path }) => path), ["/"]);
    assertStringIncludes(checked?.differences[0]?.what ?? "", `"${link}" `);
    for (const named of [{ tree: id }, { image: "test" }]) {
      const lost = { ...named, store, pod: dir.join("other") };
      const error = await assertRejects(() => renderOverlay(lost), OverlayError, link);
      assertEquals([error.code, error.hint], ["bad-store", "import the image again"]);
      assert(await isMissing(lost.pod));
    }
    assertEquals((await runMain(["tree", "path", id, "--store", store])).status, 1);
    assertEquals((await runMain(["tree", "check", id, "--store", store])).status, 1);

    assertEquals((await importTree({ source, store, ...ATTRIBUTES })).changed, false);
    assertEquals(await snapshot(`${store}/l`), before);
    assertEquals(await checkTrees({ store }), [{ id, differences: [] }]);
    await renderOverlay(request);
    assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the top");
    await unmountOverlay({ pod });
  });
}

Deno.test("the link to the layer that says what the root is like is checked, too", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const layers = [
    { tar: archive(directory("./"), file("a")) },
    { tar: archive(file("b")) },
    { tar: archive(file("c/.wh..wh..opq", ""), file(".wh..wh..opq", "")) },
  ];
  await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const manifest = JSON.parse(await Deno.readTextFile(`${store}/tree/${id}/manifest`));
  assertEquals([manifest.lowers.length, typeof manifest.rootLike], [1, "string"]);
  const link = `${store}/l/${manifest.rootLike}`;
  await Deno.remove(link);
  assertStringIncludes((await checkTrees({ store }))[0]?.differences[0]?.what ?? "", link);
  const request = { tree: id, store, pod: dir.join("pod"), options: MARKS };
  await assertRejects(() => renderOverlay(request), OverlayError, link);
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay(request);
});

Deno.test("a layer that is gone is named by a render, and an import puts it back", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const [key = ""] = await namesIn(`${store}/layer`);
  await Deno.rename(`${store}/layer/${key}`, dir.join("gone"));
  const request = { tree: id, store, pod: dir.join("pod"), options: MARKS };
  const error = await assertRejects(() => renderOverlay(request), OverlayError, key);
  assertEquals([error.code, error.hint], ["bad-store", "import the image again"]);
  await importTree({ source, store, ...ATTRIBUTES });
  await renderOverlay(request);
});

Deno.test("tree check --quick says so when find cannot be run", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const script = 'mount --bind "$0" /bin/find && exec "$@"';
  const wrapper = ["unshare", "--mount", "sh", "-c", script, `${store}/tree/${id}/manifest`];
  for (const args of [["check", id], ["verify-all"]]) {
    const { status, stdout, stderr } = await cli(
      ["tree", ...args, "--quick", `--store=${store}`],
      { wrapper },
    );
    assertEquals([status, stdout], [1, ""]);
    assertEquals(stderr.split("\n").length, 3, stderr);
    assertStringIncludes(stderr, 'error: Cannot run "/bin/find": ');
    assertStringIncludes(stderr, "hint: it must be the program of GNU findutils, and executable\n");
  }
});

Deno.test("a tree id that the store does not have is answered as that, by every command", async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [await smallImage(dir), dir.join("store"), dir.join("pod")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  await removeTree({ store, tree: id });
  for (const tree of ["nope", id]) {
    for (const command of ["plan", "prepare", "render"]) {
      const args = [command, "--tree", tree, "--store", store, "--pod", pod];
      const { status, stdout, stderr } = await runMain(args);
      assertEquals([status, stdout], [1, ""]);
      assertEquals(stderr.split("\n"), [
        `error: Cannot use tree "${tree}": there is none in "${store}"`,
        `hint: overlay-render tree list --store ${store} says which there are`,
        "",
      ]);
    }
    const spec = { pod, store, apps: [{ app: "a", tree }] };
    const error = await assertRejects(() => renderPod(spec), OverlayError, "apps[0]");
    assertStringIncludes(error.hint ?? "", "tree list");
  }
  assert(await isMissing(pod));
  // What was made by hand is a directory and nothing else.
  await Deno.mkdir(`${store}/tree/mine/rootfs`, { recursive: true });
  const mine = { tree: "mine", store, pod };
  assertEquals(resolveTreeSync(mine), mine);
  await assertRejects(async () => await Promise.resolve(treePathSync(mine)), OverlayError);
  assertEquals((await renderOverlay({ ...mine, options: MARKS })).lower, [
    `${store}/tree/mine/rootfs`,
  ]);
});
