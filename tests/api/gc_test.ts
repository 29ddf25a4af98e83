/**
 * Collecting pods: which go, which stay and why, and what is said of it.
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
import { dirname } from "@std/path/posix/dirname";
import {
  collectPermissions,
  collectPods,
  InvalidValueError,
  OverlayError,
  overlayStatus,
  permissionFlags,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  UnmountError,
  unmountOverlay,
} from "../../mod.ts";
import type { Collected, CollectRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertFails, disk, runMain } from "../_main.ts";
import {
  brief,
  idlePod,
  makePlace,
  mountedPod,
  nestedPod,
  occupy,
  preparedPod,
  rebootedPod,
} from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { modeOf, mountsBelow, snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

const MINUTE = 60_000;

/** Makes a directory as old as it would be had it been put aside so long ago. */
async function age(path: string, ms: number): Promise<void> {
  const then = new Date(Date.now() - ms);
  await Deno.utime(path, then, then);
}

/** A pod that is aside, for so long. */
async function garbagePod(place: Place, name: string, ms: number): Promise<string> {
  const { pod } = await preparedPod(place, name);
  const { marked } = await collectPods({ pod, phase: "mark" });
  const garbage = `${marked[0]?.garbage}`;
  await age(garbage, ms);
  return garbage;
}

/** Why each pod was left alone, by its name. */
function reasons({ kept }: Collected): Record<string, string> {
  const pairs = kept.map(({ pod, reason }) => [pod.slice(pod.lastIndexOf("/") + 1), reason]);
  return Object.fromEntries(pairs);
}

Deno.test("collectPods() puts idle pods aside, and says of each other one why it is left alone", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const idle = await idlePod(place, "idle");
  const locked = await idlePod(place, "locked");
  await mountedPod(place, "mounted");
  await rebootedPod(place, "rebooted");
  await preparedPod(place, "prepared");
  await using holder = await holdLock(`${locked.pod}/overlay.lock`);
  const others = ["locked", "mounted", "rebooted"].map((name) => `${place.pods}/${name}`);
  const before = await Promise.all(others.map(disk));

  const collected = await collectPods({ pods: place.pods });

  assertEquals(brief(collected, dir), {
    marked: ["pods/idle as pods/garbage/idle", "pods/prepared as pods/garbage/prepared"],
    removed: [],
    kept: [
      "pods/locked: locked",
      "pods/mounted: in-use",
      "pods/rebooted: in-use",
      "pods/garbage/idle: grace-period",
      "pods/garbage/prepared: grace-period",
    ],
  });
  const said = reasons(collected);
  assertMatch(`${said.locked}`, new RegExp(`process ${holder.pid} holds it`));
  assertMatch(`${said.mounted}`, /app "web" is mounted/);
  assertMatch(`${said.rebooted}`, /app "web" was mounted when the machine .* stopped/);
  assertMatch(`${said.idle}`, /its grace period ends in (30m|1[67]\d\ds)$/);
  assertEquals(collected.kept.filter(({ failed }) => failed), []);
  assertEquals(await Promise.all(others.map(disk)), before);
  const made = idle.upper.replace("/pods/", "/pods/garbage/");
  assertEquals(await Deno.readTextFile(`${made}/made`), "idle");
});

Deno.test("collectPods() takes a pod for mounted when its own image or one of many apps is", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const nested = await nestedPod(place, "nested");
  await unmountOverlay({ pod: nested.pod, app: ["web", "db"] });
  const view = { lower: place.lower, pod: `${place.pods}/view`, app: "web", readOnly: true };
  await renderOverlay({ ...view, ephemeral: true });
  const far = { lower: place.lower, pod: `${place.pods}/far`, app: "web", options: MARKS };
  await renderOverlay({ ...far, dest: dir.join("far"), ephemeral: true });
  const before = await disk(dir.path);
  assertEquals(brief(await collectPods({ pods: place.pods, gracePeriodMs: 0 }), dir), {
    marked: [],
    removed: [],
    kept: ["pods/far: in-use", "pods/nested: in-use", "pods/view: in-use"],
  });
  assertEquals(await disk(dir.path), before);
});

