/**
 * Mounts that are not where, what or whose they seem: nothing is taken for ours that is not, nothing
 * of others is mounted, unmounted or written through.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { MountError, OverlayError, RefusedError } from "../../lib/core/errors.ts";
import { podLayout } from "../../lib/request/layout.ts";
import { prepareOverlay, renderOverlay } from "../../lib/api/render.ts";
import type { RenderRequest } from "../../lib/request/options.ts";
import { overlayStatus } from "../../lib/api/status.ts";
import { unmountOverlay } from "../../lib/api/unmount.ts";
import { cli } from "../_cli.ts";
import { mountTooDeep } from "../_disks.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

interface Scene {
  readonly lower: string;
  readonly pod: string;
  readonly app: string;
  readonly options: readonly string[];
}

async function setUp(dir: TempDir): Promise<Scene> {
  const lower = await makeTree(dir.join("image"));
  return { lower, pod: dir.join("pod"), app: "web", options: MARKS };
}

/** What another process may do between the making of a pod and its locking. */
function writeAtLock(fstab: string, text: string): (line: string) => void {
  return (line) => {
    if (line.startsWith("lock ")) Deno.writeTextFileSync(fstab, text);
  };
}

Deno.test("renderOverlay() keeps what another process recorded in a new pod before it was locked", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  await prepareOverlay({ ...scene, app: "db" });
  const { fstab } = podLayout(scene.pod);
  const text = await Deno.readTextFile(fstab);
  const trace = writeAtLock(fstab, text);

  await sh("rm", "-r", "--", scene.pod);
  const bad = { ...scene, lower: await mountTooDeep(dir.join("deep", "image")) };
  await assertRejects(() => renderOverlay(bad, { trace }), MountError);
  assertEquals(await Deno.readTextFile(fstab), text);

  await sh("rm", "-r", "--", scene.pod);
  await renderOverlay(scene, { trace });
  assertEquals((await overlayStatus(scene.pod)).map(({ app }) => app), ["db", "web"]);
});

Deno.test("a read-only view is never one that can be written through", async () => {
  await using dir = await tempDir();
  const scene = { ...await setUp(dir), options: [], readOnly: true };
  const { rootfs } = await prepareOverlay(scene);
  await sh("mount", "--bind", "--", scene.lower, rootfs);
  assertEquals((await overlayStatus(scene.pod)).map(({ mounted }) => mounted), [false]);
  const error = await assertRejects(() => renderOverlay(scene), RefusedError);
  assertEquals(error.code, "foreign-mount");
  await sh("umount", "--", rootfs);
  await renderOverlay(scene);
  await assertRejects(() => Deno.writeTextFile(`${rootfs}/made`, ""), Error, "Read-only");
});

Deno.test("overlay-render render takes back a view that stays writable in a user namespace", async () => {
  await using dir = await tempDir();
  const disk = dir.join("disk");
  await Deno.mkdir(disk);
  await sh("mount", "-t", "tmpfs", "-o", "nosuid,nodev", "tmpfs", "--", disk);
  const lower = await makeTree(`${disk}/image`);
  const before = await snapshot(disk);
  const wrapper = ["unshare", "--user", "--map-root-user", "--mount"];
  const args = ["--lower", lower, "--pod", `${disk}/pod`, "--app", "web", "--read-only"];
  const { status, stderr } = await cli(["render", ...args], { wrapper });
  assertEquals(status, 1);
  assertStringIncludes(stderr, "--option nosuid --option nodev");
  assertEquals(await snapshot(disk), before);
  const done = await cli(["render", ...args, "-o", "nosuid", "-o", "nodev"], { wrapper });
  assertEquals([done.status, done.stderr], [0, ""]);
});

Deno.test("overlay-render status and unmount work on a view with the flags of their help", async () => {
  await using dir = await tempDir();
  const scene = { ...await setUp(dir), options: [], readOnly: true };
  await renderOverlay(scene);
  const read = `--allow-read=${scene.pod},${scene.lower}`;
  const findmnt = "/bin/findmnt,/bin/find";
  const status = await cli(["status", "--pod", scene.pod], {
    flags: [read, `--allow-run=${findmnt}`, "--allow-sys=uid"],
  });
  assertEquals([status.status, status.stderr], [0, ""]);
  const least = [
    `--allow-write=${scene.pod}`,
    `--allow-run=/bin/umount,${findmnt}`,
    "--allow-sys=uid",
  ];
  const args = ["unmount", "--pod", scene.pod];
  const before = await snapshot(dir.path);
  const refused = await cli(args, { flags: [`--allow-read=${scene.pod}`, ...least] });
  assertEquals(refused.status, 4);
  assertStringIncludes(refused.stderr, `--allow-read=${scene.lower}`);
  assertEquals(await snapshot(dir.path), before);
  assertEquals((await cli(args, { flags: [read, ...least] })).status, 0);
});

