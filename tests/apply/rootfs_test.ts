import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  overlayStatus,
  planRender,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  renderPod,
  requiredPermissions,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { keepMounts, makePlace, mountedPod } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, namesIn } from "../_tree.ts";

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
      { lower: [`${request.lower}`, dir.join("dest")] },
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
  assertStringIncludes(stdout, "/bin/cp");
  const always = await runMain(["plan", ...flagsOf({ ...request, overlay: "always" })]);
  assert(!always.stdout.includes("/bin/cp"));
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

Deno.test("a render that is interrupted after it wrote into the upper leaves nothing", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { app: "", mtab: true, options: MARKS });
  await Deno.mkdir(`${request.lower}/rkt/status`, { recursive: true });
  const kinds = planRender(request).operations.map(({ kind }) => kind);
  assertEquals(kinds.slice(-4), ["touch", "mtab", "record", "mount"]);
  await assertStopsAreUndone(dir, request);
  // What the app has in its upper by then stays as it is, times included.
  const { upper, ...first } = await renderOverlay({ ...request, mtab: false });
  await Deno.mkdir(`${first.rootfs}/etc/own`);
  await unmountOverlay({ pod: request.pod });
  for (const path of [`${upper}/etc`, `${upper}`]) await sh("touch", "-d", "2001-02-03", path);
  await assertStopsAreUndone(dir, request);
});

/** Stops a render at each step at the end, and compares the disk and the times of what is in the pod. */
async function assertStopsAreUndone(dir: TempDir, request: RenderRequest): Promise<void> {
  const times = () =>
    sh("find", `${dir.path}/pod/overlay`, "-path", "*/upper*", "-printf", "%P %T@\n");
  const before = await disk(dir.path);
  const had = await isMissing(request.pod) ? null : await times();
  for (const stop of ["touch", "mtab", "record", "mounted", "mount"]) {
    const checkpoint = (step: string) => {
      if (step === stop) throw new DOMException("stopped", "AbortError");
    };
    await assertRejects(() => renderOverlay(request, { checkpoint }), DOMException);
    assertEquals(await disk(dir.path), before);
    if (had !== null) assertEquals(await times(), had);
  }
}

/** Mode, owner, group and time of a path, not following a link. */
async function looksOf(path: string): Promise<string> {
  return await sh("find", path, "-maxdepth", "0", "-printf", "%y %#m %U:%G %TY-%Tm-%Td");
}

Deno.test("what is made in an upper is as the lower's directories are", async () => {
  await using dir = await tempDir();
  const top = await makeTree(dir.join("top"));
  const lower = await makeTree(dir.join("image"));
  await Deno.mkdir(`${lower}/rkt/status`, { recursive: true });
  await Deno.remove(`${top}/etc`, { recursive: true });
  const paths = ["etc", "rkt", "rkt/status"].map((name) => `${lower}/${name}`);
  for (const [at, path] of paths.entries()) {
    if (isRealRoot) await Deno.chown(path, 1000 + at, 2000 + at);
    await Deno.chmod(path, [0o1777, 0o2751, 0o700][at] ?? 0);
  }
  for (const path of paths.toReversed()) await sh("touch", "-d", "2001-02-03", path);
  const request = { lower: [top, lower], pod: dir.join("pod"), options: MARKS };
  const looks = await Promise.all(paths.map(looksOf));
  const { upper } = await prepareOverlay(request);
  assertEquals(
    await Promise.all(["rkt", "rkt/status"].map((name) => looksOf(`${upper}/${name}`))),
    looks.slice(1),
  );
  assert(await isMissing(`${upper}/etc`));
  const second = await renderOverlay({ ...request, app: "second", tree: "second", mtab: true });
  const today = new Date().toISOString().slice(0, 10);
  assertEquals(await looksOf(`${second.upper}/etc`), looks[0]?.replace("2001-02-03", today));
  assertEquals(await Deno.readLink(`${second.rootfs}/etc/mtab`), "../proc/self/mounts");
});

