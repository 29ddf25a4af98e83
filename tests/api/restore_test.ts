/**
 * Mounting again what was mounted, as after a reboot.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  InvalidValueError,
  OverlayError,
  overlayStatus,
  permissionFlags,
  prepareOverlay,
  renderOverlay,
  renderPod,
  restoreOverlays,
  restorePermissions,
  unmountOverlay,
} from "../../mod.ts";
import type { NotRestored } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertFails, disk, runMain } from "../_main.ts";
import {
  briefly,
  counter,
  idlePod,
  makePlace,
  mountedPod,
  nestedPod,
  preparedPod,
  rebootedPod,
} from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { kernelOptions, makeTree, MARKS, mountsOn } from "../_tree.ts";

/** What is left after a reboot: all lines as they were, and nothing mounted. */
async function reboot(dir: TempDir): Promise<void> {
  for (const mount of (await mountsBelow(dir.path)).reverse()) await sh("umount", "--", mount);
}

/** The options of a mount, but for what the kernel chooses anew each time. */
async function optionsOf(rootfs: string): Promise<string> {
  return (await kernelOptions(rootfs)).replace(/,uuid=\w+/, "");
}

/** A pod with three apps of one call. */
async function podOfThree({ pods, lower }: Place, name: string): Promise<string[]> {
  const apps = ["a", "b", "c"].map((app) => ({ app, lower, options: MARKS }));
  const { renders } = await renderPod({ pod: `${pods}/${name}`, apps });
  for (const { rootfs, app } of renders) await Deno.writeTextFile(`${rootfs}/made`, app);
  return renders.map(({ rootfs }) => rootfs);
}

/** The one failure that there is. */
function only(failed: readonly NotRestored[]): NotRestored {
  const [first] = failed;
  if (first === undefined || failed.length > 1) throw new Error(JSON.stringify(failed));
  return first;
}

Deno.test("restoreOverlays() mounts all apps of a pod again in one process", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = `${place.pods}/one`;
  const rootfs = await podOfThree(place, "one");
  const [lines, options] = [
    await Deno.readTextFile(`${pod}/overlay.fstab`),
    await Promise.all(rootfs.map(optionsOf)),
  ];
  await reboot(dir);
  const { trace, count } = counter();
  const { restored, failed } = await restoreOverlays({ pod }, { trace });
  assertEquals(failed, []);
  assertEquals(
    restored,
    ["a", "b", "c"].map((app, at) => ({ pod, app, rootfs: rootfs[at] ?? "" })),
  );
  assertEquals(count("mount"), 1);
  assertEquals(await mountsBelow(dir.path), rootfs);
  assertEquals(await Promise.all(rootfs.map(optionsOf)), options);
  assertEquals(await Deno.readTextFile(`${rootfs[1]}/made`), "b");
  assertEquals(await Deno.readTextFile(`${pod}/overlay.fstab`), lines);
  const states = (await overlayStatus(pod)).map(({ mounted, drift }) => [mounted, drift]);
  assertEquals(states, [[true, undefined], [true, undefined], [true, undefined]]);
});

Deno.test("restoreOverlays() mounts all pods of a directory again, each in one process", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const rootfs = [...await podOfThree(place, "one"), ...await podOfThree(place, "two")];
  rootfs.push((await mountedPod(place, "up")).rootfs);
  await reboot(dir);
  await renderOverlay({
    ...{ lower: place.lower, pod: `${place.pods}/up`, app: "web", options: MARKS },
  });
  await idlePod(place, "idle");
  await preparedPod(place, "prepared");
  await Deno.mkdir(`${place.pods}/no-pod`);
  await Deno.writeTextFile(`${place.pods}/file`, "");
  await sh("cp", "-a", `${place.pods}/one`, `${place.pods}/garbage`);
  const { trace, count } = counter();
  const result = await restoreOverlays({ pods: place.pods }, { trace });
  assertEquals(briefly(result, dir), {
    restored: ["one", "two"].flatMap((pod) => ["a", "b", "c"].map((app) => `pods/${pod} ${app}`)),
    failed: [],
  });
  assertEquals(count("mount"), 2);
  assertEquals((await mountsBelow(dir.path)).sort(), rootfs.sort());
});

