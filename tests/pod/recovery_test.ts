/**
 * What can be done in a pod after something went wrong outside of it.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { prepareOverlay, renderOverlay } from "../../lib/api/render.ts";
import type { RenderRequest } from "../../lib/request/options.ts";
import { overlayStatus } from "../../lib/api/status.ts";
import { unmountOverlay } from "../../lib/api/unmount.ts";
import { cli } from "../_cli.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** A file system of one megabyte, and what fills it. */
async function smallDisk(dir: TempDir): Promise<{ path: string; fill(): Promise<void> }> {
  const path = dir.join("disk");
  await Deno.mkdir(path);
  await sh("mount", "-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", "--", path);
  const fill = async () => {
    const file = `if=/dev/zero of=${path}/filler bs=4096`.split(" ");
    const { success } = await new Deno.Command("dd", { args: file, stderr: "null" }).output();
    assertEquals(success, false, "the disk did not grow full");
  };
  return { path, fill };
}

Deno.test("renderOverlay() leaves nothing on a disk that is full", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const disk = await smallDisk(dir);
  await disk.fill();
  const before = await snapshot(disk.path);
  const pod = `${disk.path}/pod`;
  const error = await assertRejects(
    () => renderOverlay({ lower, pod, options: MARKS }),
    OverlayError,
  );
  assertEquals(error.code, "failed");
  assertStringIncludes(error.message, "No space left on device");
  assertMatch(error.hint ?? "", /free some space/);
  assertEquals(await snapshot(disk.path), before);
});

Deno.test("unmountOverlay() unmounts on a disk that is full, and says what it could not note", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const disk = await smallDisk(dir);
  const pod = `${disk.path}/pod`;
  const { rootfs } = await renderOverlay({ lower, pod, app: "web", options: MARKS });
  await disk.fill();
  const error = await assertRejects(() => unmountOverlay({ pod }), OverlayError);
  assertStringIncludes(error.message, "No space left on device");
  assertMatch(
    error.hint ?? "",
    /^what could be unmounted is, but mount --all would mount it again/,
  );
  assertEquals((await mountsBelow(dir.path)).includes(rootfs), false);

  await Deno.remove(`${disk.path}/filler`);
  assertEquals(await unmountOverlay({ pod }), { pod, unmounted: [] });
  assertMatch(await Deno.readTextFile(`${pod}/overlay.fstab`), /,noauto,/);
});

async function volatileApp(dir: TempDir): Promise<RenderRequest> {
  const lower = await makeTree(dir.join("image"));
  return { lower, pod: dir.join("pod"), app: "web", options: [...MARKS, "volatile"] };
}

Deno.test("renderOverlay() renders a volatile app again after it was unmounted in order", async () => {
  await using dir = await tempDir();
  const request = await volatileApp(dir);
  const { rootfs, work } = await renderOverlay(request);
  await Deno.writeTextFile(`${rootfs}/made`, "kept");
  await unmountOverlay({ pod: request.pod });
  assertEquals((await sh("find", `${work}`, "-name", "volatile")).trim(), "");
  await renderOverlay(request);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "kept");
});

Deno.test("renderOverlay() says what a volatile app that was not unmounted in order needs", async () => {
  await using dir = await tempDir();
  const request = await volatileApp(dir);
  const { rootfs, work } = await renderOverlay(request);
  // As after a crash: the mount is gone, and nobody cleared the mark.
  await sh("umount", "--", rootfs);
  const error = await assertRejects(() => renderOverlay(request), OverlayError);
  assertEquals([error.code, error.exitStatus], ["volatile", 3]);
  assertStringIncludes(error.hint ?? "", `rm -r ${work}/work/incompat`);
  await sh("rm", "-r", "--", `${work}/work/incompat`);
  await renderOverlay(request);
});

Deno.test("overlay-render unmount prints what it unmounted when an app is in use", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const rootfs: string[] = [];
  for (const app of ["one", "two"]) {
    rootfs.push((await renderOverlay({ lower, pod, app, options: MARKS })).rootfs);
  }
  const [one = "", two = ""] = rootfs;
  await using user = new Deno.Command("sleep", { args: ["3600"], cwd: one }).spawn();
  const { status, stdout, stderr } = await cli(["unmount", "--pod", pod]);
  assertEquals([status, stdout], [1, `${two}\n`]);
  assertStringIncludes(stderr, `Cannot unmount "${one}"`);
  const json = await cli(["unmount", "--pod", pod, "--json"]);
  const answer = JSON.parse(json.stdout);
  assertEquals([json.status, answer.error.code, answer.unmounted], [1, "busy", []]);
  user.kill();
});

Deno.test("overlay-render says that its output could not be written", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const wrapper = ["sh", "-c", 'exec "$@" > /dev/full', "sh"];
  const { status, stderr } = await cli(["plan", "--lower", lower, "--pod", "/pod"], { wrapper });
  assertEquals(status, 1);
  assertMatch(stderr, /^error: Cannot write .*No space left on device.*\nhint: .*\n$/);
});

Deno.test("overlay-render status says so when nothing is rendered", async () => {
  await using dir = await tempDir();
  const { status, stdout, stderr } = await cli(["status", "--pod", dir.path]);
  assertEquals([status, stdout, stderr], [0, "", `nothing is rendered in "${dir.path}"\n`]);
  assertEquals((await cli(["status", "--pod", dir.path, "--quiet"])).stderr, "");
});

Deno.test("overlayStatus() reads what an administrator wrote", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  await prepareOverlay({ lower, pod, app: "web", options: MARKS });
  const fstab = `${pod}/overlay.fstab`;
  const text = await Deno.readTextFile(fstab);
  await Deno.writeTextFile(fstab, `\ufeff# ours\n\n${text}${text.split("\n")[2]}\n`);
  const apps = (await overlayStatus(pod)).map(({ app }) => app);
  assertEquals(apps, ["web", "web"]);
  // Two lines of one app would be mounted one on the other.
  await renderOverlay({ lower, pod, app: "web", options: MARKS });
  const after = await Deno.readTextFile(fstab);
  assert(after.startsWith("\ufeff# ours\n\n"));
  assertEquals(after.split("X-overlay-render.app=web").length, 2);
  await Deno.writeFile(fstab, new Uint8Array([0xff, 0x0a]));
  const error = await assertRejects(() => overlayStatus(pod), OverlayError, "not valid UTF-8");
  assertEquals([error.path, error.exitStatus], [fstab, 3]);
  await sh("umount", "--", `${pod}/apps/web/rootfs`);
});
