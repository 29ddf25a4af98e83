import { assertEquals, assertStringIncludes } from "@std/assert";
import { renderOverlay, unmountOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { importTree, resolveTreeSync } from "../../lib/store/tree.ts";
import { archive, archiveOfFiles, directory, file, layoutFiles, pax } from "../_archive.ts";
import { cli } from "../_cli.ts";
import { runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { kernelOptions, namesIn } from "../_tree.ts";

const LOWER = archive(file("d/below"), file("e/below"));

/** An image whose upper layer hides what is in `d` of the lower one. */
const IMAGE = archiveOfFiles(layoutFiles([
  { tar: LOWER },
  { tar: archive(directory("d"), file("d/.wh..wh..opq", ""), file("d/above")) },
]));

/** An image that says of itself what overlayfs would read, and must not. */
const FORGED = archiveOfFiles(layoutFiles([
  { tar: LOWER },
  {
    tar: archive(
      pax({ "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.overlay.opaque": "y" }),
      directory("d"),
      pax({
        "SCHILY.xattr.trusted.overlay.redirect": "/d",
        "SCHILY.xattr.user.overlay.redirect": "/d",
      }),
      directory("e"),
    ),
  },
]));

Deno.test("a tree of one class of marks is not rendered with the other", {
  ignore: !isRealRoot,
}, async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [dir.join("source"), dir.join("store"), dir.join("pod")];
  await Deno.writeFile(source, IMAGE);
  await importTree({ source, store, name: "root" });
  await importTree({ source, store, name: "user", userxattr: true });
  const render = (image: string, app: string, ...more: string[]) => {
    const flags = [`--store=${store}`, `--pod=${pod}`, `--image=${image}`, `--app=${app}`];
    return runMain(["render", ...flags, ...more]);
  };
  const refused = await render("root", "a", "--option=userxattr");
  assertEquals([refused.status, refused.stdout], [2, ""]);
  assertStringIncludes(refused.stderr, "it has directories that would not hide any more");
  for (
    const [image, app, ...more] of [["root", "b"], ["user", "c"], ["user", "d", "-o", "userxattr"]]
  ) {
    const { status, stdout, stderr } = await render(image ?? "", app ?? "", ...more);
    assertEquals([status, stderr], [0, ""]);
    assertEquals(await namesIn(`${stdout.trim()}/d`), ["above"]);
    assertEquals(await namesIn(`${stdout.trim()}/e`), ["below"]);
  }
});

Deno.test("overlayfs does not read what an image says to it, whatever the mount option", {
  ignore: !isRealRoot,
}, async () => {
  await using dir = await tempDir();
  const [source, store, pod] = [dir.join("source"), dir.join("store"), dir.join("pod")];
  await Deno.writeFile(source, FORGED);
  await importTree({ source, store, name: "forged" });
  const flags = [`--store=${store}`, `--pod=${pod}`, "--image=forged"];
  for (const [app, ...more] of [["a"], ["b", "--option=userxattr"]]) {
    const { status, stdout, stderr } = await runMain(["render", ...flags, `--app=${app}`, ...more]);
    assertEquals([status, stderr], [0, ""]);
    assertEquals(await namesIn(`${stdout.trim()}/d`), ["below"]);
    assertEquals(await namesIn(`${stdout.trim()}/e`), ["below"]);
  }
});

/** An image in which no directory hides anything. */
const PLAIN = archiveOfFiles(layoutFiles([{ tar: LOWER }]));

/** What is imported without a word of how it is marked: an image of layers, and a directory. */
async function putSources(dir: TempDir): Promise<readonly string[]> {
  await Deno.writeFile(dir.join("image"), PLAIN);
  await Deno.mkdir(dir.join("directory", "d"), { recursive: true });
  await Deno.writeTextFile(dir.join("directory", "d", "below"), "");
  return [dir.join("image"), dir.join("directory")];
}

Deno.test("what was imported for userxattr is mounted with it, though nothing in it is marked", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  for (const source of await putSources(dir)) {
    const { id } = await importTree({ source, store, userxattr: true });
    const request: RenderRequest = { tree: id, store, pod: dir.join("pod") };
    assertEquals(resolveTreeSync(request).options, ["userxattr"]);
    assertEquals(resolveTreeSync({ ...request, options: ["nodev", "userxattr"] }).options, [
      ...["nodev", "userxattr"],
    ]);
    const { rootfs } = await renderOverlay({ ...request, app: id.slice(-4) });
    assertEquals((await kernelOptions(rootfs)).includes("userxattr"), true);
    // It is no option of what is no overlay.
    for (const more of [{ readOnly: true }, { overlay: "never" }] as const) {
      const app = `${id.slice(-4)}-${Object.keys(more)[0]}`;
      const { rootfs } = await renderOverlay({ ...request, ...more, app });
      assertEquals(await namesIn(`${rootfs}/d`), ["below"]);
    }
    await unmountOverlay({ pod: request.pod });
  }
});

Deno.test(
  "a tree for userxattr is not that of the same image without",
  { ignore: !isRealRoot },
  async () => {
    await using dir = await tempDir();
    const store = dir.join("store");
    for (const source of await putSources(dir)) {
      const { id } = await importTree({ source, store, userxattr: true });
      const { id: other, changed } = await importTree({ source, store });
      assertEquals([id === other, changed], [false, true]);
      const request: RenderRequest = { tree: other, store, pod: dir.join("pod") };
      assertEquals(resolveTreeSync(request).options, undefined);
      assertEquals((await importTree({ source, store, userxattr: true })).changed, false);
    }
  },
);

Deno.test("in a user namespace a tree is imported and rendered so that a directory can be made again", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const enter = ["unshare", "--user", "--map-root-user", "--mount"];
  const script = 'R=$("$@") && rm -r "$R/d" && mkdir "$R/d" && ls -A "$R/d" && ls -A "$R"';
  for (const [at, source] of (await putSources(dir)).entries()) {
    const args = ["tree", "import", source, `--store=${store}`, `--name=${at}`, "--quiet"];
    const imported = await cli(args, { wrapper: enter });
    assertEquals([imported.status, imported.stderr], [0, ""]);
    const flags = [`--store=${store}`, `--pod=${dir.join("pod")}`, `--image=${at}`, `--app=${at}`];
    const wrapper = [...enter, "sh", "-c", script, "sh"];
    const { status, stdout, stderr } = await cli(["render", ...flags], { wrapper });
    assertEquals([status, stderr], [0, ""]);
    assertEquals(stdout.trim().split("\n"), at === 0 ? ["d", "e"] : ["d"]);
  }
});

Deno.test("a copy is made of a tree for userxattr where no overlay can be", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const [source = ""] = await putSources(dir);
  const { id } = await importTree({ source, store, userxattr: true });
  const names = ["lower", "upper", "work", "merged"].map((name) => dir.join(name));
  for (const name of names) await Deno.mkdir(name);
  const [lower, upper, work, merged = ""] = names;
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  await sh("mount", "-t", "overlay", "-o", options, "overlay", merged);
  const request = { tree: id, store, pod: `${merged}/pod`, app: "web", overlay: "auto" } as const;
  for (const changed of [true, false]) {
    const render = await renderOverlay(request);
    assertEquals([render.mounted, render.changed], [false, changed]);
    assertEquals(await namesIn(`${render.rootfs}/d`), ["below"]);
  }
});
