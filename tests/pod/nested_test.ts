import { assertEquals, assertRejects } from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, mountsOn } from "../_tree.ts";

interface Requests {
  /** Of the pod's own image. */
  readonly image: RenderRequest;
  /** Of an app that lies in it. */
  readonly web: RenderRequest;
}

async function setUp(dir: TempDir): Promise<Requests> {
  const pod = dir.join("pod");
  const [stage1, lower] = [await makeTree(dir.join("stage1")), await makeTree(dir.join("image"))];
  return {
    image: { lower: stage1, pod, layout: "rkt", options: MARKS },
    web: { lower, pod, app: "web", layout: "rkt", options: MARKS, live: true },
  };
}

async function mountedApps(pod: string): Promise<string[]> {
  return (await overlayStatus(pod)).filter(({ mounted }) => mounted).map(({ app }) => app);
}

Deno.test("renderOverlay() makes an app's directories in the pod's own image", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const lowers = [await snapshot(dir.join("stage1")), await snapshot(dir.join("image"))];
  const outer = await renderOverlay(image);
  const inner = await renderOverlay(web);
  assertEquals(outer.rootfs, `${image.pod}/stage1/rootfs`);
  assertEquals(inner.rootfs, `${outer.rootfs}/opt/stage2/web/rootfs`);
  assertEquals(await mountsBelow(dir.path), [outer.rootfs, inner.rootfs]);
  for (const name of ["opt", "opt/stage2", "opt/stage2/web"]) {
    assertEquals([name, modeOf(`${outer.upper}/${name}`)], [name, "0750"]);
  }
  await Deno.writeTextFile(`${inner.rootfs}/made`, "inner");
  await Deno.writeTextFile(`${outer.rootfs}/made`, "outer");
  assertEquals(await Deno.readTextFile(`${inner.upper}/made`), "inner");
  assertEquals(await Deno.readTextFile(`${outer.upper}/made`), "outer");
  await unmountOverlay({ pod: image.pod });
  assertEquals([await snapshot(dir.join("stage1")), await snapshot(dir.join("image"))], lowers);
});

Deno.test("renderOverlay() uses the directories that the image has for its apps", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  await Deno.mkdir(dir.join("stage1", "opt"));
  await Deno.chmod(dir.join("stage1", "opt"), 0o711);
  const outer = await renderOverlay(image);
  await renderOverlay(web);
  assertEquals(modeOf(`${outer.rootfs}/opt`), "0711");
  assertEquals(modeOf(`${outer.rootfs}/opt/stage2`), "0750");
});

Deno.test("renderOverlay() of an app mounts the pod's own image first, as after a reboot", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const outer = await renderOverlay(image);
  const inner = await renderOverlay(web);
  await Deno.writeTextFile(`${inner.rootfs}/made`, "inner");
  await sh("umount", "--recursive", outer.rootfs);
  assertEquals(await mountsBelow(dir.path), []);

  const again = await renderOverlay(web);
  assertEquals(again.changed, true);
  assertEquals(await mountsBelow(dir.path), [outer.rootfs, inner.rootfs]);
  assertEquals(await mountedApps(web.pod), ["", "web"]);
  assertEquals(await Deno.readTextFile(`${inner.rootfs}/made`), "inner");
});

Deno.test("renderOverlay() of another app mounts the pod's own image first, as after a reboot", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const outer = await renderOverlay(image);
  await renderOverlay(web);
  await sh("umount", "--recursive", outer.rootfs);

  const db = await renderOverlay({ ...web, app: "db" });
  assertEquals(db.rootfs, `${outer.rootfs}/opt/stage2/db/rootfs`);
  // Its directories are in the image, not below the place where that is mounted.
  assertEquals(await isMissing(`${outer.upper}/opt/stage2/db/rootfs`), false);
  // Nobody asked for the other one.
  assertEquals(await mountedApps(web.pod), ["", "db"]);
});

Deno.test("mount --all mounts a pod with its own image in the right order", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const outer = await renderOverlay(image);
  const inner = await renderOverlay(web);
  await sh("umount", "--recursive", outer.rootfs);
  await sh("mount", "--all", "--fstab", `${web.pod}/overlay.fstab`);
  assertEquals(await mountsBelow(dir.path), [outer.rootfs, inner.rootfs]);
  assertEquals(await mountedApps(web.pod), ["", "web"]);
});

Deno.test("renderOverlay() of an app after an unmount makes mount --all mount its image too", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const outer = await renderOverlay(image);
  const inner = await renderOverlay(web);
  await unmountOverlay({ pod: web.pod });
  await renderOverlay(web);
  assertEquals(await mountsBelow(dir.path), [outer.rootfs, inner.rootfs]);
  await sh("umount", "--recursive", outer.rootfs);
  await sh("mount", "--all", "--fstab", `${web.pod}/overlay.fstab`);
  assertEquals(await mountsBelow(dir.path), [outer.rootfs, inner.rootfs]);
});