Deno.test("collectPods() takes only pods for pods", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await Deno.mkdir(`${place.pods}/data/deep`, { recursive: true });
  await Deno.writeTextFile(`${place.pods}/data/deep/file`, "not ours");
  await Deno.mkdir(`${place.pods}/empty`);
  await Deno.writeTextFile(`${place.pods}/overlay.fstab`, "");
  // As podman has it in /var/lib/containers, and docker had it: a directory of that name is no pod yet.
  await Deno.mkdir(`${place.pods}/storage/overlay/l`, { recursive: true });
  await Deno.writeTextFile(`${place.pods}/storage/overlay/l/file`, "not ours");
  const before = await disk(dir.path);
  assertEquals(brief(await collectPods({ pods: place.pods, gracePeriodMs: 0 }), dir), {
    marked: [],
    removed: [],
    kept: [],
  });
  assertEquals(await disk(dir.path), before);
});

Deno.test("collectPods() removes what has been aside for the grace period, and nothing younger", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await garbagePod(place, "old", 31 * MINUTE);
  await garbagePod(place, "young", 20 * MINUTE);
  const collected = await collectPods({ pods: place.pods });
  assertEquals(brief(collected, dir), {
    marked: [],
    removed: ["pods/garbage/old"],
    kept: ["pods/garbage/young: grace-period"],
  });
  assertMatch(`${reasons(collected).young}`, /^its grace period ends in (10m|[3-5]\d\ds)$/);
  assertEquals(await namesIn(`${place.pods}/garbage`), ["young"]);

  const shorter = await collectPods({ pods: place.pods, gracePeriodMs: 19 * MINUTE });
  assertEquals(brief(shorter, dir).removed, ["pods/garbage/young"]);
});

Deno.test("collectPods() counts the grace period from when a pod was put aside", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await age(pod, 1000 * MINUTE);
  const collected = await collectPods({ pods: place.pods });
  assertEquals(brief(collected, dir), {
    marked: ["pods/a as pods/garbage/a"],
    removed: [],
    kept: ["pods/garbage/a: grace-period"],
  });
});

Deno.test("collectPods() does one of its passes alone", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await garbagePod(place, "old", 100 * MINUTE);
  await preparedPod(place, "idle");
  const mark = await collectPods({ pods: place.pods, phase: "mark", gracePeriodMs: 0 });
  assertEquals(brief(mark, dir), {
    marked: ["pods/idle as pods/garbage/idle"],
    removed: [],
    kept: [],
  });
  await preparedPod(place, "next");
  const sweep = await collectPods({ pods: place.pods, phase: "sweep" });
  assertEquals(brief(sweep, dir), {
    marked: [],
    removed: ["pods/garbage/old"],
    kept: ["pods/garbage/idle: grace-period"],
  });
  assertEquals(await namesIn(place.pods), ["garbage", "next"]);
});

const DRY_RUNS: readonly Partial<CollectRequest>[] = [
  {},
  { gracePeriodMs: 0 },
  { phase: "mark" },
  { phase: "sweep" },
  { phase: "sweep", gracePeriodMs: 0 },
];

for (const how of DRY_RUNS) {
  Deno.test(`collectPods() says what it would do, and does it not: ${JSON.stringify(how)}`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    await garbagePod(place, "old", 100 * MINUTE);
    await garbagePod(place, "twice", 20 * MINUTE);
    await preparedPod(place, "twice");
    await preparedPod(place, "idle");
    await mountedPod(place, "mounted");
    await rebootedPod(place, "rebooted");
    // What is locked to be looked at would have the file afterwards.
    await Deno.remove(`${place.pods}/idle/overlay.lock`);
    const before = await disk(dir.path);
    const planned = await collectPods({ pods: place.pods, dryRun: true, ...how });
    assertEquals(await disk(dir.path), before);
    const done = await collectPods({ pods: place.pods, ...how });
    const [said, was] = [brief(planned, dir), brief(done, dir)];
    assertEquals(said.marked, was.marked);
    assertEquals(said.removed.toSorted(), was.removed.toSorted());
    assertEquals(said.kept.toSorted(), was.kept.toSorted());
  });
}

