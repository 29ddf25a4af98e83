import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  MountError,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  renderPod,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { assertFails, flagsOf, runMain } from "../_main.ts";
import { keepMounts } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { STRANGER, swapping } from "../_swapper.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

const ROUNDS = 200;

interface Scene {
  /** The pod's own image. */
  readonly image: RenderRequest;
  /** An app whose destination lies in it. */
  readonly web: RenderRequest;
  readonly outer: string;
}

async function setUp(dir: TempDir): Promise<Scene> {
  await Deno.chmod(dir.path, 0o755);
  const pod = dir.join("pod");
  const stage1 = await makeTree(dir.join("stage1"));
  await Deno.mkdir(`${stage1}/apps`);
  const lower = await makeTree(dir.join("image"));
  const image = { lower: stage1, pod, dest: `${pod}/own`, options: MARKS };
  const outer = `${pod}/own/rootfs`;
  return {
    image,
    web: { lower, pod, app: "web", dest: `${outer}/apps/web`, options: MARKS },
    outer,
  };
}

Deno.test("overlay-render refuses a destination in an image that was mounted before", async () => {
  await using dir = await tempDir();
  const { image, web, outer } = await setUp(dir);
  await renderOverlay(image);
  const refused = {
    status: 3,
    code: "in-use",
    path: `${web.dest}/rootfs`,
    cause: "it lies in the rootfs of the pod's own image, in which something may run",
  };
  for (const command of ["render", "prepare"]) {
    await assertFails(dir.path, [command, ...flagsOf(web)], refused);
  }
  assertEquals(await mountsBelow(dir.path), [outer]);
  const { stderr } = await runMain(["render", ...flagsOf(web), "--live"]);
  assertEquals([stderr, await mountsBelow(dir.path)], ["", [outer, `${web.dest}/rootfs`]]);
});

Deno.test("renderPod() and restoreOverlays() mount an image and what lies in it in one call", async () => {
  await using dir = await tempDir();
  const { image, web, outer } = await setUp(dir);
  const { pod } = image;
  const apps = [{ ...image, app: "" }, { ...web, app: "web" }].map((request) => {
    const { pod: _pod, overlay: _overlay, ...app } = request;
    return app;
  });
  await renderPod({ pod, apps });
  const both = [outer, `${web.dest}/rootfs`];
  assertEquals(await mountsBelow(dir.path), both);
  await sh("umount", "--recursive", outer);
  assertEquals((await restoreOverlays({ pod })).failed, []);
  assertEquals(await mountsBelow(dir.path), both);
  // The second time all is there, and nothing is mounted.
  await renderPod({ pod, apps });
  await sh("umount", both[1] ?? "");
  const { restored, failed } = await restoreOverlays({ pod });
  assertEquals([restored, failed.map(({ app, code }) => [app, code])], [[], [["web", "in-use"]]]);
  await unmountOverlay({ pod });
  await renderOverlay(web);
  assertEquals(await mountsBelow(dir.path), both);
});

for (
  const [what, change] of [
    ["belongs to user", (path: string) => Deno.chown(path, STRANGER, STRANGER)],
    ["others than its owner can write", (path: string) => Deno.chmod(path, 0o775)],
  ] as const
) {
  Deno.test({
    name:
      `renderOverlay() refuses a live image of which a directory on the way ${what} [skipped: needs root]`,
    ignore: !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      const { image, web, outer } = await setUp(dir);
      await renderOverlay(image);
      await change(`${outer}/apps`);
      const error = await assertRejects(() => renderOverlay({ ...web, live: true }), RefusedError);
      assertEquals([error.code, error.path], ["shared-pod", `${outer}/apps`]);
      assert(error.message.includes(what), error.message);
      assertEquals(await mountsBelow(dir.path), [outer]);
    },
  });
}

