import { assertEquals, assertStringIncludes } from "@std/assert";
import { importTree } from "../lib/tree.ts";
import { archive, archiveOfFiles, directory, file, layoutFiles, pax } from "./_archive.ts";

import { runMain } from "./_main.ts";
import { isRealRoot } from "./_privilege.ts";
import { tempDir } from "./_temp.ts";
import { namesIn } from "./_tree.ts";

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