Deno.test("renderOverlay() refuses the rootfs of another app of the pod", async () => {
  await using dir = await tempDir();
  const scene = { ...await setUp(dir), dest: dir.join("dest") };
  const { rootfs } = await renderOverlay(scene);
  await sh("umount", "--", rootfs);
  const error = await assertRejects(() => renderOverlay({ ...scene, app: "db" }), RefusedError);
  assertEquals([error.code, error.path], ["in-use", rootfs]);
});

Deno.test("a pod that is copied, moved or named in two ways is refused, and nothing is done", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const { rootfs } = await renderOverlay(scene);
  await Deno.writeTextFile(`${rootfs}/made`, "kept");
  await sh("cp", "-a", "--one-file-system", "--", scene.pod, dir.join("copy"));
  await Deno.mkdir(dir.join("real"));
  await Deno.symlink(dir.path, dir.join("link"));
  const mounts = await mountsBelow(dir.path);
  for (const pod of [dir.join("copy"), dir.join("link", "pod")]) {
    const before = await snapshot(dir.path);
    for (const act of [renderOverlay, prepareOverlay]) {
      const error = await assertRejects(() => act({ ...scene, pod, app: "db" }), RefusedError);
      assertEquals([error.code, error.path], ["pod-moved", pod]);
    }
    const error = await assertRejects(() => unmountOverlay({ pod }), RefusedError);
    assertEquals(error.code, "pod-moved");
    assertEquals([await snapshot(dir.path), await mountsBelow(dir.path)], [before, mounts]);
  }
});

/** Renders whose lines name no upper, or one that would fit every pod. */
const PLACELESS: readonly (readonly [what: string, change: Partial<RenderRequest>])[] = [
  ["a view", { readOnly: true, options: [] }],
  ["a copy", { overlay: "never", options: [] }],
];

for (const [what, change] of PLACELESS) {
  for (const layout of ["default", "rkt"] as const) {
    for (const app of ["web", ""]) {
      const name = `${what} in layout ${layout}, app ${JSON.stringify(app)}`;

      Deno.test(`a pod that is copied is told by its destination: ${name}`, async () => {
        await using dir = await tempDir();
        const scene = { ...await setUp(dir), ...change, app, layout };
        await renderOverlay(scene);
        await sh("cp", "-a", "--one-file-system", "--", scene.pod, dir.join("copy"));
        const mounts = await mountsBelow(dir.path);
        for (
          const act of [
            unmountOverlay,
            ({ pod }: { pod: string }) => renderOverlay({ ...scene, pod }),
          ]
        ) {
          const error = await assertRejects(() => act({ pod: dir.join("copy") }), RefusedError);
          assertEquals([error.code, error.path], ["pod-moved", dir.join("copy")]);
        }
        assertEquals(await mountsBelow(dir.path), mounts);
      });

      Deno.test(`a destination outside the pod is no sign of a copy: ${name}`, async () => {
        await using dir = await tempDir();
        const dest = dir.join("apps/web");
        await Deno.mkdir(dir.join("apps"));
        const scene = { ...await setUp(dir), ...change, app, layout, dest };
        await renderOverlay(scene);
        assertEquals((await renderOverlay(scene)).changed, false);
        const { unmounted } = await unmountOverlay({ pod: scene.pod });
        assertEquals(unmounted.length, what === "a copy" ? 0 : 1);
      });
    }
  }
}

Deno.test({
  name: "renderOverlay() refuses a destination that others could swap [skipped: needs root]",
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const scene = await setUp(dir);
    const dest = dir.join("dest");
    await Deno.mkdir(dest);
    for (const [mode, uid] of [[0o777, 0], [0o755, 1234]] as const) {
      await Deno.chmod(dest, mode);
      await Deno.chown(dest, uid, 0);
      const before = await snapshot(dir.path);
      const error = await assertRejects(() => renderOverlay({ ...scene, dest }), RefusedError);
      assertEquals([error.code, error.path], ["shared-pod", dest]);
      assertEquals(await snapshot(dir.path), before);
    }
  },
});