Deno.test("restoreOverlays() changes nothing when it is run twice", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await podOfThree(place, "one");
  await nestedPod(place, "two");
  await idlePod(place, "idle");
  await reboot(dir);
  await restoreOverlays({ pods: place.pods });
  const before = await disk(dir.path);
  const { trace, count } = counter();
  const again = await restoreOverlays({ pods: place.pods }, { trace });
  assertEquals(again, { restored: [], failed: [] });
  assertEquals(count("mount"), 0);
  assertEquals(await disk(dir.path), before);
});

Deno.test("restoreOverlays() mounts apps in the pod's own image, whose directories are not there before", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await nestedPod(place, "one");
  await Deno.writeTextFile(`${rootfs[2]}/made`, "inner");
  await reboot(dir);
  const { trace, count } = counter();
  const result = await restoreOverlays({ pod }, { trace });
  assertEquals(briefly(result, dir), {
    restored: ["pods/one ", "pods/one web", "pods/one db"],
    failed: [],
  });
  // One more asks whether a container uses the image still.
  assertEquals(count("mount"), 2);
  assertEquals(await mountsBelow(dir.path), rootfs);
  assertEquals(await Deno.readTextFile(`${rootfs[2]}/made`), "inner");
});

Deno.test("restoreOverlays() mounts an app again whose image is mounted already", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [image = "", web = "", db = ""] } = await nestedPod(place, "one");
  await sh("umount", "--", web);
  const { failed } = await restoreOverlays({ pod });
  assertEquals(failed.map(({ app, code }) => [app, code]), [["web", "in-use"]]);
  const result = await restoreOverlays({ pod, live: true });
  assertEquals(briefly(result, dir), { restored: ["pods/one web"], failed: [] });
  assertEquals(await mountsBelow(dir.path), [image, db, web]);
});

Deno.test("restoreOverlays() mounts read-only views again, and they stay read-only", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = `${place.pods}/one`;
  const view = { lower: place.lower, pod, readOnly: true };
  const other = await makeTree(dir.join("other"));
  const stack = { ...view, lower: [other, place.lower], tree: "stack", options: MARKS };
  const rootfs: string[] = [];
  for (const request of [{ ...view, app: "one" }, { ...stack, app: "two" }]) {
    rootfs.push((await renderOverlay(request)).rootfs);
  }
  const before = await snapshot(place.lower);
  await reboot(dir);
  const { trace, count } = counter();
  const result = await restoreOverlays({ pod }, { trace });
  assertEquals(briefly(result, dir), { restored: ["pods/one one", "pods/one two"], failed: [] });
  assertEquals(count("mount"), 1);
  assertEquals(await mountsBelow(dir.path), rootfs);
  for (const path of rootfs) {
    const error = await assertRejects(() => Deno.writeTextFile(`${path}/made`, ""), Error);
    assertMatch(error.message, /Read-only file system/);
  }
  assertEquals(await snapshot(place.lower), before);
});

Deno.test("restoreOverlays() mounts lines with paths relative to the pod", async () => {
  await using dir = await tempDir();
  const far = dir.join("x".repeat(200));
  const lower: string[] = [];
  for (let i = 0; i < 25; i++) lower.push(await makeTree(`${far}/lower-${i}`));
  const pod = `${far}/pod`;
  const request = { lower, pod, tree: "many", options: MARKS };
  const rootfs: string[] = [];
  for (const app of ["web", "db"]) rootfs.push((await renderOverlay({ ...request, app })).rootfs);
  const [, options = ""] = await Promise.all(rootfs.map(optionsOf));
  assertStringIncludes(options, "upperdir=overlay/many/upper/db,");
  await Deno.writeTextFile(`${rootfs[1]}/made`, "here");
  await reboot(dir);
  const { trace, count } = counter();
  const { restored, failed } = await restoreOverlays({ pod }, { trace });
  assertEquals([restored.map(({ app }) => app), failed], [["web", "db"], []]);
  assertEquals([count("mount"), await mountsBelow(dir.path)], [1, rootfs]);
  assertEquals(await Deno.readTextFile(`${pod}/overlay/many/upper/db/made`), "here");
  assertEquals(await optionsOf(`${rootfs[1]}`), options);
});

