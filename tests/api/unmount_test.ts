import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  collectPods,
  MountError,
  OverlayError,
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, mountsOn } from "../_tree.ts";

/** A pod with its own image and two apps inside it, all mounted. */
async function setUp(dir: TempDir): Promise<{ request: RenderRequest; rootfs: string[] }> {
  const lower = await makeTree(dir.join("image"));
  const layout = "rkt" as const;
  const request = { lower, pod: dir.join("pod"), layout, options: MARKS, live: true };
  const rootfs: string[] = [];
  for (const app of ["", "web", "db"]) {
    // From the same tree id, an app's upper would lie in that of the pod's own image.
    const tree = app === "" ? "stage1" : "image";
    rootfs.push((await renderOverlay({ ...request, app, tree })).rootfs);
  }
  return { request, rootfs };
}

/** A process that keeps a directory in use until its scope ends. */
async function occupy(directory: string): Promise<AsyncDisposable> {
  const child = new Deno.Command("sh", {
    args: ["-c", "echo ready && exec sleep 3600"],
    cwd: directory,
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

async function mountedApps(pod: string): Promise<string[]> {
  return (await overlayStatus(pod)).filter(({ mounted }) => mounted).map(({ app }) => app);
}

/** Which apps `mount --all` would mount. */
async function automaticApps(pod: string): Promise<string[]> {
  const lines = (await Deno.readTextFile(`${pod}/overlay.fstab`)).split("\n");
  const automatic = lines.filter((line) => line.startsWith("overlay ") && !/,noauto,/.test(line));
  return automatic.map((line) => /X-overlay-render\.app=([^,]*)/.exec(line)?.[1] ?? "?");
}

Deno.test("unmountOverlay() unmounts all apps of a pod, deepest first, and keeps what they wrote", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs } = await setUp(dir);
  const [image = "", web = "", db = ""] = rootfs;
  for (const path of rootfs) await Deno.writeTextFile(`${path}/made`, path);
  const { unmounted, ...rest } = await unmountOverlay({ pod });
  assertEquals(rest, { pod });
  assertEquals(unmounted, [
    { app: "db", rootfs: db },
    { app: "web", rootfs: web },
    { app: "", rootfs: image },
  ]);
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals(await mountedApps(pod), []);
  assertEquals(await automaticApps(pod), []);
  assertEquals(await Deno.readTextFile(`${pod}/overlay/image/upper/web/made`), web);
});

Deno.test("unmountOverlay() unmounts one app", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs } = await setUp(dir);
  const { unmounted } = await unmountOverlay({ pod, app: "web" });
  assertEquals(unmounted.map(({ app }) => app), ["web"]);
  assertEquals(await mountsBelow(dir.path), [rootfs[0], rootfs[2]]);
  assertEquals(await mountedApps(pod), ["", "db"]);
  assertEquals(await automaticApps(pod), ["", "db"]);
});

Deno.test("unmountOverlay() unmounts the pod's own image alone", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs: [image = ""] } = await setUp(dir);
  await unmountOverlay({ pod, app: "web" });
  await unmountOverlay({ pod, app: "db" });
  const { unmounted } = await unmountOverlay({ pod, app: "" });
  assertEquals(unmounted, [{ app: "", rootfs: image }]);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("unmountOverlay() does not unmount an image with apps in it", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs } = await setUp(dir);
  const before = await snapshot(pod);
  const error = await assertRejects(() => unmountOverlay({ pod, app: "" }), MountError);
  assertEquals([error.code, error.path], ["busy", rootfs[0]]);
  assertEquals(error.hint?.includes(`${rootfs[1]}`), true, `${error.hint}`);
  assertEquals(await mountsBelow(dir.path), rootfs);
  assertEquals(await snapshot(pod), before);
});