Deno.test("renderOverlay() renders the pod's own image again after its apps were unmounted", async () => {
  await using dir = await tempDir();
  const scene = { ...await setUp(dir), layout: "rkt" as const, live: true };
  const image = { ...scene, app: "", lower: await makeTree(dir.join("stage1")) };
  await renderOverlay(image);
  await renderOverlay(scene);
  await unmountOverlay({ pod: scene.pod });
  const { rootfs } = await renderOverlay(image);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
});

Deno.test("renderOverlay() gives what a killed run left its owner and mode", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  await Deno.chmod(scene.lower, 0o1777);
  const { upper, rootfs } = await prepareOverlay({ ...scene, app: "db" });
  // What mkdir(2) had made before the run was killed.
  for (const path of [`${upper}`.replace(/db$/, "web"), rootfs.replace("/db/", "/web/")]) {
    await Deno.mkdir(path, { recursive: true });
    await Deno.chmod(path, 0o700);
  }
  const web = await renderOverlay(scene);
  assertEquals([modeOf(`${web.upper}`), modeOf(web.rootfs)], ["1777", "1777"]);
  // An app that has a line keeps what it made of its root.
  await Deno.chmod(web.rootfs, 0o700);
  await unmountOverlay({ pod: scene.pod });
  await renderOverlay(scene);
  assertEquals(modeOf(web.rootfs), "0700");
});

Deno.test("renderOverlay() refuses a pod in a lower, whatever links lead there", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  await Deno.symlink(scene.lower, dir.join("link"));
  const before = await snapshot(dir.path);
  const request = { ...scene, lower: dir.join("link"), pod: `${scene.lower}/pod` };
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertStringIncludes(error.message, "lies in the lower");
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("unmountOverlay() goes deepest first when a destination has changed", async () => {
  await using dir = await tempDir();
  const scene = { ...await setUp(dir), layout: "rkt" as const, live: true };
  const dest = dir.join("dest");
  await renderOverlay({ ...scene, dest });
  const image = { ...scene, app: "", lower: await makeTree(dir.join("stage1")) };
  await unmountOverlay({ pod: scene.pod });
  await renderOverlay(image);
  await renderOverlay(scene);
  const { unmounted } = await unmountOverlay({ pod: scene.pod });
  assertEquals(unmounted.map(({ app }) => app), ["web", ""]);
});

Deno.test("renderOverlay() notes an app that was prepared and mounted by hand as one to mount", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const { rootfs } = await prepareOverlay(scene);
  await sh("mount", "--fstab", `${scene.pod}/overlay.fstab`, "--", rootfs);
  assertEquals((await renderOverlay(scene)).changed, true);
  const text = await Deno.readTextFile(`${scene.pod}/overlay.fstab`);
  assertEquals(text.includes("noauto"), false);
  assertEquals((await renderOverlay(scene)).changed, false);
});

Deno.test({
  name: "renderOverlay() gives an image directory its group back when it fails " +
    "[skipped: needs root]",
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    const scene = await setUp(dir);
    await renderOverlay({ ...scene, app: "db", group: 1234 });
    const lower = await mountTooDeep(dir.join("deep", "image"));
    const before = await snapshot(dir.path);
    await assertRejects(() => renderOverlay({ ...scene, group: 4321, lower }), MountError);
    assertEquals(await snapshot(dir.path), before);
  },
});

Deno.test("renderOverlay() makes a pod again that a failing run took back while it waited", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const failing = { ...scene, app: "db", lower: await mountTooDeep(dir.join("deep", "image")) };
  const results = await Promise.allSettled(
    Array.from({ length: 8 }, (_, i) => renderOverlay(i % 2 === 0 ? failing : scene)),
  );
  const wrong = results.filter((result, i) => {
    if (i % 2 === 1) return result.status === "rejected";
    return result.status === "fulfilled" || !(result.reason instanceof MountError);
  });
  assertEquals(wrong, []);
  assertEquals((await overlayStatus(scene.pod)).map(({ app }) => app), ["web"]);
  await assertRejects(() => unmountOverlay({ pod: scene.pod, app: "db" }), OverlayError);
});
