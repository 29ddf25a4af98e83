import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  overlayStatus,
  planRender,
  RefusedError,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../mod.ts";
import type { RenderRequest } from "../mod.ts";
import { assertFails, disk, flagsOf, runMain } from "./_main.ts";
import { isRealRoot } from "./_privilege.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { isMissing, makeTree, MARKS } from "./_tree.ts";

async function setUp(dir: TempDir, rest: Partial<RenderRequest> = {}): Promise<RenderRequest> {
  const lower = await makeTree(dir.join("image"));
  return { lower, pod: dir.join("pod"), app: "web", ...rest };
}

/** Everything about what is in a tree that a copy could lose, one line an entry. */
async function everything(directory: string): Promise<string> {
  const format = "%P %y %#m %U %G %n %T@ %l\\n";
  const entries = await sh("find", directory, "-mindepth", "1", "-printf", format);
  const attributes = await sh(
    "sh",
    "-c",
    'cd "$1" && getfattr -R -d -m - . 2>/dev/null; :',
    "sh",
    directory,
  );
  return `${entries.split("\n").sort().join("\n")}\n${attributes}`;
}

/** The path of a socket is short: its name, from where it is. */
function makeSocket(directory: string, path: string): Deno.UnixListener {
  const had = Deno.cwd();
  Deno.chdir(directory);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.chdir(had);
  }
}

Deno.test("renderOverlay() without overlay makes the rootfs a copy that keeps links, sockets and times", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "never" });
  const lower = `${request.lower}`;
  await Deno.link(`${lower}/file`, `${lower}/second name`);
  await sh("touch", "-d", "2001-02-03 04:05:06.789", `${lower}/etc/motd`);
  using _listener = makeSocket(lower, "socket");
  await Deno.chmod(lower, 0o1777);
  const render = await renderOverlay(request);
  assertEquals([render.mounted, render.changed, render.options], [false, true, ""]);
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals(await everything(render.rootfs), await everything(lower));
  assertEquals(modeOf(render.rootfs), "1777");
  assert((await Deno.lstat(`${render.rootfs}/socket`)).isSocket);
  await Deno.writeTextFile(`${render.rootfs}/file`, "from the app");
  assertEquals(await Deno.readTextFile(`${lower}/file`), "from the tree");

  // What the app wrote is no reason to copy again.
  assertEquals((await renderOverlay(request)).changed, false);
  assertEquals(await Deno.readTextFile(`${render.rootfs}/file`), "from the app");
  const [status] = await overlayStatus(request.pod);
  assertEquals([status?.mounted, status?.copy, status?.drift], [false, true, undefined]);
  assertEquals((await unmountOverlay({ pod: request.pod })).unmounted, []);
  assertStringIncludes((await runMain(["status", "--pod", request.pod])).stdout, "copied");
  await collectPods({ pod: request.pod });
  assert(await isMissing(request.pod));
});

Deno.test({
  name: `renderOverlay() copies extended attributes${isRealRoot ? "" : " [skipped: not root]"}`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await setUp(dir, { overlay: "never" });
    const label = "system_u:object_r:container_file_t:s0";
    await sh("chcon", label, `${request.lower}/file`);
    const { rootfs } = await renderOverlay(request);
    assertEquals((await sh("stat", "-c", "%C", `${rootfs}/file`)).trim(), label);
  },
});

Deno.test("renderOverlay() without overlay and with a fixed mode gives the copy's root that mode", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "never", profile: "fixed-mode", dirMode: 0o700 });
  assertEquals(modeOf((await renderOverlay(request)).rootfs), "0700");
});

Deno.test("a copy that fails leaves nothing, and never takes another's place", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "never" });
  await Deno.mkdir(`${dir.path}/dest/rootfs`, { recursive: true });
  await Deno.writeTextFile(`${dir.path}/dest/rootfs/kept`, "mine");
  const before = await disk(dir.path);
  const other = { ...request, dest: `${dir.path}/dest` };
  await assertRejects(() => renderOverlay(other), RefusedError, "it is there already");
  assertEquals(await disk(dir.path), before);
  const fails = { status: 2, code: "invalid-value" };
  for (
    const wrong of [
      { options: ["volatile"] },
      { readOnly: true },
      { label: "u:r:t:s0" },
      { lower: [`${request.lower}`, dir.path] },
    ]
  ) await assertFails(dir.path, ["render", ...flagsOf({ ...request, ...wrong })], fails);
});

Deno.test("an app that is mounted is not rendered as a copy, nor the other way round", async () => {
  await using dir = await tempDir();
  const { overlay: _, ...mounted } = await setUp(dir, { options: MARKS });
  const copied: RenderRequest = {
    lower: mounted.lower ?? "",
    pod: mounted.pod,
    app: "web",
    overlay: "never",
  };
  await renderOverlay(mounted);
  await assertRejects(() => renderOverlay(copied), RefusedError, "upper");
  await unmountOverlay({ pod: mounted.pod });
  await collectPods({ pod: mounted.pod });
  await renderOverlay(copied);
  await assertRejects(() => renderOverlay(mounted), RefusedError, "upper");
});