Deno.test("collectPods() says what it would do to a pod that is named, and leaves it mounted", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await nestedPod(place, "a");
  const before = await disk(dir.path);
  const planned = await collectPods({ pod, dryRun: true });
  assertEquals(brief(planned, dir), {
    marked: ["pods/a as pods/garbage/a"],
    removed: ["pods/garbage/a"],
    kept: [],
  });
  assertEquals(await disk(dir.path), before);
  assertEquals(await mountsBelow(dir.path), rootfs);
});

Deno.test("collectPods() gives pods of one name different names in the garbage", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const seen: string[] = [];
  for (const text of ["first", "second", "third"]) {
    const { upper } = await preparedPod(place, "a");
    await Deno.writeTextFile(`${upper}/made`, text);
    const { marked } = await collectPods({ pods: place.pods });
    seen.push(...marked.map(({ garbage }) => garbage));
  }
  const garbage = `${place.pods}/garbage`;
  assertEquals(seen, [`${garbage}/a`, `${garbage}/a~1`, `${garbage}/a~2`]);
  const texts = seen.map((path) => Deno.readTextFileSync(`${path}/overlay/image/upper/web/made`));
  assertEquals(texts, ["first", "second", "third"]);
  const { removed } = await collectPods({ pod: `${place.pods}/a` });
  assertEquals(removed.map((one) => one.garbage), seen);
  assertEquals(await isMissing(garbage), true);
});

Deno.test("collectPods() of one pod leaves another one alone whose name is like a further one of it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of ["a~1", "a~x", "ab", "b"]) await garbagePod(place, name, MINUTE);
  const { pod } = await preparedPod(place, "a");
  const collected = await collectPods({ pod });
  assertEquals(brief(collected, dir).removed, ["pods/garbage/a"]);
  assertEquals(await namesIn(`${place.pods}/garbage`), ["ab", "a~1", "a~x", "b"].sort());
});

Deno.test("collectPods() makes the garbage for its owner alone, and removes it when it is empty", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const garbage = `${place.pods}/garbage`;
  await preparedPod(place, "a");
  await collectPods({ pods: place.pods });
  assertEquals(modeOf(garbage), "0700");
  await Deno.writeTextFile(`${garbage}/note`, "not ours");
  await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(await namesIn(garbage), ["note"]);
  await Deno.remove(`${garbage}/note`);
  await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(await namesIn(place.pods), []);
  // And where there is nothing to do, nothing is done.
  assertEquals(await collectPods({ pods: place.pods }), { marked: [], removed: [], kept: [] });
  assertEquals(await namesIn(place.pods), []);
});

Deno.test("collectPods() leaves a directory in the garbage alone that is no pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await garbagePod(place, "old", 100 * MINUTE);
  const data = `${place.pods}/garbage/data`;
  await Deno.mkdir(`${data}/deep`, { recursive: true });
  await Deno.writeTextFile(`${data}/deep/file`, "not ours");
  const before = await snapshot(data);
  for (const request of [{ pods: place.pods }, { pods: place.pods, phase: "sweep" }] as const) {
    const collected = await collectPods({ ...request, gracePeriodMs: 0 });
    assertEquals(brief(collected, dir).kept, ["pods/garbage/data: refused"]);
    assertEquals(await snapshot(data), before);
  }
  const error = await assertRejects(() => collectPods({ pod: `${place.pods}/data` }), RefusedError);
  assertEquals(error.path, data);
  assertEquals(await snapshot(data), before);
});

