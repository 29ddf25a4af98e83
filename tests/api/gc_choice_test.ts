/**
 * Which pods gc takes, which it never does, and the way back.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  collectPods,
  InvalidValueError,
  keepPod,
  OverlayError,
  overlayStatus,
  planPod,
  prepareOverlay,
  preparePod,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  undoCollect,
  unkeepPod,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { disk, runMain } from "../_main.ts";
import { brief, idlePod, makePlace, mountedPod, preparedPod } from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

const DAY = 86_400_000;

/** A pod that was rendered without a word about gc, and is not mounted. */
async function lastingPod({ pods, lower }: Place, name: string): Promise<string> {
  const pod = `${pods}/${name}`;
  const { upper } = await prepareOverlay({ lower, pod, app: "web", options: MARKS });
  await Deno.writeTextFile(`${upper}/made`, name);
  return pod;
}

async function age(path: string, ms: number): Promise<void> {
  const then = new Date(Date.now() - ms);
  await Deno.utime(path, then, then);
}

Deno.test("collectPods() of a directory takes ephemeral pods, and says of the others how they go", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await preparedPod(place, "brief");
  const lasting = await lastingPod(place, "lasting");
  const before = await snapshot(lasting);
  const collected = await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(brief(collected, dir), {
    marked: ["pods/brief as pods/garbage/brief"],
    removed: ["pods/garbage/brief"],
    kept: ["pods/lasting: not-due"],
  });
  const [{ reason, hint, failed } = { reason: "", hint: "", failed: true }] = collected.kept;
  assertMatch(reason, /"[^"]*\/lasting": it was not rendered as ephemeral$/);
  assertMatch(`${hint}`, /overlay-render gc --pod .*\/lasting$/);
  assertEquals([failed, await snapshot(lasting)], [false, before]);
  // Whoever names it knows.
  assertEquals((await collectPods({ pod: lasting })).removed.length, 1);
});

Deno.test("collectPods() takes a pod for ephemeral only when all its apps are, by their last render", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const request = { lower: place.lower, pod: `${place.pods}/a`, options: MARKS };
  const all = { pods: place.pods, gracePeriodMs: 0 };
  const kept = async () => (await collectPods({ ...all, dryRun: true })).kept.length;
  await prepareOverlay({ ...request, app: "web", ephemeral: true });
  assertEquals(await kept(), 0);
  await prepareOverlay({ ...request, app: "db" });
  assertEquals(await kept(), 1);
  await renderOverlay({ ...request, app: "db", ephemeral: true });
  await unmountOverlay({ pod: request.pod });
  // What unmounts and mounts again does not make it forgotten.
  assertEquals(await kept(), 0);
  await prepareOverlay({ ...request, app: "web" });
  assertEquals(await kept(), 1);
});

Deno.test("preparePod() takes ephemeral of a pod, and of an app before it", async () => {
  await using dir = await tempDir();
  const { pods, lower } = await makePlace(dir);
  const request = {
    pod: `${pods}/a`,
    ephemeral: true,
    apps: [{ app: "web", lower: [lower] }, { app: "db", lower: [lower], ephemeral: false }],
  };
  assertEquals(planPod(request).mounts.map(({ ephemeral }) => ephemeral), [true, undefined]);
  await preparePod(request);
  const text = await Deno.readTextFile(`${pods}/a/overlay.fstab`);
  assertEquals(text.match(/\bX-overlay-render\.ephemeral\b/g)?.length, 1);
  // mount(8) and findmnt(8) take the line as before.
  await sh("findmnt", "--verify", "--tab-file", `${pods}/a/overlay.fstab`);
  const spec = dir.join("spec.json");
  await Deno.writeTextFile(spec, JSON.stringify({ ...request, apps: request.apps.slice(0, 1) }));
  const { status } = await runMain(["prepare", "--spec", spec, "--quiet"]);
  const flag = await runMain(["prepare", "--spec", spec, "--ephemeral"]);
  assertEquals([status, flag.status], [0, 2]);
});

Deno.test("overlay-render gc --older-than takes unmounted pods by the time of their record's last change", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of ["old", "young", "future"]) await lastingPod(place, name);
  const { pod: mounted } = await mountedPod(place, "mounted");
  await age(`${place.pods}/old/overlay.fstab`, 31 * DAY);
  await age(`${place.pods}/young/overlay.fstab`, 29 * DAY);
  await age(`${place.pods}/future/overlay.fstab`, -DAY);
  await age(`${mounted}/overlay.fstab`, 31 * DAY);
  // What lies beside the record does not make a pod older or younger.
  for (const name of ["old", "young"]) await age(`${place.pods}/${name}`, 0);
  const args = ["gc", `--pods=${place.pods}`, "--older-than=30d", "--grace-period=0", "--json"];
  const { status, stdout } = await runMain(args);
  const { removed, kept } = JSON.parse(stdout);
  assertEquals([status, removed], [0, [{ garbage: `${place.pods}/garbage/old` }]]);
  assertEquals(kept.map(({ pod, code }: { pod: string; code: string }) => [pod, code]), [
    [`${place.pods}/future`, "not-due"],
    [mounted, "in-use"],
    [`${place.pods}/young`, "not-due"],
  ]);
  assertMatch(stdout, /it was last used \S+ ago/);
  const wrong = await runMain(["gc", `--pod=${mounted}`, "--older-than=30d"]);
  assertEquals([wrong.status, (await mountsBelow(dir.path)).length], [2, 1]);
});

