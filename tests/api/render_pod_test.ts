import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  overlayStatus,
  planPod,
  prepareOverlay,
  preparePod,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../../mod.ts";
import type { PodApp, PodRequest, ProfileName, Render } from "../../mod.ts";
import { disk, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { nastyName, random } from "../_random.ts";
import type { Random } from "../_random.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS, mountsOn, namesIn } from "../_tree.ts";

/** Renders a pod, and counts the mount processes that it took. */
async function counted(request: PodRequest): Promise<{ renders: readonly Render[]; runs: number }> {
  let runs = 0;
  const trace = (text: string) => void (runs += text.startsWith("run /bin/mount ") ? 1 : 0);
  const { renders } = await renderPod(request, { trace });
  return { renders, runs };
}

function appsOf(lower: string, names: readonly string[]): PodApp[] {
  return names.map((app) => ({ app, lower, options: MARKS, live: true }));
}

function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `app-${i}`);
}

/** A pod, and what is needed for apps that lie in its own image. */
async function setUp(dir: TempDir): Promise<{ pod: string; lower: string; image: PodApp }> {
  const lower = await makeTree(dir.join("image"));
  const stage1 = await makeTree(dir.join("stage1"));
  return { pod: dir.join("pod"), lower, image: { app: "", lower: stage1, options: MARKS } };
}

/** Each app has its own upper, and reads from its lower. */
async function assertSeparate(renders: readonly Render[]): Promise<void> {
  for (const { app, rootfs } of renders) {
    assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
    await Deno.writeTextFile(`${rootfs}/made`, `by ${app}`);
  }
  for (const { app, upper } of renders) {
    assertEquals(await Deno.readTextFile(`${upper}/made`), `by ${app}`);
  }
}

for (const count of [1, 2, 5, 60]) {
  for (const used of [false, true]) {
    const where = used ? "a pod that has others" : "a new pod";
    Deno.test(`renderPod() mounts in one process: ${count} apps in ${where}`, async () => {
      await using dir = await tempDir();
      const { pod, lower } = await setUp(dir);
      if (used) await renderPod({ pod, apps: appsOf(lower, ["old", "older"]) });
      const { renders, runs } = await counted({ pod, apps: appsOf(lower, numbered(count)) });
      assertEquals(runs, 1);
      assertEquals(renders.map(({ app }) => app), numbered(count));
      assertEquals(renders.every(({ changed, mounted }) => changed && mounted), true);
      await assertSeparate(renders);
      const all = count + (used ? 2 : 0);
      assertEquals((await mountsBelow(dir.path)).length, all);
      const status = await overlayStatus(pod);
      assertEquals(status.length, all);
      assertEquals(status.every(({ mounted, drift }) => mounted && drift === undefined), true);
      // What many apps are mounted from is gone with the process.
      const own = ["apps", "overlay", "overlay.fstab", "overlay.lock"];
      assertEquals(await namesIn(pod), own);
    });
  }
}

Deno.test("renderPod() mounts in two processes where apps lie in the pod's own image, in any order", async () => {
  for (const at of [0, 1, 3]) {
    await using dir = await tempDir();
    const { pod, lower, image } = await setUp(dir);
    const apps = appsOf(lower, ["a", "b", "c"]).toSpliced(at, 0, image);
    const { renders, runs } = await counted({ pod, layout: "rkt", apps });
    assertEquals(runs, 2);
    assertEquals(renders.map(({ app }) => app), ["", "a", "b", "c"]);
    assertEquals(await mountsBelow(dir.path), renders.map(({ rootfs }) => rootfs));
    await assertSeparate(renders);
    // Their directories are in the image's upper, not below the place where it is mounted.
    const upper = renders[0]?.upper ?? "";
    assertEquals(await namesIn(`${upper}/opt/stage2`), ["a", "b", "c"]);
    const { unmounted } = await unmountOverlay({ pod });
    assertEquals(unmounted.length, 4);
    assertEquals(await namesIn(`${pod}/stage1/rootfs`), []);
  }
});

Deno.test("renderPod() mounts apps in one process in an image that is mounted already", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  await renderPod({ pod, layout: "rkt", apps: [image] });
  const alone = await counted({ pod, layout: "rkt", apps: appsOf(lower, ["a", "b"]) });
  assertEquals(alone.runs, 1);
  const { renders, runs } = await counted({
    pod,
    layout: "rkt",
    apps: [...appsOf(lower, ["c", "d"]), image],
  });
  assertEquals(runs, 1);
  assertEquals(renders.map(({ app, changed }) => [app, changed]), [
    ["", false],
    ["c", true],
    ["d", true],
  ]);
});

