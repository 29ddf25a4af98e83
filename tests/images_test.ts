/**
 * Images made by the tools of others are imported and rendered, and then show what those tools show of
 * them, entry by entry.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  assertSameEntries,
  Buildah,
  directory,
  entry,
  imported,
  makeOdd,
  makeOdder,
  needs,
  put,
  renderedEntries,
  script,
  UmociImage,
  withoutRoot,
} from "./_tool_images.ts";
import { tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { namesIn } from "./_tree.ts";

const full = needs("umoci", "skopeo", "buildah");

/** Changes that leave nothing of a layer as it was. */
const CHANGES = String.raw`
umask 022
rm etc/hello; rm -r deep; rm fifo null
rm -r a/b; mkdir a/b; printf new >a/b/new
rm -r empty; ln -s a empty
rm dangling; mkdir dangling; printf in >dangling/file
rm zeros; mkdir zeros; printf in >zeros/file
rm -r bigdir; printf file >bigdir
rm a/two; printf other >a/two
chmod 0700 closed; chown 7:8 owner; chmod 0111 bin/suid
rm sda; mknod -m 0600 sda b 8 1
ln -sf elsewhere longlink
printf in >'größe €/more'
mkdir -p fresh/sub; printf f >fresh/sub/file; chmod 2750 fresh
`;

const ALL = `find . -type d -exec touch -d '2020-01-02 UTC' {} +\n`;

const AGAIN = String.raw`
umask 022
mkdir deep; printf again >deep/again; mkfifo fifo; printf back >etc/hello
rm empty; mkdir empty; printf full >empty/file
rm -r fresh
`;

/** What is rendered of an image is what umoci unpacks of it, and what buildah mounts. */
async function compare(
  dir: TempDir,
  image: UmociImage,
  drivers: readonly ("vfs" | "overlay")[],
): Promise<void> {
  const { id } = await imported(dir, image.layout);
  const is = await renderedEntries(dir, id);
  assertSameEntries(is, await image.entries(), "umoci");
  for (const driver of drivers) {
    const shown = await new Buildah(dir, driver).entries(`oci:${image.layout}:latest`);
    assertSameEntries(withoutRoot(is), shown, driver);
  }
}

Deno.test({
  name: `an image of umoci is what umoci and buildah show${full.suffix}`,
  ignore: full.ignore,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const image = await UmociImage.make(dir);
    await image.change((rootfs) => makeOdd(dir, rootfs));
    await image.change(async (rootfs) => {
      await script(dir, rootfs, CHANGES + ALL);
      await put(rootfs, entry("etc/attr", { attributes: new Map([["user.note", "changed"]]) }));
      await put(rootfs, directory("attr", { attributes: new Map([["user.more", "x"]]) }));
    });
    await image.change((rootfs) => script(dir, rootfs, AGAIN + ALL.replace("02", "03")));
    await compare(dir, image, ["vfs", "overlay"]);

    // Of a directory that became a link umoci writes whiteouts, into the link; buildah fails on overlayfs then.
    await image.change(async (rootfs) => {
      await script(
        dir,
        rootfs,
        "rm -r dangling; ln -s nowhere dangling; touch -d '2020-01-04 UTC' .",
      );
    });
    await compare(dir, image, ["vfs"]);
    const layers = await namesIn(dir.join("store/layer"));
    assertEquals(layers.length, 4, "layers are shared");

    await image.change((rootfs) => makeOdder(dir, rootfs));
    await compare(dir, image, []);
  },
});