Deno.test("keepPod() keeps a pod from every gc until unkeepPod()", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  assertEquals(await keepPod(pod), { pod, kept: true, changed: true });
  assertEquals(await keepPod(pod), { pod, kept: true, changed: false });
  const before = await disk(dir.path);
  for (const dryRun of [true, false]) {
    const all = { pods: place.pods, olderThanMs: 0, gracePeriodMs: 0, dryRun };
    assertEquals(brief(await collectPods(all), dir).kept, ["pods/a: kept"]);
    const error = await assertRejects(() => collectPods({ pod, dryRun }), RefusedError);
    assertEquals([error.code, error.exitStatus], ["kept", 3]);
    assertMatch(`${error.hint}`, /overlay-render unkeep --pod/);
  }
  assertEquals(await disk(dir.path), before);
  const { status, stdout } = await runMain(["unkeep", `--pod=${pod}`]);
  assertEquals([status, stdout], [0, `let go   ${pod}\n`]);
  assertEquals(await unkeepPod(pod), { pod, kept: false, changed: false });
  assertEquals((await collectPods({ pod })).removed.length, 1);
});

Deno.test("overlay-render keep refuses what is no pod, and needs no more than the pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await Deno.mkdir(`${place.pods}/data`);
  assertEquals((await runMain(["keep", `--pod=${place.pods}/data`])).status, 3);
  assertEquals((await runMain(["keep", `--pod=${place.pods}/none`])).status, 1);
  assertEquals((await runMain(["keep"])).status, 2);
  const trust = ["--allow-run=/bin/find", "--allow-sys=uid"];
  const flags = [...trust, `--allow-read=${pod}`, `--allow-write=${pod}`];
  assertEquals((await cli(["keep", "--pod", pod], { flags: flags.slice(0, 3) })).status, 4);
  const kept = await cli(["keep", "--pod", pod, "--json"], { flags });
  assertEquals(JSON.parse(kept.stdout), { version: 1, pod, kept: true, changed: true });
});

Deno.test("undoCollect() brings a pod back, by its own path and by the one in the garbage, and its lines work", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  for (const path of [pod, `${place.pods}/garbage/a`]) {
    await collectPods({ pod, gracePeriodMs: DAY });
    assertEquals([await mountsBelow(dir.path), await isMissing(pod)], [[], true]);
    assertEquals(await undoCollect(path), { pod, garbage: `${place.pods}/garbage/a` });
    assertEquals(await namesIn(place.pods), ["a"]);
    // It was mounted when it was collected.
    assertEquals((await restoreOverlays({ pod })).failed, []);
    assertEquals(await Deno.readTextFile(`${rootfs}/made`), "a");
  }
  await idlePod(place, "b");
  await runMain(["gc", `--pods=${place.pods}`]);
  const undo = await runMain(["gc", "--undo", `${place.pods}/b`]);
  assertEquals(undo, {
    status: 0,
    stdout: `returned ${place.pods}/garbage/b as ${place.pods}/b\n`,
    stderr: "",
  });
  assertEquals((await overlayStatus(`${place.pods}/b`)).map(({ drift }) => drift), [undefined]);
});

Deno.test("undoCollect() finds the pod whose name was taken in the garbage, and asks which of several", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await collectPods({ pods: place.pods });
  await preparedPod(place, "a");
  await collectPods({ pods: place.pods });
  const several = await assertRejects(
    () => undoCollect(pod),
    RefusedError,
    "set aside more than once",
  );
  assertMatch(`${several.hint}`, /garbage\/a, .*garbage\/a~1/);
  await preparedPod(place, "a~1");
  await collectPods({ pods: place.pods });
  assertEquals(await undoCollect(`${place.pods}/garbage/a~1`), {
    pod,
    garbage: `${place.pods}/garbage/a~1`,
  });
  assertEquals((await undoCollect(`${place.pods}/a~1`)).garbage, `${place.pods}/garbage/a~1~1`);
});

Deno.test("undoCollect() refuses what is not aside, a place that is taken, and a removal that has begun", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  const missing = await assertRejects(() => undoCollect(pod), OverlayError, "nothing of it");
  assertEquals([missing.code, missing.exitStatus], ["missing", 1]);
  await assertRejects(() => undoCollect("relative"), InvalidValueError);
  await collectPods({ pods: place.pods });
  await Deno.mkdir(pod);
  await assertRejects(() => undoCollect(pod), RefusedError, "something else is at");
  await Deno.remove(pod);
  const crash = new Error("crash");
  const checkpoint = (step: string) => {
    if (step === "removed") throw crash;
  };
  await assertRejects(() => collectPods({ pods: place.pods, gracePeriodMs: 0 }, { checkpoint }));
  const begun = await assertRejects(() => undoCollect(pod), RefusedError, "removal has begun");
  assertEquals([begun.exitStatus, await isMissing(pod)], [3, true]);
  for (const flag of [`--pod=${pod}`, "--mark", "--grace-period=0"]) {
    assertEquals((await runMain(["gc", `--undo=${pod}`, flag])).status, 2);
  }
  assertEquals((await collectPods({ pod })).removed.length, 1);
});