Deno.test("restoreOverlays() mounts a destination outside the pod, and odd names", async () => {
  await using dir = await tempDir();
  const { lower, pods } = await makePlace(dir);
  const pod = `${pods}/a b,c:d\\e"f`;
  const request = { lower, pod, options: MARKS };
  const far = await renderOverlay({ ...request, app: "far", dest: dir.join("far away") });
  const odd = await renderOverlay({ ...request, app: "a,remount b" });
  await reboot(dir);
  const { restored, failed } = await restoreOverlays({ pods });
  assertEquals(restored.map(({ rootfs }) => rootfs), [far.rootfs, odd.rootfs]);
  assertEquals(failed, []);
  assertEquals(await mountsBelow(dir.path), [far.rootfs, odd.rootfs]);
});

Deno.test("restoreOverlays() leaves alone what was unmounted, and what was only prepared", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const [a = "", b = "", c = ""] = await podOfThree(place, "one");
  const pod = `${place.pods}/one`;
  await unmountOverlay({ pod, app: "b" });
  await prepareOverlay({ lower: place.lower, pod, app: "d", options: MARKS });
  await reboot(dir);
  const lines = await Deno.readTextFile(`${pod}/overlay.fstab`);
  const result = await restoreOverlays({ pod });
  assertEquals(briefly(result, dir), { restored: ["pods/one a", "pods/one c"], failed: [] });
  assertEquals(await mountsBelow(dir.path), [a, c]);
  assertEquals(await mountsOn(b), 0);
  assertEquals(await Deno.readTextFile(`${pod}/overlay.fstab`), lines);
});

/** What can be gone of an app, by the code that tells it. */
const GONE: readonly [string, (app: Lost) => string][] = [
  ["lower", ({ lower }) => lower],
  ["upper", ({ upper }) => upper],
  ["work", ({ upper }) => upper.replace("/upper/", "/work/")],
  ["rootfs", ({ rootfs }) => rootfs],
  ["destination", ({ rootfs }) => rootfs.replace(/\/rootfs$/, "")],
];

interface Lost {
  readonly lower: string;
  readonly upper: string;
  readonly rootfs: string;
}

for (const [what, pathOf] of GONE) {
  Deno.test(`restoreOverlays() says whose ${what} is gone, and mounts the others`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const pod = `${place.pods}/one`;
    const lower = await makeTree(dir.join("lost"));
    const first = await mountedPod(place, "one", { app: "first" });
    const lost = await renderOverlay({ lower, pod, app: "lost", options: MARKS });
    const last = await mountedPod(place, "one", { app: "last" });
    await mountedPod(place, "two");
    await reboot(dir);
    const path = pathOf({ lower, upper: `${lost.upper}`, rootfs: lost.rootfs });
    await Deno.remove(path, { recursive: true });
    const lines = await Deno.readTextFile(`${pod}/overlay.fstab`);

    const { restored, failed } = await restoreOverlays({ pods: place.pods });
    assertEquals(briefly({ restored, failed }, dir), {
      restored: ["pods/one first", "pods/one last", "pods/two web"],
      failed: ["pods/one lost: missing"],
    });
    const { reason, hint } = only(failed);
    assertMatch(reason, /^Cannot mount app "lost" again: ".*" does not exist$/);
    assertStringIncludes(reason, what === "destination" ? lost.rootfs : path);
    assertMatch(hint ?? "", /put it back, or render the app again/);
    assertEquals((await mountsBelow(pod)).sort(), [first.rootfs, last.rootfs].sort());
    // The line is kept: what it tells may come back.
    assertEquals(await Deno.readTextFile(`${pod}/overlay.fstab`), lines);
  });
}

Deno.test("restoreOverlays() says which apps are lost with the image that they lie in", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await nestedPod(place, "one");
  const far = { lower: place.lower, pod, app: "far", dest: dir.join("far"), options: MARKS };
  const { rootfs } = await renderOverlay(far);
  await reboot(dir);
  await Deno.remove(dir.join("stage1-of-one"), { recursive: true });
  const result = await restoreOverlays({ pod });
  assertEquals(briefly(result, dir).restored, ["pods/one far"]);
  assertEquals(result.failed.map(({ app }) => app).sort(), ["", "db", "web"]);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
});