Deno.test("renderOverlay() with overlay auto copies where an upper cannot be, with a warning", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "auto" });
  for (const name of ["l", "u", "w", "m"]) {
    await Deno.mkdir(dir.join("host", name), { recursive: true });
  }
  const [l, u, w, m] = ["l", "u", "w", "m"].map((name) => dir.join("host", name));
  const marks = MARKS.map((mark) => `,${mark}`).join("");
  const options = `lowerdir=${l},upperdir=${u},workdir=${w}${marks}`;
  await sh("mount", "-t", "overlay", "-o", options, "overlay", `${m}`);
  // An upper on an overlay is what a container has at hand, and overlayfs refuses it.
  const inside = { ...request, pod: `${m}/pod` };
  const refused = await assertRejects(
    () => renderOverlay({ ...inside, overlay: "always" }),
    RefusedError,
  );
  assertEquals(refused.code, "upper-on-overlay");
  const warnings: string[] = [];
  const render = await renderOverlay(inside, { warn: (text) => void warnings.push(text) });
  assertEquals([render.mounted, render.changed, warnings.length], [false, true, 1]);
  assertStringIncludes(warnings[0] ?? "", "a copy is made instead of an overlay");
  assertEquals(await Deno.readTextFile(`${render.rootfs}/file`), "from the tree");
  assertEquals((await renderOverlay(inside)).changed, false);
  // What a copy could not keep is an error as before.
  const asked = { ...inside, app: "other", options: ["nodev"] };
  await assertRejects(() => renderOverlay(asked), RefusedError);
});

Deno.test("renderOverlay() with overlay auto mounts where it can, and plans the right to copy", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "auto", options: MARKS });
  const render = await renderOverlay(request);
  assertEquals([render.mounted, await mountsBelow(dir.path)], [true, [render.rootfs]]);
  const { stdout } = await runMain(["plan", ...flagsOf(request)]);
  assertStringIncludes(stdout, "/usr/bin/cp");
  const always = await runMain(["plan", ...flagsOf({ ...request, overlay: "always" })]);
  assert(!always.stdout.includes("/usr/bin/cp"));
});

Deno.test("renderOverlay() makes the mtab link once, and only in an etc that is a directory", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { mtab: true, options: MARKS });
  const { rootfs, upper } = await renderOverlay(request);
  assertEquals(await Deno.readLink(`${rootfs}/etc/mtab`), "../proc/self/mounts");
  assertEquals(await Deno.readLink(`${upper}/etc/mtab`), "../proc/self/mounts");
  assert(await isMissing(`${request.lower}/etc/mtab`));
  assertEquals((await renderOverlay(request)).changed, false);

  await Deno.writeTextFile(`${request.lower}/etc/mtab`, "the image's");
  const second = await renderOverlay({ ...request, app: "second" });
  assertEquals(await Deno.readTextFile(`${second.rootfs}/etc/mtab`), "the image's");
});

Deno.test("renderOverlay() does not follow an etc of the image that is a link to the host", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { mtab: true, options: MARKS });
  await Deno.mkdir(dir.join("host"));
  await Deno.remove(`${request.lower}/etc`, { recursive: true });
  await Deno.symlink(dir.join("host"), `${request.lower}/etc`);
  const before = await snapshot(dir.join("host"));
  const warnings: string[] = [];
  await renderOverlay(request, { warn: (text) => void warnings.push(text) });
  assertEquals(await snapshot(dir.join("host")), before);
  assertStringIncludes(warnings.join(), "no mtab is made");
});

Deno.test("renderOverlay() of the pod's own image touches its status directory, and no link", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { app: "", options: MARKS });
  await Deno.mkdir(`${request.lower}/rkt/status`, { recursive: true });
  const { upper } = await renderOverlay(request);
  assert((await Deno.lstat(`${upper}/rkt/status`)).isDirectory);
  await unmountOverlay({ pod: request.pod });

  await Deno.mkdir(dir.join("host/status"), { recursive: true });
  await sh("touch", "-d", "2001-01-01", dir.join("host/status"));
  const image = await makeTree(dir.join("hostile"));
  await Deno.symlink(dir.join("host"), `${image}/rkt`);
  const second = await renderOverlay({ ...request, lower: image, pod: dir.join("second") });
  assert(await isMissing(`${second.upper}/rkt`));
  assertEquals((await Deno.stat(dir.join("host/status"))).mtime?.getFullYear(), 2001);
});

Deno.test("a render that is interrupted after it wrote into the rootfs leaves nothing", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { app: "", mtab: true, options: MARKS });
  await Deno.mkdir(`${request.lower}/rkt/status`, { recursive: true });
  const before = await disk(dir.path);
  const kinds = planRender(request).operations.map(({ kind }) => kind);
  assertEquals(kinds.slice(-3), ["mount", "touch", "mtab"]);
  for (const stop of ["mount", "touch", "mtab"]) {
    const controller = new AbortController();
    const checkpoint = (step: string) => {
      if (step === stop) throw new DOMException("stopped", "AbortError");
    };
    await assertRejects(() => renderOverlay(request, { checkpoint, signal: controller.signal }));
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("renderPod() renders copies beside mounts", async () => {
  await using dir = await tempDir();
  const { lower, pod } = await setUp(dir);
  const { renders } = await renderPod({
    pod,
    apps: [
      { app: "a", lower: `${lower}`, options: MARKS, mtab: true },
      { app: "b", lower: `${lower}`, overlay: "never", mtab: true },
    ],
  });
  assertEquals(renders.map(({ mounted }) => mounted), [true, false]);
  for (const { rootfs } of renders) {
    assertEquals(await Deno.readLink(`${rootfs}/etc/mtab`), "../proc/self/mounts");
  }
  await collectPods({ pod });
  assertEquals([await isMissing(pod), await mountsBelow(dir.path)], [true, []]);
});