Deno.test("nothing is written into a rootfs that is mounted", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { options: MARKS });
  const { rootfs, upper } = await renderOverlay(request);
  const before = await disk(dir.path);
  const warnings: string[] = [];
  const again = { ...request, mtab: true };
  const render = await renderOverlay(again, { warn: (text) => void warnings.push(text) });
  assertEquals(render.changed, false);
  assertStringIncludes(warnings.join(), 'no mtab is made: app "web" may be running');
  assertEquals(await disk(dir.path), before);
  await unmountOverlay({ pod: request.pod });
  await renderOverlay(again);
  assertEquals(await Deno.readLink(`${rootfs}/etc/mtab`), "../proc/self/mounts");
  assertEquals(await Deno.readLink(`${upper}/etc/mtab`), "../proc/self/mounts");
});

Deno.test("an app that swaps its etc when mtab is made leads the link nowhere", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { mtab: true, options: MARKS });
  await Deno.mkdir(dir.join("host"));
  const { pod } = request;
  const rootfs = planRender(request).mounts[0].rootfs;
  // What runs in the rootfs can do this at any time; here it does so just before ln is run.
  const trace = (text: string): void => {
    if (!text.startsWith("run /bin/ln") || !isThere(`${rootfs}/etc`)) return;
    Deno.renameSync(`${rootfs}/etc`, `${rootfs}/old`);
    Deno.symlinkSync(dir.join("host"), `${rootfs}/etc`);
  };
  await renderOverlay(request, { trace });
  assertEquals(await namesIn(dir.join("host")), []);
  await unmountOverlay({ pod });
});

function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}

Deno.test("an upper that is in use in another mount namespace gets no mtab", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "one", { ephemeral: false });
  await using _other = await keepMounts();
  await unmountOverlay({ pod });
  const before = await snapshot(dir.path);
  const request = { lower: place.lower, pod, app: "web", mtab: true, options: MARKS };
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertEquals(error.code, "busy");
  assertEquals(await snapshot(dir.path), before);
});

/** Takes the place of what would be made, by a name in the upper or in the topmost of two lowers. */
const IN_THE_WAY: readonly (readonly [string, (upper: string, top: string) => Promise<unknown>])[] =
  [
    ["an etc that the app has removed", (upper) => sh("mknod", `${upper}/etc`, "c", "0", "0")],
    ["an etc that is a link in the upper", (upper) => Deno.symlink("/", `${upper}/etc`)],
    ["an etc that is a file in the upper", (upper) => Deno.writeTextFile(`${upper}/etc`, "")],
    ["an mtab that the app has removed", async (upper) => {
      await Deno.mkdir(`${upper}/etc`);
      await sh("mknod", `${upper}/etc/mtab`, "c", "0", "0");
    }],
    ["an etc that the topmost layer removes", (_, top) => sh("mknod", `${top}/etc`, "c", "0", "0")],
    ["an etc that is a link in the topmost layer", (_, top) => Deno.symlink("/", `${top}/etc`)],
  ];

for (const [what, arrange] of IN_THE_WAY) {
  Deno.test(`renderOverlay() makes no mtab beside ${what}`, async () => {
    await using dir = await tempDir();
    const lower = await makeTree(dir.join("image"));
    const top = dir.join("top");
    await Deno.mkdir(top);
    const request = { lower: [top, lower], pod: dir.join("pod"), app: "web", options: MARKS };
    const { upper } = await prepareOverlay(request);
    await arrange(`${upper}`, top);
    const before = await snapshot(`${upper}`);
    const warnings: string[] = [];
    const again = { ...request, mtab: true };
    await renderOverlay(again, { warn: (text) => void warnings.push(text) });
    assertEquals(await snapshot(`${upper}`), before);
    assertStringIncludes(warnings.join(), "no mtab is made: ");
  });
}

Deno.test("renderOverlay() without overlay puts mtab into the copy before it is in its place", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir, { overlay: "never", mtab: true });
  const { rootfs } = planRender(request).mounts[0];
  let early: boolean | null = null;
  const trace = (text: string) => {
    if (text.startsWith("run /bin/ln")) early = !isThere(rootfs);
  };
  await renderOverlay(request, { trace });
  assertEquals([early, await Deno.readLink(`${rootfs}/etc/mtab`)], [true, "../proc/self/mounts"]);
  assert(planFlags(request).includes("/bin/ln"));
});

function planFlags(request: RenderRequest): readonly string[] {
  return requiredPermissions(planRender(request)).run;
}

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