Deno.test("collectPods() of a pod that is named unmounts and removes all of it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await nestedPod(place, "a");
  const other = await mountedPod(place, "other");
  const kept = [place.lower, dir.join("stage1-of-a"), other.pod];
  const before = await Promise.all(kept.map(disk));
  const collected = await collectPods({ pod });
  assertEquals(brief(collected, dir), {
    marked: ["pods/a as pods/garbage/a"],
    removed: ["pods/garbage/a"],
    kept: [],
  });
  assertEquals(await mountsBelow(dir.path), [other.rootfs]);
  assertEquals(await namesIn(place.pods), ["other"]);
  assertEquals(await Promise.all(kept.map(disk)), before);
});

Deno.test("collectPods() of a pod that is named does not wait for its lines, nor for time to pass", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const make of [idlePod, rebootedPod, mountedPod]) {
    const { pod } = await make(place, "a");
    const collected = await collectPods({ pod });
    assertEquals(brief(collected, dir).removed, ["pods/garbage/a"]);
    assertEquals(await namesIn(place.pods), []);
  }
  const { pod } = await idlePod(place, "a");
  const waited = await collectPods({ pod, gracePeriodMs: MINUTE });
  assertEquals(brief(waited, dir).kept, ["pods/garbage/a: grace-period"]);
  await idlePod(place, "a");
  const marked = await collectPods({ pod, phase: "mark" });
  assertEquals(brief(marked, dir), {
    marked: ["pods/a as pods/garbage/a~1"],
    removed: [],
    kept: [],
  });
});

Deno.test("collectPods() of a pod that is named only marks what nothing holds, when told to mark", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const make of [rebootedPod, mountedPod]) {
    const { pod } = await make(place, make.name);
    const before = await disk(dir.path);
    const error = await assertRejects(() => collectPods({ pod, phase: "mark" }), RefusedError);
    assertEquals([error.code, error.path], ["in-use", pod]);
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("collectPods() of a pod that is named removes what is aside of it, and leaves it alone, when told to sweep", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await garbagePod(place, "a", MINUTE);
  const { pod, rootfs } = await mountedPod(place, "a");
  const collected = await collectPods({ pod, phase: "sweep" });
  assertEquals(brief(collected, dir), { marked: [], removed: ["pods/garbage/a"], kept: [] });
  assertEquals(await mountsBelow(dir.path), [rootfs]);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "a");
});

Deno.test("collectPods() of a pod with an app in use is an error that names its rootfs, and loses nothing", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [image = "", web = "", db = ""] } = await nestedPod(place, "a");
  for (const path of [web, db]) await Deno.writeTextFile(`${path}/made`, path);
  {
    await using _process = await occupy(web);
    const error = await assertRejects(() => collectPods({ pod }), UnmountError);
    assertEquals([error.code, error.path, error.exitStatus], ["busy", web, 1]);
    assertMatch(error.message, /\/web\/rootfs"/);
    assertEquals(error.unmounted.map(({ app }) => app), ["db"]);
    assertEquals(await mountsBelow(dir.path), [image, web]);
    assertEquals(await Deno.readTextFile(`${web}/made`), web);
    assertEquals(await Deno.readTextFile(`${pod}/overlay/image/upper/db/made`), db);
    assertEquals(await namesIn(place.pods), ["a"]);

    const { status, stdout, stderr } = await runMain(["gc", `--pod=${pod}`]);
    assertEquals([status, stdout], [1, ""]);
    assertMatch(
      stderr,
      /^error: Cannot unmount ".*\/web\/rootfs": .*busy.*\nhint: (.*fuser|end it, .*kill \d+).*\n$/,
    );
  }
  await collectPods({ pod });
  assertEquals([await mountsBelow(dir.path), await namesIn(place.pods)], [[], []]);
});

Deno.test("collectPods() of a pod does not touch its garbage before the pod itself could be put aside", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const garbage = await garbagePod(place, "a", MINUTE);
  const { pod, rootfs } = await mountedPod(place, "a");
  await using _process = await occupy(rootfs);
  const before = await disk(garbage);
  await assertRejects(() => collectPods({ pod }), UnmountError);
  assertEquals(await disk(garbage), before);
});