Deno.test("restoreOverlays() refuses a volatile app that was not unmounted in order, and says the cure", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs, upper } = await rebootedPod(place, "one", {
    app: "quick",
    options: ["volatile"],
  });
  await rebootedPod(place, "one", { app: "safe" });
  const result = await restoreOverlays({ pod });
  assertEquals(briefly(result, dir), {
    restored: ["pods/one safe"],
    failed: ["pods/one quick: volatile"],
  });
  const { reason, hint } = only(result.failed);
  assertStringIncludes(reason, `Cannot mount "${rootfs}": it was mounted with volatile`);
  const mark = `${upper.replace("/upper/", "/work/")}/work/incompat`;
  assertEquals(hint, `to take it as it is: rm -r ${mark}`);
  await sh("rm", "-r", "--", mark);
  const cured = await restoreOverlays({ pod });
  assertEquals(briefly(cured, dir), { restored: ["pods/one quick"], failed: [] });
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "one");
});

Deno.test("restoreOverlays() reports something else that is mounted on a rootfs, and leaves it there", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await rebootedPod(place, "one", { app: "taken" });
  await rebootedPod(place, "one", { app: "free" });
  await sh("mount", "-t", "tmpfs", "tmpfs", "--", rootfs);
  await Deno.writeTextFile(`${rootfs}/file`, "not ours");
  const result = await restoreOverlays({ pod });
  assertEquals(briefly(result, dir), {
    restored: ["pods/one free"],
    failed: ["pods/one taken: foreign-mount"],
  });
  assertStringIncludes(only(result.failed).reason, `"${rootfs}": something else is mounted there`);
  assertEquals([await mountsOn(rootfs), await Deno.readTextFile(`${rootfs}/file`)], [
    1,
    "not ours",
  ]);
});

Deno.test("restoreOverlays() does not mount an upper that is mounted elsewhere", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, upper } = await rebootedPod(place, "one");
  const elsewhere = dir.join("pod-moved");
  await Deno.mkdir(elsewhere);
  const dirs = [`lowerdir=${place.lower}`, `upperdir=${upper}`];
  const options = [...dirs, `workdir=${upper.replace("/upper/", "/work/")}`, ...MARKS].join(",");
  await sh("mount", "-t", "overlay", "overlay", "-o", options, "--", elsewhere);
  const result = await restoreOverlays({ pod });
  assertEquals(briefly(result, dir), { restored: [], failed: ["pods/one web: in-use"] });
  assertStringIncludes(only(result.failed).reason, elsewhere);
  assertEquals(await mountsBelow(dir.path), [elsewhere]);
});

/** Adds a line to those of a pod: the last one, changed. */
async function addLine(pod: string, change: (line: string) => string): Promise<void> {
  const lines = (await Deno.readTextFile(`${pod}/overlay.fstab`)).trimEnd().split("\n");
  lines.push(change(`${lines.at(-1)}`));
  await Deno.writeTextFile(`${pod}/overlay.fstab`, `${lines.join("\n")}\n`);
}

Deno.test("restoreOverlays() mounts an app once that has two lines", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await rebootedPod(place, "one");
  await addLine(pod, (line) => line);
  await restoreOverlays({ pod });
  assertEquals(await mountsOn(rootfs), 1);
  await restoreOverlays({ pod });
  assertEquals(await mountsOn(rootfs), 1);
});

Deno.test("restoreOverlays() does not mount one upper twice, though two lines say so", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await rebootedPod(place, "one");
  await prepareOverlay({ lower: place.lower, pod, app: "db", options: MARKS });
  const lines = (await Deno.readTextFile(`${pod}/overlay.fstab`)).trimEnd().split("\n");
  lines.splice(
    -1,
    1,
    `${lines.at(-2)}`.replaceAll("apps/web", "apps/db").replace("=web", "=db"),
  );
  await Deno.writeTextFile(`${pod}/overlay.fstab`, `${lines.join("\n")}\n`);
  const { failed } = await restoreOverlays({ pod });
  // Which of the two is right nobody can say; the first one may be mounted.
  assertEquals(failed.filter(({ code }) => code !== "in-use"), []);
  assertEquals(failed.map(({ app }) => app).includes("db"), true);
  assertEquals((await mountsBelow(dir.path)).filter((path) => path !== rootfs), []);
});