for (const live of [false, true]) {
  Deno.test({
    name:
      `renderOverlay() ${live ? "with" : "without"} live mounts over no directory of the host, ` +
      `whoever swaps directories in the image [skipped: needs root]`,
    ignore: !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      const { image, web, outer } = await setUp(dir);
      await Deno.mkdir(dir.join("host"));
      await renderOverlay(image);
      await Deno.mkdir(`${web.dest}/rootfs`, { recursive: true });
      await Deno.symlink(dir.join("host"), `${web.dest}/other`);
      await sh(
        "chown",
        "--recursive",
        "--no-dereference",
        `${STRANGER}:${STRANGER}`,
        `${outer}/apps`,
      );
      await using _racer = swapping(`${web.dest}/rootfs`, `${web.dest}/other`);
      for (let round = 0; round < ROUNDS; round++) {
        await assertRejects(() => renderOverlay({ ...web, live }), RefusedError);
      }
      assertEquals(await mountsBelow(dir.path), [outer]);
    },
  });
}

/** Lowers whose names are too long to be given but relative to the pod. */
async function longLowers(dir: TempDir): Promise<string[]> {
  const names = [..."abcdefghijklmno"].map((letter) => dir.join("long", letter.repeat(200)));
  for (const path of names) await Deno.mkdir(path, { recursive: true });
  return names;
}

const KINDS: readonly (readonly [
  what: string,
  request: (dir: TempDir) => Promise<Partial<RenderRequest>>,
])[] = [
  ["an overlay", () => Promise.resolve({})],
  ["an overlay with relative options", async (dir) => ({ lower: await longLowers(dir) })],
  ["a read-only view", () => Promise.resolve({ readOnly: true, options: [] })],
  ["a read-only view of several lowers", async (dir) => {
    return {
      lower: [await makeTree(dir.join("a")), dir.join("image")],
      readOnly: true,
      options: [],
    };
  }],
];

for (const [what, kind] of KINDS) {
  Deno.test(`renderOverlay() takes back ${what} that a swapped directory led elsewhere`, async () => {
    await using dir = await tempDir();
    const { web } = await setUp(dir);
    await Deno.mkdir(dir.join("host"));
    const dest = dir.join("dest");
    const request = { ...web, ...await kind(dir), dest };
    await prepareOverlay(request);
    let swapped = false;
    // Between the last look and mount(8).
    const trace = (text: string) => {
      if (swapped || !text.startsWith("run /bin/mount ")) return;
      Deno.renameSync(`${dest}/rootfs`, `${dest}/aside`);
      Deno.symlinkSync(dir.join("host"), `${dest}/rootfs`);
      swapped = true;
    };
    await assertRejects(() => renderOverlay(request, { trace }), MountError);
    assertEquals([swapped, await mountsBelow(dir.path)], [true, []]);
  });
}

Deno.test({
  name: "renderPod() and restoreOverlays() mount nothing in an image that a container uses still " +
    "[skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const { image, web } = await setUp(dir);
    const { pod } = image;
    const apps = [image, web].map(({ app = "", lower = [], dest = "", options = [] }) => {
      return { app, lower, dest, options };
    });
    const both = { pod, apps };
    await renderPod(both);
    {
      await using _container = await keepMounts();
      for (const mount of (await mountsBelow(dir.path)).reverse()) await sh("umount", "--", mount);
      const { restored, failed } = await restoreOverlays({ pod });
      assertEquals([restored, failed.map(({ code }) => code)], [[], ["busy", "busy"]]);
      for (const render of [() => renderPod(both), () => renderOverlay(web)]) {
        const error = await assertRejects(render, RefusedError);
        assertEquals(error.code, "busy");
      }
      assertEquals(await mountsBelow(dir.path), []);
    }
    assertEquals((await restoreOverlays({ pod })).restored.length, 2);
  },
});

Deno.test("overlay-render refuses a destination in the live image of another pod", async () => {
  await using dir = await tempDir();
  const { image, web, outer } = await setUp(dir);
  await renderOverlay(image);
  const other = { ...web, pod: dir.join("other") };
  await Deno.symlink(outer, dir.join("link"));
  for (const dest of [`${outer}/apps/web`, `${outer}/web`, `${dir.join("link")}/web`]) {
    const request = { ...other, dest };
    const refused = { status: 3, code: "in-use", cause: `it lies in the rootfs "${outer}"` };
    await assertFails(dir.path, ["render", ...flagsOf(request)], refused);
  }
  const { stderr } = await runMain([
    "render",
    ...flagsOf({ ...other, dest: `${outer}/web` }),
    "--live",
  ]);
  assertEquals([stderr, await mountsBelow(dir.path)], ["", [outer, `${outer}/web/rootfs`]]);
});