Deno.test("collectPods() keeps the lines of a pod as they are, so that no command uses it in the garbage", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await preparedPod(place, "a");
  const lines = await Deno.readTextFile(`${pod}/overlay.fstab`);
  const { marked } = await collectPods({ pods: place.pods });
  const garbage = `${marked[0]?.garbage}`;
  assertEquals(await Deno.readTextFile(`${garbage}/overlay.fstab`), lines);
  assertMatch(lines, new RegExp(` ${rootfs} overlay .*upperdir=${pod}/overlay/`));

  const before = await disk(dir.path);
  const request = { lower: place.lower, pod: garbage, app: "web", options: MARKS };
  const acts = [
    () => renderOverlay(request),
    () => renderOverlay({ ...request, app: "other" }),
    () => prepareOverlay({ ...request, app: "other" }),
    () => unmountOverlay({ pod: garbage }),
    () => collectPods({ pod: garbage }),
  ];
  for (const act of acts) {
    const error = await assertRejects(act, RefusedError, undefined, `${act}`);
    assertEquals([error.code, error.path], ["pod-moved", garbage], `${act}`);
    assertEquals(await disk(dir.path), before);
  }
  assertEquals(await restoreOverlays({ pod: garbage }), { restored: [], failed: [] });
  assertEquals((await overlayStatus(garbage)).map(({ mounted }) => mounted), [false]);
  // Nor does a look at all pods show those that are aside.
  assertEquals(await overlayStatus({ pods: place.pods }), []);
  assertEquals(await disk(dir.path), before);
  // The name is free.
  await mountedPod(place, "a");
});

/** Ends a run at one of its steps, as a crash would. Says whether it came so far. */
async function crashAt(at: number, request: CollectRequest): Promise<boolean> {
  const crash = new Error("crash");
  let steps = 0;
  const checkpoint = () => {
    if (++steps === at) throw crash;
  };
  try {
    await collectPods(request, { checkpoint });
    return false;
  } catch (error) {
    if (error === crash) return true;
    throw error;
  }
}

/** What tells a directory for a pod must be there as long as anything else is. */
async function assertToldLast(garbage: string): Promise<void> {
  if (await isMissing(garbage)) return;
  const names = await namesIn(garbage);
  const others = names.filter((name) => !["overlay.fstab", "overlay.lock"].includes(name));
  assert(others.length === 0 || names.includes("overlay.fstab"), names.join(" "));
}

Deno.test("collectPods() is taken up again wherever it was interrupted", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const tree = await snapshot(place.lower);
  for (let at = 1;; at++) {
    const { pod } = await idlePod(place, "a");
    const all = { pods: place.pods, gracePeriodMs: 0 };
    const crashed = await crashAt(at, all);
    await assertToldLast(`${place.pods}/garbage/a`);
    // By either form of the request.
    if (crashed) await collectPods(at % 2 === 0 ? all : { pod });
    assertEquals(await namesIn(place.pods), [], `after step ${at}`);
    assertEquals(await snapshot(place.lower), tree);
    if (!crashed) return assert(at > 4, "there were no steps to be interrupted at");
  }
});

Deno.test("collectPods() of a pod that is named is taken up again wherever it was interrupted", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (let at = 1;; at++) {
    const { pod } = await nestedPod(place, "a");
    const crashed = await crashAt(at, { pod });
    await assertToldLast(`${place.pods}/garbage/a`);
    if (crashed) await collectPods({ pod });
    assertEquals(await namesIn(place.pods), [], `after step ${at}`);
    assertEquals(await mountsBelow(dir.path), []);
    if (!crashed) return assert(at > 6, "there were no steps to be interrupted at");
  }
});

/** What an interrupted removal can leave: all of it goes before what tells that there was a pod. */
const HALVES: readonly (readonly string[])[] = [
  ["overlay/image/upper"],
  ["overlay/image/work", "apps/web"],
  ["overlay"],
  ["overlay", "apps"],
  ["overlay", "apps", "overlay.fstab"],
  ["overlay", "apps", "overlay.fstab", "overlay.lock"],
];

