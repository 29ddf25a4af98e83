/**
 * What belongs to somebody else stays as it is: mounts of other pods, files beside a rootfs, directories
 * behind links.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  MountError,
  OverlayError,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { mountTooDeep } from "../_disks.ts";
import { disk } from "../_main.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

async function setUp(dir: TempDir): Promise<{ lower: string; other: string }> {
  return { lower: await makeTree(dir.join("image")), other: await makeTree(dir.join("other")) };
}

Deno.test("renderOverlay() that fails leaves the same view of another pod mounted", async () => {
  await using dir = await tempDir();
  const { lower, other } = await setUp(dir);
  const view: RenderRequest = { lower: [lower, other], pod: dir.join("one"), readOnly: true };
  await renderOverlay(view);
  // By now something else has the name, of which no view can be made.
  await mountTooDeep(other);
  const mounts = await mountsBelow(dir.path);
  const bad = { ...view, pod: dir.join("two") };
  await assertRejects(() => renderOverlay(bad), MountError);
  assertEquals(await mountsBelow(dir.path), mounts);
  assert(await isMissing(bad.pod));
});

Deno.test("renderOverlay() that ends just after the mount takes it back before what it is made of", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
  const before = await disk(dir.path);
  const checkpoint = (step: string) => {
    if (step === "mounted") throw new Error("stopped");
  };
  await assertRejects(() => renderOverlay(request, { checkpoint }), Error, "stopped");
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderOverlay() without overlay leaves what lies beside the rootfs", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  const dest = dir.join("dest");
  await Deno.mkdir(`${dest}/rootfs.new`, { recursive: true });
  await Deno.writeTextFile(`${dest}/rootfs.new/mine`, "");
  await renderOverlay({ lower, pod: dir.join("pod"), app: "web", dest, overlay: "never" });
  assertEquals(await Deno.readTextFile(`${dest}/rootfs.new/mine`), "");
  assertEquals(await Deno.readTextFile(`${dest}/rootfs/file`), "from the tree");
});

Deno.test("restoreOverlays() mounts nothing behind a link", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  const pod = dir.join("pod");
  const { rootfs } = await renderOverlay({ lower, pod, app: "web", options: MARKS });
  await sh("umount", "--", rootfs);
  await Deno.mkdir(dir.join("host"));
  await Deno.remove(rootfs);
  await Deno.symlink(dir.join("host"), rootfs);
  const { restored, failed } = await restoreOverlays({ pod });
  assertEquals([restored, failed.map(({ app, code }) => [app, code])], [[], [["web", "symlink"]]]);
  assertEquals(await mountsBelow(dir.path), []);

  await Deno.remove(rootfs);
  await Deno.rename(`${pod}/apps`, dir.join("moved"));
  await Deno.symlink(dir.join("moved"), `${pod}/apps`);
  assertEquals((await restoreOverlays({ pod })).restored, []);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("a copy of a pod with a view leaves the mounts of the pod alone", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  const pod = dir.join("pod");
  await renderOverlay({ lower, pod, app: "view", readOnly: true });
  const mounts = await mountsBelow(dir.path);
  const copy = dir.join("copy");
  await sh("cp", "-a", "--one-file-system", pod, copy);
  for (
    const act of [
      () => unmountOverlay({ pod: copy }),
      () => collectPods({ pod: copy }),
      () => restoreOverlays({ pod: copy }),
      () => renderOverlay({ lower, pod: copy, app: "web", options: MARKS }),
    ]
  ) {
    const error = await assertRejects(act, RefusedError);
    assertEquals(error.code, "pod-moved");
  }
  assertEquals(await mountsBelow(dir.path), mounts);
});

Deno.test("collectPods() of a pod that it refuses stops none of its apps", async () => {
  await using dir = await tempDir();
  const pod = dir.join("pods", "pod");
  await Deno.mkdir(pod, { recursive: true, mode: 0o750 });
  await Deno.chmod(pod, 0o750);
  const lower = await makeTree(`${pod}/image`);
  await renderOverlay({ lower, pod, app: "web", options: MARKS });
  const before = await disk(dir.path);
  const error = await assertRejects(() => collectPods({ pod }), RefusedError);
  assertStringIncludes(error.message, "lies in it");
  assertEquals(await disk(dir.path), before);
  await unmountOverlay({ pod });
  await assertRejects(() => collectPods({ pod }), RefusedError);
});

Deno.test("collectPods() takes a pod by every spelling of its path", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  await Deno.mkdir(dir.join("pods"));
  const pod = dir.join("pods", "one");
  await prepareOverlay({ lower, pod, app: "web" });
  assertEquals((await collectPods({ pod: `${pod}//` })).removed.length, 1);
  await assertRejects(() => collectPods({ pod: "relative" }), OverlayError, "relative");
});

Deno.test("renderOverlay() keeps a destination off the pod's own state", async () => {
  await using dir = await tempDir();
  const { lower } = await setUp(dir);
  const pod = dir.join("pod");
  for (const name of ["overlay.mount", "overlay.fstab.new", "overlay.lock"]) {
    const request = { lower, pod, app: "web", dest: `${pod}/${name}` };
    await assertRejects(() => renderOverlay(request), OverlayError, "keeps its own state");
  }
  assert(await isMissing(pod));
});