Deno.test("renderPod() mounts the pod's own image first when only apps in it are asked for", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  const apps = appsOf(lower, ["a", "b"]);
  await renderPod({ pod, layout: "rkt", apps: [image, ...apps] });
  await sh("umount", "--recursive", `${pod}/stage1/rootfs`);
  const { renders, runs } = await counted({ pod, layout: "rkt", apps });
  // The third one asks whether the image is in use where nobody sees it.
  assertEquals(runs, 3);
  assertEquals(renders.map(({ changed }) => changed), [true, true]);
  assertEquals((await overlayStatus(pod)).map(({ app, mounted }) => [app, mounted]), [
    ["", true],
    ["a", true],
    ["b", true],
  ]);
});

Deno.test("renderPod() mounts in one process for each level of destinations in one another", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  const [web, deep] = appsOf(lower, ["web", "deep"]);
  assert(web !== undefined && deep !== undefined);
  const dest = `${pod}/stage1/rootfs/opt/stage2/web/rootfs/srv`;
  const { renders, runs } = await counted({
    pod,
    layout: "rkt",
    apps: [{ ...deep, dest }, web, image],
  });
  assertEquals(runs, 3);
  assertEquals(await mountsBelow(dir.path), renders.map(({ rootfs }) => rootfs));
  await assertSeparate(renders);
  assertEquals((await unmountOverlay({ pod })).unmounted.map(({ app }) => app), [
    "deep",
    "web",
    "",
  ]);
});

/** Ids of nobody's here; in a user namespace only its own root is mapped. */
const [UID, GID, POD_GROUP, GROUP] = isRealRoot ? [123, 456, 789, 1011] : [0, 0, 0, 0];

const PROFILES: readonly ProfileName[] = ["rootfs-mode", "fixed-mode", "manifest"];
const LOWER_MODES = [0o755, 0o1777, 0o2755];
const UMASKS = [0o000, 0o022, 0o077];

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

async function makeLower(path: string, mode: number): Promise<string> {
  await makeTree(path);
  await Deno.chown(path, UID, GID);
  await Deno.chmod(path, mode);
  return path;
}

/** A pod that hands its group down to what is made in it. */
async function makePod(path: string): Promise<string> {
  await Deno.mkdir(path, { recursive: true });
  await Deno.chown(path, 0, POD_GROUP);
  await Deno.chmod(path, 0o2750);
  return path;
}

/** All that can be seen of a pod; its own path left out, so that two pods can be compared. */
async function looksOf(pod: string): Promise<string> {
  const mounts = await mountsBelow(pod);
  const parts = [await Deno.readTextFile(`${pod}/overlay.fstab`), mounts.join("\n")];
  for (const top of new Set([pod, ...mounts])) {
    const format = "%y %04m %U:%G %l %P\\0";
    const listing = await sh("find", top, "-xdev", "-printf", format);
    parts.push(`${top}:`, ...listing.split("\0").toSorted());
  }
  return parts.join("\n").replaceAll(pod, "POD");
}

/** What the renders say, without what is another in another pod. */
function saidOf(renders: readonly Render[], pod: string): unknown {
  return JSON.parse(JSON.stringify(renders).replaceAll(pod, "POD"));
}

/** Renders or prepares app by app, in the order in which one call does it. */
async function singly(request: PodRequest, act: typeof prepareOverlay): Promise<Render[]> {
  const { apps, ...common } = request;
  const renders: Render[] = [];
  for (const { app } of planPod(request).mounts) {
    const own = apps.find((other) => other.app === app);
    renders.push(await act({ ...common, ...own }));
  }
  return renders;
}

/** Runs with a umask of its own; nothing else runs meanwhile. */
async function underUmask<T>(umask: number, act: () => Promise<T>): Promise<T> {
  const before = Deno.umask(umask);
  try {
    return await act();
  } finally {
    Deno.umask(before);
  }
}