Deno.test("overlay-render gc --ignore-missing exits 0 when there is nothing to collect", async () => {
  await using dir = await tempDir();
  const { pods } = await makePlace(dir);
  for (const path of [`--pod=${pods}/none`, `--pods=${pods}/none`]) {
    assertEquals((await runMain(["gc", path])).status, 1);
    assertEquals(await runMain(["gc", path, "--ignore-missing"]), {
      status: 0,
      stdout: "",
      stderr: "",
    });
  }
});

Deno.test("collectPods() removes the destinations that a render made outside the pod, and no other", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = `${place.pods}/a`;
  const manifest = dir.join("manifest.json");
  await Deno.writeTextFile(manifest, "{}");
  await Deno.mkdir(dir.join("there"));
  await Deno.mkdir(dir.join("whole/rootfs"), { recursive: true });
  for (const name of ["new", "there", "whole", "used"]) {
    const dest = dir.join(name);
    const more = name === "new" ? { manifest } : {};
    const app = { lower: place.lower, pod, app: name, dest, options: MARKS, ...more };
    await renderOverlay(app);
    // By the second render all of it is there.
    await renderOverlay(app);
  }
  await Deno.writeTextFile(dir.join("used/note"), "not the render's");
  const warnings: string[] = [];
  await collectPods({ pod, gracePeriodMs: DAY });
  assertEquals(await namesIn(dir.join("new")), ["manifest", "rootfs"]);
  await collectPods({ pod }, { warn: (text) => void warnings.push(text) });
  assertEquals(await isMissing(dir.join("new")), true);
  assertEquals(await namesIn(dir.join("there")), []);
  assertEquals(await namesIn(dir.join("whole")), ["rootfs"]);
  assertEquals(await namesIn(dir.join("used")), ["note"]);
  assertEquals(warnings.length, 1);
  assertMatch(`${warnings[0]}`, /^destination ".*\/used" stays: something is in it/);
});

Deno.test("every command refuses / as a pod", async () => {
  await using dir = await tempDir();
  const { lower } = await makePlace(dir);
  for (const name of ["plan", "prepare", "render"]) {
    const { status, stderr } = await runMain([name, "--lower", lower, "--pod", "/"]);
    assertEquals(status, 2, name);
    assertMatch(stderr, /^error: Cannot use pod "\/": it is the root directory\nhint: /);
  }
  for (const name of ["unmount", "status", "restore", "gc", "keep", "unkeep"]) {
    assertEquals((await runMain([name, "--pod", "/"])).status, 2, name);
  }
  assert(await isMissing("/overlay.lock"));
});

for (const again of ["render", "prepare"] as const) {
  Deno.test(`collectPods() leaves a destination that the pod has by a ${again} after it was put aside`, async () => {
    await using dir = await tempDir();
    const { lower, pods } = await makePlace(dir);
    const manifest = dir.join("manifest.json");
    await Deno.writeTextFile(manifest, "{}");
    const pod = `${pods}/a`;
    const app = { lower, pod, app: "web", dest: dir.join("far"), options: MARKS, manifest };
    await renderOverlay(app);
    await collectPods({ pod, gracePeriodMs: DAY });
    await (again === "render" ? renderOverlay(app) : prepareOverlay(app));
    const warnings: string[] = [];
    const options = { warn: (text: string) => void warnings.push(text) };
    const swept = await collectPods({ pods, phase: "sweep", gracePeriodMs: 0 }, options);
    assertEquals([swept.removed.length, warnings], [1, []]);
    assertEquals(await namesIn(app.dest), ["manifest", "rootfs"]);
  });
}

Deno.test("collectPods() removes a pod whose destination has become a mount point, and says so", async () => {
  await using dir = await tempDir();
  const { lower, pods } = await makePlace(dir);
  const pod = `${pods}/a`;
  const dest = dir.join("far");
  await renderOverlay({ lower, pod, app: "web", dest, options: MARKS });
  await collectPods({ pod, gracePeriodMs: DAY });
  await sh("mount", "--bind", lower, `${dest}/rootfs`);
  const warnings: string[] = [];
  await collectPods({ pod }, { warn: (text) => void warnings.push(text) });
  assertEquals([await isMissing(`${pods}/garbage`), warnings.length], [true, 1]);
  assertMatch(`${warnings[0]}`, /^destination ".*\/far\/rootfs" stays: something is mounted on it/);
  assert(!`${warnings[0]}`.includes("rm -r"));
});