for (const gone of HALVES) {
  Deno.test(`collectPods() goes on with a removal after ${gone.join(", ")}`, async () => {
    for (const named of [false, true]) {
      await using dir = await tempDir();
      const place = await makePlace(dir);
      const garbage = await garbagePod(place, "a", 0);
      for (const name of gone) await Deno.remove(`${garbage}/${name}`, { recursive: true });
      await age(garbage, 31 * MINUTE);
      const request = named ? { pod: `${place.pods}/a` } : { pods: place.pods };
      const collected = await collectPods(request);
      assertEquals(brief(collected, dir), { marked: [], removed: ["pods/garbage/a"], kept: [] });
      assertEquals(await namesIn(place.pods), []);
    }
  });
}

Deno.test("collectPods() stops between two pods when its signal is aborted, and goes on when run again", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of ["a", "b", "c"]) await preparedPod(place, name);
  const controller = new AbortController();
  const reason = new Error("no time");
  const request = { pods: place.pods, gracePeriodMs: 0 };
  const checkpoint = () => controller.abort(reason);
  const thrown = await assertRejects(() => {
    return collectPods(request, { signal: controller.signal, checkpoint });
  });
  assertEquals(thrown, reason);
  assertEquals(await namesIn(place.pods), ["b", "c", "garbage"]);
  assertEquals(brief(await collectPods(request), dir).removed, [
    "pods/garbage/a",
    "pods/garbage/b",
    "pods/garbage/c",
  ]);
});

Deno.test("collectPods() removes each pod once, when several run at the same time", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const names = ["a", "b", "c", "d"];
  for (const name of names) await preparedPod(place, name);
  const request = { pods: place.pods, gracePeriodMs: 0 };
  const runs = await Promise.all(names.map(() => collectPods(request)));
  runs.push(await collectPods(request));
  const all = runs.map((run) => brief(run, dir));
  assertEquals(all.flatMap(({ marked }) => marked).sort(), [
    ...names.map((name) => `pods/${name} as pods/garbage/${name}`),
  ]);
  assertEquals(all.flatMap(({ removed }) => removed).sort(), [
    ...names.map((name) => `pods/garbage/${name}`),
  ]);
  assertEquals(runs.flatMap(({ kept }) => kept).filter(({ failed }) => failed), []);
  assertEquals(await namesIn(place.pods), []);
});

/** Paths that are no pod, and what is said of them. */
const NO_PODS: readonly [string, number, string][] = [
  ["data", 3, "refused"],
  ["storage", 3, "refused"],
  ["file", 1, "not-a-directory"],
  ["link", 3, "symlink"],
  ["none", 1, "missing"],
];

Deno.test("overlay-render gc refuses what is no pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await idlePod(place, "real");
  await Deno.mkdir(`${place.pods}/data`);
  await Deno.writeTextFile(`${place.pods}/data/file`, "not ours");
  await Deno.mkdir(`${place.pods}/storage/overlay/l`, { recursive: true });
  await Deno.writeTextFile(`${place.pods}/file`, "not ours");
  await Deno.symlink(pod, `${place.pods}/link`);
  for (const [name, status, code] of NO_PODS) {
    const path = `${place.pods}/${name}`;
    for (const flags of [[], ["--mark"], ["--dry-run"]]) {
      await assertFails(dir.path, ["gc", `--pod=${path}`, ...flags], { status, code, path });
    }
  }
  await assertFails(dir.path, ["gc", "--pod=/"], { status: 2, code: "invalid-value" });
  const none = { status: 1, code: "missing", path: dir.join("none") };
  await assertFails(dir.path, ["gc", `--pods=${dir.join("none")}`], none);
  const link = { status: 3, code: "symlink", path: `${place.pods}/link` };
  await assertFails(dir.path, ["gc", `--pods=${place.pods}/link`], link);
});

Deno.test("collectPods() refuses paths that are not absolute", async () => {
  for (const path of ["", "pods", "./pods", "/a/../b", "/a\0"]) {
    for (const request of [{ pod: path }, { pods: path }]) {
      await assertRejects(() => collectPods(request), InvalidValueError);
    }
  }
});