/** Apps of every sort: from lowers of any mode, in one tree, of several lowers, views. */
async function appsOfEverySort(dir: TempDir): Promise<PodApp[]> {
  const lowers = LOWER_MODES.map((mode) => makeLower(dir.join("lowers", octal(mode)), mode));
  const [plain, sticky, setgid] = await Promise.all(lowers);
  assert(plain !== undefined && sticky !== undefined && setgid !== undefined);
  const manifest = dir.join("manifest.json");
  await Deno.writeTextFile(manifest, "{}");
  const common = { lower: plain, manifest, options: MARKS, live: true };
  return [
    { ...common, app: "plain" },
    { ...common, app: "sticky", lower: sticky },
    { ...common, app: "setgid", lower: setgid, options: ["nosuid", ...MARKS] },
    { ...common, app: "stack", lower: [setgid, sticky, plain] },
    { ...common, app: "second", mtab: true },
    // The tree's directories are there by then, made for another lower.
    { ...common, app: "late", lower: setgid, tree: octal(0o755) },
    { ...common, app: "view", lower: sticky, options: [], readOnly: true },
    { ...common, app: "views", lower: [sticky, setgid], readOnly: true },
    { ...common, app: "copy", lower: setgid, options: [], overlay: "never", mtab: true },
  ];
}

/** The same apps in the pod's own image, some of which lie in one another, in an odd order. */
async function appsInOneAnother(dir: TempDir): Promise<PodApp[]> {
  const [plain, sticky, setgid, ...rest] = await appsOfEverySort(dir);
  assert(plain !== undefined && sticky !== undefined && setgid !== undefined);
  const image = { ...plain, app: "", lower: await makeLower(dir.join("lowers/stage1"), 0o1755) };
  await Deno.mkdir(`${image.lower}/rkt/status`, { recursive: true });
  // Nothing is rendered in the live rootfs of another user.
  for (const { lower } of [image, setgid]) await Deno.chown(`${lower}`, 0, GID);
  const dest = "stage1/rootfs/opt/stage2/setgid/rootfs/a/b";
  return [{ ...sticky, dest }, ...rest, setgid, image, plain];
}

/** Destinations are given relative to the pod, of which there are two. */
function inPod(pod: string, { apps, ...common }: Omit<PodRequest, "pod">): PodRequest {
  const placed = apps.map(({ dest, ...app }) => {
    return dest === undefined ? app : { ...app, dest: `${pod}/${dest}` };
  });
  return { ...common, pod, apps: placed };
}

const SORTS = [
  ["apps beside one another", appsOfEverySort, "default"],
  ["apps in one another", appsInOneAnother, "rkt"],
] as const;

/** Two pods that are to become alike. */
async function twoPods(
  dir: TempDir,
  common: Omit<PodRequest, "pod">,
): Promise<[PodRequest, PodRequest]> {
  const [one, other] = [await makePod(dir.join("one/pod")), await makePod(dir.join("other/pod"))];
  return [inPod(one, common), inPod(other, common)];
}

for (const [sort, makeApps, layout] of SORTS) {
  for (const profile of PROFILES) {
    for (const umask of UMASKS) {
      const how = `${profile}, umask ${octal(umask).slice(1)}`;
      Deno.test(`renderPod() leaves what renderOverlay() leaves: ${sort}, ${how}`, async () => {
        await using dir = await tempDir();
        const apps = await makeApps(dir);
        const [one, other] = await twoPods(dir, { profile, group: GROUP, layout, apps });
        const lowers = await snapshot(dir.join("lowers"));
        await underUmask(umask, async () => {
          const { renders } = await renderPod(one);
          const single = await singly(other, renderOverlay);
          assertEquals(saidOf(renders, one.pod), saidOf(single, other.pod));
          assertEquals(await looksOf(one.pod), await looksOf(other.pod));
          await unmountOverlay({ pod: one.pod });
          await unmountOverlay({ pod: other.pod });
          assertEquals(await looksOf(one.pod), await looksOf(other.pod));
        });
        assertEquals(await snapshot(dir.join("lowers")), lowers);
      });
    }
  }
}

for (const profile of PROFILES) {
  Deno.test(`preparePod() leaves what prepareOverlay() leaves: ${profile}`, async () => {
    await using dir = await tempDir();
    const apps = await appsOfEverySort(dir);
    const [one, other] = await twoPods(dir, { profile, group: GROUP, apps });
    await underUmask(0o077, async () => {
      const { renders } = await preparePod(one);
      assertEquals(
        renders.map(({ mounted, changed }) => [mounted, changed]),
        apps.map(() => {
          return [false, true];
        }),
      );
      assertEquals(await mountsBelow(dir.path), []);
      const single = await singly(other, prepareOverlay);
      assertEquals(saidOf(renders, one.pod), saidOf(single, other.pod));
      assertEquals(await looksOf(one.pod), await looksOf(other.pod));
      const again = await preparePod(one);
      assertEquals(again.renders.some(({ changed }) => changed), false);
      // And a render of what is prepared leaves what a render leaves.
      await renderPod(one);
      await singly(other, renderOverlay);
      assertEquals(await looksOf(one.pod), await looksOf(other.pod));
    });
  });
}