Deno.test("unmountOverlay() of an app that is in use names its rootfs and says what to do", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs: [image = "", web = "", db = ""] } = await setUp(dir);
  {
    await using _process = await occupy(web);
    const error = await assertRejects(() => unmountOverlay({ pod }), MountError);
    assertEquals([error.code, error.path, error.exitStatus], ["busy", web, 1]);
    assertEquals(error.message.includes(JSON.stringify(web)), true, error.message);
    assertMatch(error.hint ?? "", /fuser/);
    assertEquals(error.failure.argv[0], "/bin/umount");
    // The other app is gone; the image cannot go while an app is mounted in it.
    assertEquals(await mountsBelow(dir.path), [image, web]);
    assertEquals(await isMissing(`${db}/file`), true);
    assertEquals(await mountedApps(pod), ["", "web"]);
    assertEquals(await automaticApps(pod), ["", "web"]);

    const { status, stderr } = await cli(["unmount", "--pod", pod, "--app", "web"]);
    assertEquals(status, 1);
    assertMatch(stderr, /^error: Cannot unmount ".*\/web\/rootfs": .*busy.*\nhint: .*fuser.*\n$/);
  }
  const { unmounted } = await unmountOverlay({ pod });
  assertEquals(unmounted.map(({ app }) => app), ["web", ""]);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("unmountOverlay() says so when something is mounted inside an app", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs: [, web = ""] } = await setUp(dir);
  await sh("mount", "-t", "tmpfs", "tmpfs", `${web}/etc`);
  const error = await assertRejects(() => unmountOverlay({ pod, app: "web" }), MountError);
  assertEquals([error.code, error.path], ["busy", web]);
  assertEquals(error.hint?.includes(`${web}/etc`), true, `${error.hint}`);
  await sh("umount", `${web}/etc`);
  await unmountOverlay({ pod });
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("unmountOverlay() changes nothing when nothing is mounted", async () => {
  await using dir = await tempDir();
  const { request: { pod } } = await setUp(dir);
  await unmountOverlay({ pod });
  const before = await snapshot(dir.path);
  assertEquals(await unmountOverlay({ pod }), { pod, unmounted: [] });
  assertEquals(await unmountOverlay({ pod, app: "web" }), { pod, unmounted: [] });
  assertEquals(await snapshot(dir.path), before);
  const { status, stdout, stderr } = await cli(["unmount", "--pod", pod]);
  assertEquals([status, stdout, stderr], [0, "", ""]);
});

Deno.test("unmountOverlay() leaves an app alone that was only prepared", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  await prepareOverlay({ lower, pod, app: "web" });
  const before = await snapshot(dir.path);
  assertEquals(await unmountOverlay({ pod }), { pod, unmounted: [] });
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("unmountOverlay() accepts that an app was unmounted by hand", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs: [, web = ""] } = await setUp(dir);
  await sh("umount", web);
  const { unmounted } = await unmountOverlay({ pod });
  assertEquals(unmounted.map(({ app }) => app), ["db", ""]);
  assertEquals(await mountsBelow(dir.path), []);
  // None of them may come back with mount --all.
  assertEquals(await automaticApps(pod), []);
});

Deno.test("unmountOverlay() of a pod or an app that is not there is an error", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs } = await setUp(dir);
  const before = await snapshot(dir.path);
  const noPod = await assertRejects(() => unmountOverlay({ pod: dir.join("no") }), OverlayError);
  assertEquals([noPod.code, noPod.path], ["missing", dir.join("no")]);
  const noApp = await assertRejects(() => unmountOverlay({ pod, app: "no" }), OverlayError);
  assertEquals([noApp.code, noApp.path, noApp.exitStatus], ["missing", pod, 1]);
  assertMatch(noApp.hint ?? "", /"web"/);
  await Deno.mkdir(dir.join("empty"));
  assertEquals((await unmountOverlay({ pod: dir.join("empty") })).unmounted, []);
  const empty = await assertRejects(
    () => unmountOverlay({ pod: dir.join("empty"), app: "web" }),
    OverlayError,
  );
  assertEquals(empty.code, "missing");
  await Deno.remove(dir.join("empty"));
  assertEquals(await snapshot(dir.path), before);
  assertEquals(await mountsBelow(dir.path), rootfs);
});