Deno.test("overlay-render gc refuses flags that do not go together, and values that are none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pods } = place;
  await preparedPod(place, "a");
  const bad: readonly (readonly string[])[] = [
    [],
    [`--pods=${pods}`, `--pod=${pods}/a`],
    [`--pods=${pods}`, "--mark", "--sweep"],
    [`--pods=${pods}`, "--app=web"],
    [`--pods=${pods}`, "--grace-period="],
  ];
  for (const flags of bad) {
    await assertFails(dir.path, ["gc", ...flags], { status: 2, code: "usage" });
  }
  for (const time of ["1", "-1s", "1y", "soon", "30m "]) {
    const flags = [`--pods=${pods}`, `--grace-period=${time}`];
    await assertFails(dir.path, ["gc", ...flags], { status: 2, code: "invalid-value" });
  }
});

Deno.test("overlay-render gc prints what it did, and on stderr what it left alone", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pods } = place;
  await preparedPod(place, "idle");
  await mountedPod(place, "mounted");
  const args = ["gc", `--pods=${pods}`, "--dry-run", "--grace-period=0"];
  const planned = await runMain(args);
  const done = `marked   ${pods}/idle as ${pods}/garbage/idle\nremoved  ${pods}/garbage/idle\n`;
  assertEquals(planned.status, 0);
  assertStringIncludes(planned.stdout, `set-aside ${pods}/idle  as ${pods}/garbage/idle\n`);
  assertMatch(planned.stderr, /^kept ".*\/mounted": .*app "web" is mounted\n$/);
  const { marked, removed } = JSON.parse((await runMain([...args, "--json"])).stdout);
  assertEquals([marked, removed], [
    [{ pod: `${pods}/idle`, garbage: `${pods}/garbage/idle` }],
    [{ garbage: `${pods}/garbage/idle` }],
  ]);

  const mark = await runMain(["gc", `--pods=${pods}`, "--mark"]);
  assertEquals([mark.status, mark.stdout], [0, done.split("\n")[0] + "\n"]);
  assertMatch(mark.stderr, /^kept ".*\/mounted": .*app "web" is mounted\n$/);

  const young = await runMain(["gc", `--pods=${pods}`, "--sweep"]);
  assertEquals([young.status, young.stdout], [0, ""]);
  assertMatch(young.stderr, /^kept ".*\/garbage\/idle": its grace period ends in \S+\n$/);

  const sweep = await runMain(["gc", `--pods=${pods}`, "--grace-period=0s", "--quiet"]);
  assertEquals(sweep, { status: 0, stdout: `removed  ${pods}/garbage/idle\n`, stderr: "" });
});

Deno.test("overlay-render gc --json prints one object", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pods } = place;
  await preparedPod(place, "idle");
  await mountedPod(place, "mounted");
  const { status, stdout, stderr } = await runMain([
    ...["gc", "--json", `--pods=${pods}`, "--grace-period=0"],
  ]);
  assertEquals([status, stderr], [0, ""]);
  assertMatch(stdout, /^{"version":1,"marked":\[.*\],"removed":\[.*\],"kept":\[.*\]}\n$/);
  const { kept: [mounted], ...rest } = JSON.parse(stdout);
  assertEquals(rest, {
    version: 1,
    marked: [{ pod: `${pods}/idle`, garbage: `${pods}/garbage/idle` }],
    removed: [{ garbage: `${pods}/garbage/idle` }],
  });
  const { reason, hint, ...why } = mounted;
  assertMatch(hint, /^unmount it first: /);
  assertEquals(why, { pod: `${pods}/mounted`, code: "in-use", failed: false });
  assertMatch(reason, /app "web" is mounted/);
});