Deno.test("renderPod() makes a missing pod 0750 under any umask", async () => {
  for (const umask of UMASKS) {
    await using dir = await tempDir();
    const { pod, lower } = await setUp(dir);
    await underUmask(umask, async () => {
      await renderPod({ pod, apps: appsOf(lower, ["a", "b"]) });
    });
    assertEquals(modeOf(pod), "0750");
  }
});

/** When each directory and file was last changed at all; the lock is written by whoever holds it. */
async function changeTimes(directory: string): Promise<string> {
  const format = "%P %i %C@ %T@\n";
  const args = [directory, "-xdev", "!", "-name", "overlay.lock", "-printf", format];
  return (await sh("find", ...args)).split("\n").sort().join("\n");
}

async function changedApps(request: PodRequest): Promise<string[]> {
  const { renders } = await renderPod(request);
  assertEquals(renders.length, request.apps.length);
  assertEquals(renders.every(({ mounted }) => mounted), true);
  return renders.filter(({ changed }) => changed).map(({ app }) => app);
}

for (const [sort, makeApps, layout] of SORTS) {
  Deno.test(`renderPod() changes nothing the second time: ${sort}`, async () => {
    await using dir = await tempDir();
    const apps = await makeApps(dir);
    const request = inPod(dir.join("pod"), { profile: "manifest", group: GROUP, layout, apps });
    const first = await renderPod(request);
    const before = [await disk(dir.path), await changeTimes(dir.path)];
    const second = await counted(request);
    assertEquals(second.runs, 0);
    assertEquals(second.renders, first.renders.map((render) => ({ ...render, changed: false })));
    assertEquals([await disk(dir.path), await changeTimes(dir.path)], before);
  });
}

Deno.test("renderPod() changes only the app that is new, whatever the order", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  const [a, b, c, d] = appsOf(lower, ["a", "b", "c", "d"]);
  assert(a !== undefined && b !== undefined && c !== undefined && d !== undefined);
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [image, a, b] }), ["", "a", "b"]);
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [image, a, c, b] }), ["c"]);
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [d, b, a, image] }), ["d"]);
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [b] }), []);
  await unmountOverlay({ pod, app: ["b", "d"] });
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [image, a, b, c, d] }), ["b", "d"]);
  assertEquals(await changedApps({ pod, layout: "rkt", apps: [image, a, b, c, d] }), []);
});

Deno.test("renderPod() changes the app whose manifest is another, and no other", async () => {
  await using dir = await tempDir();
  const { pod, lower } = await setUp(dir);
  const apps = appsOf(lower, ["a", "b"]).map((app) => {
    return { ...app, manifest: dir.join(`${app.app}.json`) };
  });
  for (const { manifest } of apps) await Deno.writeTextFile(manifest, "{}");
  await renderPod({ pod, apps });
  await Deno.writeTextFile(dir.join("b.json"), '{"new":true}');
  assertEquals(await changedApps({ pod, apps }), ["b"]);
  const kept = `${pod}/apps/b/manifest`;
  assertEquals(await Deno.readTextFile(kept), '{"new":true}');
  assertEquals(await changedApps({ pod, apps }), []);
});

Deno.test("renderPod() changes the app that was mounted by hand, and no other", async () => {
  await using dir = await tempDir();
  const { pod, lower } = await setUp(dir);
  const apps = appsOf(lower, ["a", "b"]);
  const { renders } = await renderPod({ pod, apps });
  const rootfs = renders[1]?.rootfs ?? "";
  await unmountOverlay({ pod, app: "b" });
  await sh("mount", "--fstab", `${pod}/overlay.fstab`, "--", rootfs);
  // Its line says noauto, and is to say what is so.
  assertEquals(await changedApps({ pod, apps }), ["b"]);
  assertEquals(await mountsOn(rootfs), 1);
  assertEquals((await overlayStatus(pod)).map(({ drift }) => drift), [undefined, undefined]);
});