/** What is wrong with a pod as a whole, by the code that tells it. */
const BROKEN: readonly [string, string, (pod: string, dir: TempDir) => Promise<unknown>][] = [
  ["others can write to", "shared-pod", (pod) => Deno.chmod(pod, 0o777)],
  ["has lines that are not UTF-8", "bad-record", (pod) => {
    return Deno.writeFile(`${pod}/overlay.fstab`, new Uint8Array([0xff, 0x0a]));
  }],
  ["has a line that was cut off", "bad-record", async (pod) => {
    await Deno.truncate(`${pod}/overlay.fstab`, (await Deno.stat(`${pod}/overlay.fstab`)).size - 9);
  }],
  ["has a link in place of its lines", "symlink", async (pod, dir) => {
    await Deno.rename(`${pod}/overlay.fstab`, dir.join("fstab"));
    await Deno.symlink(dir.join("fstab"), `${pod}/overlay.fstab`);
  }],
  ["has a link in place of its lock", "symlink", async (pod, dir) => {
    await Deno.rename(`${pod}/overlay.lock`, dir.join("lock"));
    await Deno.symlink(dir.join("lock"), `${pod}/overlay.lock`);
  }],
  ["has the lines of another place", "pod-moved", async (pod) => {
    const text = await Deno.readTextFile(`${pod}/overlay.fstab`);
    await Deno.writeTextFile(`${pod}/overlay.fstab`, text.replaceAll(`${pod}/`, `${pod}-of-old/`));
  }],
];

for (const [what, code, breakIt] of BROKEN) {
  Deno.test(`restoreOverlays() reports a pod that ${what}, and goes on with the others`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod } = await rebootedPod(place, "bad");
    const { rootfs } = await rebootedPod(place, "good");
    await breakIt(pod, dir);
    const before = await snapshot(pod);
    const result = await restoreOverlays({ pods: place.pods });
    assertEquals(briefly(result, dir), {
      restored: ["pods/good web"],
      failed: [`pods/bad null: ${code}`],
    });
    assertEquals(await mountsBelow(dir.path), [rootfs]);
    assertEquals(await snapshot(pod), before);
  });
}

Deno.test("restoreOverlays() reports a pod that another process changes, and does not wait for ever", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await rebootedPod(place, "busy");
  const { rootfs } = await rebootedPod(place, "free");
  await using holder = await holdLock(`${pod}/overlay.lock`);
  const result = await restoreOverlays({ pods: place.pods }, { waitMs: 50 });
  assertEquals(briefly(result, dir), {
    restored: ["pods/free web"],
    failed: ["pods/busy null: locked"],
  });
  assertStringIncludes(only(result.failed).reason, `process ${holder.pid} holds it`);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
});

Deno.test("restoreOverlays() stops between two pods when its signal is aborted", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { rootfs } = await rebootedPod(place, "a");
  await rebootedPod(place, "b");
  const controller = new AbortController();
  const reason = new Error("no time");
  const checkpoint = () => controller.abort(reason);
  const thrown = await assertRejects(() => {
    return restoreOverlays({ pods: place.pods }, { signal: controller.signal, checkpoint });
  });
  assertEquals(thrown, reason);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
  const rest = await restoreOverlays({ pods: place.pods });
  assertEquals(briefly(rest, dir), { restored: ["pods/b web"], failed: [] });
});

Deno.test("restoreOverlays() of a pod without lines does nothing, and of none at all is an error", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await Deno.mkdir(dir.join("empty"));
  const before = await disk(dir.path);
  const nothing = { restored: [], failed: [] };
  assertEquals(await restoreOverlays({ pod: dir.join("empty") }), nothing);
  assertEquals(await restoreOverlays({ pods: place.pods }), nothing);
  for (const request of [{ pod: dir.join("none") }, { pods: dir.join("none") }]) {
    const error = await assertRejects(() => restoreOverlays(request), OverlayError);
    assertEquals([error.code, error.path], ["missing", dir.join("none")]);
  }
  for (const path of ["", "pods", "/a/../b"]) {
    await assertRejects(() => restoreOverlays({ pod: path }), InvalidValueError);
    await assertRejects(() => restoreOverlays({ pods: path }), InvalidValueError);
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render restore prints each rootfs that it mounted, and exits 0", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const rootfs = await podOfThree(place, "one");
  await reboot(dir);
  const first = await runMain(["restore", `--pods=${place.pods}`]);
  assertEquals(first, {
    status: 0,
    stdout: rootfs.map((path) => `${path}\n`).join(""),
    stderr: "",
  });
  const again = await runMain(["restore", `--pod=${place.pods}/one`]);
  assertEquals(again, { status: 0, stdout: "", stderr: "" });
});