Deno.test("overlay-render gc --pod prints what became of that pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "a");
  const garbage = `${place.pods}/garbage/a`;
  const { status, stdout, stderr } = await runMain(["gc", "--json", `--pod=${pod}`]);
  assertEquals([status, stderr], [0, ""]);
  assertEquals(JSON.parse(stdout), {
    version: 1,
    marked: [{ pod, garbage }],
    removed: [{ garbage }],
    kept: [],
  });
  const gone = { status: 1, code: "missing", path: pod };
  await assertFails(dir.path, ["gc", `--pod=${pod}`], gone);
});

Deno.test("overlay-render gc exits 1 when something could not be collected, and goes on with the others", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await preparedPod(place, "bad");
  await Deno.chmod(`${place.pods}/bad`, 0o777);
  await preparedPod(place, "good");
  const args = ["gc", `--pods=${place.pods}`, "--grace-period=0"];
  const text = await runMain(args);
  assertEquals(text.status, 1);
  assertMatch(text.stdout, /^marked {3}.*\/good as .*\nremoved {2}.*\/good\n$/);
  assertMatch(
    text.stderr,
    /^error: Cannot .*\/bad": others than its owner can write to it.*\nhint: take that away.*\n$/,
  );
  const json = await runMain([...args, "--json"]);
  const [bad] = JSON.parse(json.stdout).kept;
  assertEquals([json.status, bad.code, bad.failed], [1, "shared-pod", true]);
  assertEquals(await namesIn(place.pods), ["bad"]);
});

Deno.test("overlay-render gc --pod of a pod that another process changes names it, and exits 3", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await using holder = await holdLock(`${pod}/overlay.lock`);
  await assertFails(dir.path, ["gc", `--pod=${pod}`, "--wait=50ms"], {
    status: 3,
    code: "locked",
    path: `${pod}/overlay.lock`,
    cause: `process ${holder.pid} holds it`,
  });
  const collecting = collectPods({ pod }, { waitMs: 60_000 });
  await holder.kill();
  assertEquals(brief(await collecting, dir).removed, ["pods/garbage/a"]);
});

Deno.test("overlay-render gc says that what was done stays, when a signal ends it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await preparedPod(place, "a");
  const before = await disk(dir.path);
  for (const signal of [2, 15]) {
    const { status, stdout, stderr } = await runMain(["gc", `--pods=${place.pods}`], {
      onSignal: (handler) => {
        handler(signal);
        return () => {};
      },
    });
    assertEquals([status, stdout], [128 + signal, ""]);
    assertMatch(
      stderr,
      /^error: Cannot finish: interrupted by signal \d+, what was done stays.*\n$/,
    );
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("overlay-render gc needs the permissions that collectPermissions() names, and no more", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "a");
  await preparedPod(place, "b");
  const before = await disk(dir.path);
  const none = await cli(["gc", "--pod", pod], { flags: [`--allow-read=${place.pods}`] });
  assertEquals([none.status, none.stdout], [4, ""]);
  assertMatch(none.stderr, /^error: Cannot collect without Deno permissions: .*--allow-write=/);
  assertEquals(await disk(dir.path), before);

  const required = collectPermissions({ pod });
  assertEquals(required, collectPermissions({ pods: dirname(pod) }));
  const all = permissionFlags(required);
  const one = await cli(["gc", "--pod", pod], { flags: all });
  assertEquals([one.status, one.stderr], [0, ""]);
  const rest = await cli(["gc", "--pods", place.pods, "--grace-period", "0"], { flags: all });
  assertEquals([rest.status, rest.stderr], [0, ""]);
  assertEquals([await namesIn(place.pods), await mountsBelow(dir.path)], [[], []]);
});

Deno.test("collectPods() leaves a file alone that has the name of the garbage", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await Deno.writeTextFile(`${place.pods}/garbage`, "not ours");
  const before = await disk(dir.path);
  const error = await assertRejects(() => collectPods({ pod }), OverlayError);
  assertEquals([error.code, error.path], ["not-a-directory", `${place.pods}/garbage`]);
  assertEquals(await disk(dir.path), before);
  const collected = await collectPods({ pods: place.pods });
  assertEquals(brief(collected, dir).kept, ["pods/a: not-a-directory"]);
  assertEquals(await disk(dir.path), before);
});