Deno.test("unmountOverlay() refuses a rootfs on which something else is mounted", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs } = await setUp(dir);
  const [, web = ""] = rootfs;
  await sh("mount", "-t", "tmpfs", "tmpfs", web);
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => unmountOverlay({ pod }), RefusedError);
  assertEquals([error.code, error.path], ["foreign-mount", web]);
  assertEquals(await mountsOn(web), 2);
  assertEquals(await snapshot(dir.path), before);
  await sh("umount", web);
  await unmountOverlay({ pod });
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("overlay-render unmount prints what it unmounted", async () => {
  await using dir = await tempDir();
  const { request: { pod }, rootfs: [image, web, db] } = await setUp(dir);
  const one = await cli(["unmount", "--pod", pod, "--app", "web"]);
  assertEquals([one.status, one.stdout, one.stderr], [0, `${web}\n`, ""]);
  const all = await cli(["unmount", "--pod", pod, "--json"]);
  assertEquals([all.status, all.stderr], [0, ""]);
  assertEquals(JSON.parse(all.stdout), {
    version: 1,
    pod,
    unmounted: [{ app: "db", rootfs: db }, { app: "", rootfs: image }],
  });
});

Deno.test("overlay-render unmount --app with an empty name means the pod's own image", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const image = await renderOverlay({ lower, pod, tree: "stage1", options: MARKS });
  const far = await renderOverlay({
    lower,
    pod,
    app: "far",
    dest: dir.join("far"),
    options: MARKS,
  });
  const { status, stdout } = await cli(["unmount", "--pod", pod, "--app", ""]);
  assertEquals([status, stdout], [0, `${image.rootfs}\n`]);
  assertEquals(await mountsBelow(dir.path), [far.rootfs]);
});

Deno.test("renderOverlay() unmounts its app when its scope ends", async () => {
  await using dir = await tempDir();
  const { request, rootfs } = await setUp(dir);
  {
    await using more = await renderOverlay({ ...request, app: "more" });
    await Deno.writeTextFile(`${more.rootfs}/made`, "kept");
    assertEquals(await mountsBelow(dir.path), [...rootfs, more.rootfs]);
  }
  assertEquals(await mountsBelow(dir.path), rootfs);
  const kept = `${request.pod}/overlay/image/upper/more/made`;
  assertEquals(await Deno.readTextFile(kept), "kept");
  {
    await using more = await renderOverlay({ ...request, app: "more" });
    await sh("umount", more.rootfs);
  }
  assertEquals(await mountsBelow(dir.path), rootfs);
});

/** Renders in another process, once, when this one is about to read the mount table. */
function rendersMeanwhile(pod: string, lower: string): { trace: (text: string) => void } {
  let isDone = false;
  const args = ["render", "--lower", lower, "--pod", pod, ...MARKS.map((o) => `--option=${o}`)];
  const trace = (text: string) => {
    if (isDone || !text.includes("findmnt")) return;
    isDone = true;
    const script = import.meta.resolve("../../cli.ts");
    const render = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "-q", script, ...args],
      stdin: "null",
    });
    assertEquals(render.outputSync().success, true);
  };
  return { trace };
}

Deno.test("unmount of a pod that is rendered while it is looked at unmounts what was mounted", async () => {
  await using dir = await tempDir();
  const [lower, pod] = [await makeTree(dir.join("image")), dir.join("pod")];
  await Deno.mkdir(pod);
  const { unmounted } = await unmountOverlay({ pod }, rendersMeanwhile(pod, lower));
  assertEquals(unmounted.map(({ rootfs }) => rootfs), [dir.join("pod/rootfs")]);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("gc of a pod that is rendered while it is looked at collects it", async () => {
  await using dir = await tempDir();
  const [lower, pod] = [await makeTree(dir.join("image")), dir.join("pod")];
  await Deno.mkdir(pod);
  const { removed, kept } = await collectPods({ pod }, rendersMeanwhile(pod, lower));
  assertEquals([removed.length, kept], [1, []]);
  assertEquals([await mountsBelow(dir.path), await isMissing(pod)], [[], true]);
});