Deno.test("overlay-render restore exits 1 when something could not be mounted, with error and hint for each", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const [a = "", b = "", c = ""] = await podOfThree(place, "one");
  await reboot(dir);
  await Deno.remove(b);
  const text = await runMain(["restore", `--pods=${place.pods}`]);
  assertEquals([text.status, text.stdout], [1, `${a}\n${c}\n`]);
  assertMatch(text.stderr, /^error: Cannot mount app "b" again: ".*" does not exist\nhint: .+\n$/);
});

Deno.test("overlay-render restore --json prints one object", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const [a = "", b = "", c = ""] = await podOfThree(place, "one");
  const pod = `${place.pods}/one`;
  await reboot(dir);
  await Deno.remove(b);
  const { status, stdout, stderr } = await runMain(["restore", "--json", `--pod=${pod}`]);
  assertEquals([status, stderr], [1, ""]);
  assertMatch(stdout, /^{"version":1,"restored":\[.*\],"failed":\[.*\]}\n$/);
  const { version, restored, failed: [lost] } = JSON.parse(stdout);
  assertEquals([version, restored], [1, [
    { pod, app: "a", rootfs: a },
    { pod, app: "c", rootfs: c },
  ]]);
  assertEquals(Object.keys(lost), ["pod", "app", "code", "reason", "hint"]);
  assertEquals([lost.pod, lost.app, lost.code], [pod, "b", "missing"]);
});

Deno.test("overlay-render restore refuses what is no pod and flags that do not go together", async () => {
  await using dir = await tempDir();
  const { pods } = await makePlace(dir);
  const missing = { status: 1, code: "missing", path: dir.join("none") };
  await assertFails(dir.path, ["restore", `--pod=${dir.join("none")}`], missing);
  await assertFails(dir.path, ["restore", `--pods=${dir.join("none")}`], missing);
  const usage = { status: 2, code: "usage" };
  await assertFails(dir.path, ["restore"], usage);
  await assertFails(dir.path, ["restore", `--pods=${pods}`, `--pod=${pods}/a`], usage);
  await assertFails(dir.path, ["restore", `--pods=${pods}`, "--app=a"], usage);
});

Deno.test("overlay-render restore needs the permissions that restorePermissions() names, and the lowers", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await rebootedPod(place, "one");
  const before = await disk(dir.path);
  const none = await cli(["restore", "--pod", pod], { flags: [`--allow-read=${pod}`] });
  assertEquals([none.status, none.stdout], [4, ""]);
  assertMatch(none.stderr, /^error: Cannot restore without Deno permissions: .*--allow-write=/);
  assertEquals(await disk(dir.path), before);
  const needed = restorePermissions(pod);
  const flags = permissionFlags({ ...needed, read: [...needed.read, place.lower] });
  const { status, stdout, stderr } = await cli(["restore", "--pod", pod], { flags });
  assertEquals([status, stdout, stderr], [0, `${rootfs}\n`, ""]);
});

Deno.test("overlay-render restore without a permission for a destination exits 4, and mounts no other pod either", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await rebootedPod(place, "a");
  const app = { lower: place.lower, app: "web", options: MARKS };
  await renderOverlay({ ...app, pod: `${place.pods}/b`, dest: dir.join("far") });
  await reboot(dir);
  const { read, ...needed } = restorePermissions(place.pods);
  const flags = permissionFlags({ ...needed, read: [...read, place.lower] });
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await cli(["restore", "--pods", place.pods], { flags });
  assertEquals([status, stdout], [4, ""], stderr);
  assertStringIncludes(stderr, `--allow-read=${dir.join("far")}`);
  assertEquals(await disk(dir.path), before);
});