Deno.test("renderPod() of apps some of which are mounted leaves those as they are", async () => {
  await using dir = await tempDir();
  const { pod, lower } = await setUp(dir);
  const { rootfs } = await renderOverlay({ pod, app: "b", lower, options: MARKS });
  await Deno.writeTextFile(`${rootfs}/made`, "by b");
  const apps = appsOf(lower, ["a", "b", "c"]);
  const { renders, runs } = await counted({ pod, apps });
  assertEquals(runs, 1);
  assertEquals(renders.map(({ changed }) => changed), [true, false, true]);
  assertEquals(await mountsOn(rootfs), 1);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "by b");
});

Deno.test("renderPod() brings back what the apps wrote before they were unmounted", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  const apps = [...appsOf(lower, numbered(5)), image];
  const { renders } = await renderPod({ pod, layout: "rkt", apps });
  for (const { app, rootfs } of renders) await Deno.writeTextFile(`${rootfs}/made`, app);
  await unmountOverlay({ pod });
  const again = await counted({ pod, layout: "rkt", apps });
  // One of them asks whether the image is in use where nobody sees it.
  assertEquals(again.runs, 3);
  for (const { app, rootfs } of again.renders) {
    assertEquals(await Deno.readTextFile(`${rootfs}/made`), app);
  }
});

Deno.test("renderPod() called at once for overlapping apps mounts each of them once", async () => {
  await using dir = await tempDir();
  const { pod, lower } = await setUp(dir);
  const calls = [numbered(3), numbered(5), numbered(4).reverse(), ["app-4", "other"]];
  const results = await Promise.all(calls.map((names) => {
    return renderPod({ pod, apps: appsOf(lower, names) });
  }));
  const renders = results.flatMap(({ renders }) => renders);
  assertEquals(renders.every(({ mounted }) => mounted), true);
  const changed = renders.filter(({ changed }) => changed).map(({ app }) => app);
  assertEquals(changed.toSorted(), [...numbered(5), "other"]);
  assertEquals((await mountsBelow(dir.path)).length, 6);
  assertEquals((await overlayStatus(pod)).length, 6);
});

Deno.test("renderPod() unmounts the apps of the call when its scope ends, and no others", async () => {
  await using dir = await tempDir();
  const { pod, lower, image } = await setUp(dir);
  const old = await renderOverlay({
    pod,
    app: "old",
    lower,
    dest: dir.join("old"),
    options: MARKS,
  });
  {
    await using rendered = await renderPod({
      pod,
      layout: "rkt",
      apps: [...appsOf(lower, ["a", "b"]), image],
    });
    assertEquals((await mountsBelow(dir.path)).length, 4);
    for (const { rootfs } of rendered.renders) await Deno.writeTextFile(`${rootfs}/made`, "kept");
  }
  assertEquals(await mountsBelow(dir.path), [old.rootfs]);
  for (const tree of ["stage1/upper", "image/upper/a", "image/upper/b"]) {
    assertEquals(await Deno.readTextFile(`${pod}/overlay/${tree}/made`), "kept");
  }
  assertEquals((await overlayStatus(pod)).map(({ app, mounted }) => [app, mounted]), [
    ["old", true],
    ["", false],
    ["a", false],
    ["b", false],
  ]);
});

Deno.test("renderPod() works in a pod behind a symlink", async () => {
  await using dir = await tempDir();
  const { lower, image } = await setUp(dir);
  await Deno.mkdir(dir.join("real"));
  await Deno.symlink(dir.join("real"), dir.join("link"));
  const pod = dir.join("link/pod");
  const apps = [...appsOf(lower, ["a", "b"]), { app: "v", lower, readOnly: true }, image];
  const { renders } = await renderPod({ pod, layout: "rkt", apps });
  assertEquals(renders.every(({ mounted }) => mounted), true);
  assertEquals((await mountsBelow(dir.join("real"))).length, 4);
  assertEquals(
    (await counted({ pod, layout: "rkt", apps })).renders.some(({ changed }) => changed),
    false,
  );
  assertEquals((await unmountOverlay({ pod })).unmounted.length, 4);
});

/** A name that no other one of the call has. */
function ownName(source: Random, at: number): string {
  const name = nastyName(source);
  return source.int(2) === 0 ? `${at}${name}` : `${name}${at}`;
}

/** What an app may be called: a name without control characters. */
function appName(source: Random, at: number): string {
  // deno-lint-ignore no-control-regex
  return ownName(source, at).replace(/[\u0000-\u001f\u007f-\u009f]/g, "");
}