Deno.test("overlay-render render refuses the pod's own image after apps", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const { rootfs } = await renderOverlay(web);
  const args = ["--lower", `${image.lower}`, "--pod", image.pod, "--layout", "rkt", "--json"];
  for (const mounted of [true, false]) {
    if (!mounted) await unmountOverlay({ pod: web.pod });
    const before = await snapshot(dir.path);
    const { status, stdout } = await cli(["render", ...args]);
    const { error } = JSON.parse(stdout);
    assertEquals([status, error.code, error.path], [3, "in-use", `${image.pod}/stage1/rootfs`]);
    assertEquals(await snapshot(dir.path), before);
    assertEquals(await mountsBelow(dir.path), mounted ? [rootfs] : []);
  }
});

Deno.test("renderOverlay() refuses an app from its image's tree id", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  await renderOverlay(image);
  const before = await snapshot(dir.path);
  const error = await assertRejects(
    () => renderOverlay({ ...web, lower: `${image.lower}` }),
    RefusedError,
  );
  assertEquals(error.code, "in-use");
  assertEquals(await snapshot(dir.path), before);
});

/** What an image may hold where its apps' directories belong, and what is refused about it. */
const TRAPS = [
  ["opt", "a symlink out of the image", true],
  ["opt/stage2", "a symlink out of the image", true],
  ["opt/stage2/web", "a symlink out of the image", true],
  ["opt/stage2/web/rootfs", "a symlink out of the image", true],
  ["opt", "a file", false],
] as const;

for (const [place, what, isLink] of TRAPS) {
  Deno.test(`renderOverlay() refuses an image with ${what} as ${place}`, async () => {
    await using dir = await tempDir();
    const { image, web } = await setUp(dir);
    await Deno.mkdir(dir.join("outside"));
    const trap = dir.join("stage1", place);
    await Deno.mkdir(trap.slice(0, trap.lastIndexOf("/")), { recursive: true });
    if (isLink) await Deno.symlink(dir.join("outside"), trap);
    else await Deno.writeTextFile(trap, "");
    const { rootfs } = await renderOverlay(image);
    const [before, below] = [await snapshot(dir.path), await snapshot(rootfs)];

    const error = await assertRejects(() => renderOverlay(web), OverlayError);
    const code = isLink ? "symlink" : "not-a-directory";
    assertEquals([error.code, error.path], [code, `${rootfs}/${place}`]);
    assertEquals(error instanceof RefusedError, isLink);
    assertEquals([await snapshot(dir.path), await snapshot(rootfs)], [before, below]);
    assertEquals(await mountsBelow(dir.path), [rootfs]);

    // The same when the image has to be mounted first: that is taken back too.
    await sh("umount", rootfs);
    const unmounted = await snapshot(dir.path);
    await assertRejects(() => renderOverlay(web), OverlayError);
    assertEquals(await mountsBelow(dir.path), []);
    assertEquals(await snapshot(dir.path), unmounted);
  });
}

Deno.test("prepareOverlay() of an app needs the pod's own image to be mounted", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const { rootfs } = await prepareOverlay(image);
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => prepareOverlay(web), OverlayError);
  assertEquals(error.path, rootfs);
  assertEquals(await snapshot(dir.path), before);
  assertEquals(await mountsBelow(dir.path), []);
  await renderOverlay(image);
  const prepared = await prepareOverlay(web);
  assertEquals([prepared.changed, prepared.mounted], [true, false]);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
});

Deno.test("renderOverlay() refuses an app whose image has something else mounted on it", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const { rootfs } = await renderOverlay(image);
  await sh("mount", "-t", "tmpfs", "tmpfs", rootfs);
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => renderOverlay(web), RefusedError);
  assertEquals([error.code, error.path], ["foreign-mount", rootfs]);
  assertEquals(await snapshot(dir.path), before);
  assertEquals(await mountsOn(rootfs), 2);
});

Deno.test("renderOverlay() nests a read-only image only if it has the apps' directories", async () => {
  await using dir = await tempDir();
  const { image, web } = await setUp(dir);
  const { options: _options, ...view } = image;
  const { rootfs } = await renderOverlay({ ...view, readOnly: true });
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => renderOverlay(web), OverlayError);
  assertEquals([error.code, error.path], ["failed", `${rootfs}/opt`]);
  assertEquals(await snapshot(dir.path), before);
  await unmountOverlay({ pod: image.pod });
  await Deno.mkdir(dir.join("stage1/opt/stage2/web/rootfs"), { recursive: true });
  await renderOverlay({ ...view, readOnly: true });
  const inner = await renderOverlay(web);
  assertEquals(await mountsBelow(dir.path), [rootfs, inner.rootfs]);
});