/** Apps of every sort with names of any sort: commas, quotes, newlines, words that are options. */
async function oddApps(dir: TempDir, pod: string, source: Random): Promise<PodApp[]> {
  let at = 0;
  const lower = () => makeTree(`${dir.join("lowers")}/${ownName(source, at++)}`);
  const app = () => appName(source, at++);
  const dest = (above: string) => ({ dest: `${above}/${ownName(source, at++)}` });
  const [shared, marks] = [await lower(), { options: MARKS }];
  return [
    { app: app(), lower: shared, ...marks },
    { app: app(), lower: shared, ...marks },
    { app: app(), lower: [await lower(), shared], ...marks, ...dest(dir.join("dests")) },
    { app: app(), lower: await lower(), readOnly: true },
    { app: app(), lower: await lower(), readOnly: true, ...dest(dir.join("dests")) },
    { app: app(), lower: [await lower(), shared], readOnly: true, ...dest(pod) },
    { app: app(), lower: [await lower()], tree: `${app()} tree`, ...marks, ...dest(pod) },
  ];
}

async function assertUsable({ renders }: { renders: readonly Render[] }): Promise<void> {
  for (const { app, rootfs, upper } of renders) {
    assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
    const write = () => Deno.writeTextFile(`${rootfs}/made`, app);
    if (upper === null) await assertRejects(write, Error, "Read-only");
    else await write();
  }
  for (const { app, upper } of renders) {
    if (upper !== null) assertEquals(await Deno.readTextFile(`${upper}/made`), app);
  }
}

for (let seed = 1; seed <= 25; seed++) {
  Deno.test(`renderPod() takes views, several lowers and destinations of any name in one call: seed ${seed}`, async () => {
    await using dir = await tempDir();
    const source = random(seed);
    for (const name of ["lowers", "pods", "dests"]) await Deno.mkdir(dir.join(name));
    const pod = `${dir.join("pods")}/${ownName(source, 0)}`;
    const apps = await oddApps(dir, pod, source);
    const lowers = await snapshot(dir.join("lowers"));
    const { renders, runs } = await counted({ pod, apps });
    assertEquals(runs, 1);
    const tops = renders.map(({ rootfs }) => rootfs);
    assertEquals((await mountsBelow(dir.path)).toSorted(), tops.toSorted());
    await assertUsable({ renders });
    assertEquals(await snapshot(dir.join("lowers")), lowers);

    assertEquals((await counted({ pod, apps })).renders.some(({ changed }) => changed), false);
    const status = await overlayStatus(pod);
    assertEquals(
      status.map(({ app, lower, mounted, drift }) => [app, lower, mounted, drift]),
      renders.map(({ app, lower }) => [app, lower, true, undefined]),
    );
    await unmountOverlay({ pod });
    assertEquals(await mountsBelow(dir.path), []);
    await assertUsable(await counted({ pod, apps }));
  });
}

/** How many lines a render tells: an interruption can come at each of them. */
async function linesOf(request: PodRequest): Promise<number> {
  let lines = 0;
  await renderPod(request, { trace: () => void lines++ });
  await unmountOverlay({ pod: request.pod });
  await Deno.remove(request.pod, { recursive: true });
  return lines;
}

for (const [signal, status] of [[2, 130], [15, 143]] as const) {
  Deno.test(`overlay-render render --spec exits ${status} and leaves nothing, at whatever point signal ${signal} comes`, async () => {
    await using dir = await tempDir();
    const { pod, lower, image } = await setUp(dir);
    const list = (app: PodApp): PodApp => ({ ...app, lower: [`${app.lower}`] });
    const apps = [...appsOf(lower, ["a", "b"]), image].map(list);
    const lines = await linesOf({ pod, group: 0, apps });
    assert(lines > 20);
    const before = await disk(dir.path);
    for (let at = 1; at <= lines; at++) {
      let seen = 0;
      let send = (_signal: number): void => {};
      let stderr = "";
      const result = await runMain(["render", "--verbose", "--spec", "-"], {
        input: () => JSON.stringify({ pod, group: 0, apps }),
        err: (text) => {
          stderr += text;
          if (++seen === at) send(signal);
        },
        onSignal: (handler) => {
          send = handler;
          return () => {};
        },
      });
      assertEquals([result.status, result.stdout], [status, ""], `at line ${at}:\n${stderr}`);
      assertEquals(await disk(dir.path), before, `at line ${at}:\n${stderr}`);
    }
  });
}
