/**
 * What gc asks before it touches anything, what it says of one pod while it goes on with the others, and
 * what a dry run promises.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPermissions,
  collectPods,
  OverlayError,
  overlayStatus,
  permissionFlags,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertFails, disk, runMain } from "../_main.ts";
import {
  brief,
  idlePod,
  keepMounts,
  makePlace,
  mountedPod,
  occupy,
  preparedPod,
} from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import { MARKS, namesIn } from "../_tree.ts";

Deno.test("collectPods() collects a pod whose mounts are shown a second time by a shared peer", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const peer = dir.join("peer");
  await Deno.mkdir(peer);
  await sh("mount", "--bind", place.pods, place.pods);
  await sh("mount", "--make-shared", place.pods);
  await sh("mount", "--bind", place.pods, peer);
  const { pod, rootfs } = await mountedPod(place, "a");
  const shown = rootfs.replace(place.pods, peer);
  assertEquals(await mountsBelow(rootfs), [rootfs]);
  assertEquals(await mountsBelow(shown), [shown]);
  assertEquals((await collectPods({ pod, dryRun: true })).removed.length, 1);
  assertEquals(brief(await collectPods({ pod }), dir).removed, ["pods/garbage/a"]);
  assertEquals(await namesIn(place.pods), []);
  // The same upper under a mount of its own is no peer, even in the same group of peers.
  const { pod: held, rootfs: root } = await mountedPod(place, "b");
  const elsewhere = dir.join("elsewhere");
  await Deno.mkdir(elsewhere);
  await sh("mount", "--bind", root, elsewhere);
  const before = await disk(dir.path);
  const error = await assertRejects(() => collectPods({ pod: held }), RefusedError);
  assertStringIncludes(error.message, elsewhere);
  assertEquals(await disk(dir.path), before);
  await sh("umount", elsewhere);
  await collectPods({ pod: held });
});

Deno.test("collectPods() that is refused for one app has stopped none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  const db = await renderOverlay({ lower: place.lower, pod, app: "db", options: MARKS });
  await using process = await occupy(db.rootfs);
  // The command then sees nothing mounted, and its line says nothing of it.
  await sh("umount", "--lazy", db.rootfs);
  const before = await disk(dir.path);
  for (const dryRun of [true, false]) {
    const error = await assertRejects(() => collectPods({ pod, dryRun }), RefusedError);
    assertEquals([error.code, error.exitStatus], ["busy", 3]);
    assertEquals([await mountsBelow(dir.path), await disk(dir.path)], [[rootfs], before]);
  }
  await process.end();
  await collectPods({ pod });
});

Deno.test("overlay-render gc has failed, and not refused, when an app was stopped before it could know", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  await using container = await keepMounts();
  const { status, stderr } = await runMain(["gc", "--wait=0", `--pod=${pod}`]);
  assertEquals([status, await mountsBelow(dir.path)], [1, []]);
  assertMatch(stderr, /in another mount namespace/);
  // The app is stopped, and can be started again.
  await container.end();
  assertEquals((await restoreOverlays({ pod })).restored.length, 1);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "a");
  await collectPods({ pod });
});

Deno.test("collectPods() waits for the umount of a command that was killed", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (let round = 0; round < 20; round++) {
    const { pod, rootfs } = await mountedPod(place, "a");
    // The kernel writes it to the disk while the mount is out of the table already.
    await sh("dd", "if=/dev/zero", `of=${rootfs}/big`, "bs=1M", "count=40", "status=none");
    const umount = new Deno.Command("umount", { args: [rootfs], stderr: "null" }).spawn();
    while ((await mountsBelow(rootfs)).length > 0);
    assertEquals((await collectPods({ pod })).removed.length, 1, `round ${round}`);
    await umount.status;
  }
});

Deno.test({
  name: `unmountOverlay() and collectPods() name the process that holds an app${
    await hasFuser() ? "" : " [skipped: needs fuser]"
  }`,
  ignore: !await hasFuser(),
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod, rootfs } = await mountedPod(place, "a");
    await using _process = await occupy(rootfs);
    for (const act of [() => unmountOverlay({ pod }), () => collectPods({ pod })]) {
      const error = await assertRejects(act, OverlayError);
      const [, pid = ""] = /is held by process (\d+) \(sleep\)$/.exec(error.message) ?? [];
      assertEquals(await Deno.readLink(`/proc/${pid}/cwd`), rootfs, error.message);
      assertStringIncludes(`${error.hint}`, `kill ${pid} (fuser --verbose --mount ${rootfs})`);
    }
    // Without the permission to ask, it is said how to.
    const flags = permissionFlags(collectPermissions({ pod }));
    const { status, stderr } = await cli(["gc", "--pod", pod], { flags });
    assertEquals([status, stderr.includes("held by")], [1, false]);
    assertStringIncludes(stderr, `which this lists: fuser --verbose --mount ${rootfs}`);
  },
});

async function hasFuser(): Promise<boolean> {
  try {
    return (await Deno.stat("/bin/fuser")).isFile;
  } catch {
    return false;
  }
}

Deno.test("overlay-render gc --pods without a permission exits 4, and touches no pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await preparedPod(place, "a");
  const far = { lower: place.lower, pod: `${place.pods}/b`, app: "web", ephemeral: true };
  await prepareOverlay({ ...far, dest: dir.join("far") });
  await preparedPod(place, "c");
  const before = await disk(dir.path);
  const flags = permissionFlags(collectPermissions({ pods: place.pods }));
  for (const more of [[], ["--dry-run"], ["--json"]]) {
    const args = ["gc", "--pods", place.pods, "--grace-period=0", ...more];
    const { status, stdout, stderr } = await cli(args, { flags });
    assertEquals(status, 4, stderr);
    assertStringIncludes(stdout + stderr, `--allow-read=${dir.join("far")}`);
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("gc and status of a directory report each pod that is wrong, and go on with the others", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "good");
  await sh("cp", "-a", pod, `${place.pods}/copy`);
  await preparedPod(place, "damaged");
  await Deno.writeFile(`${place.pods}/damaged/overlay.fstab`, new Uint8Array([0xff, 0x0a]));
  await preparedPod(place, "linked");
  await Deno.remove(`${place.pods}/linked/overlay.fstab`);
  await Deno.symlink(place.lower, `${place.pods}/linked/overlay.fstab`);
  const wrong = [`${place.pods}/copy`, `${place.pods}/damaged`];

  const status = await runMain(["status", `--pods=${place.pods}`, "--json"]);
  const { renders, failed } = JSON.parse(status.stdout);
  assertEquals(status.status, 1);
  assertEquals(renders.map((one: { pod: string }) => one.pod), [pod]);
  assertEquals(failed.map((one: { pod: string }) => one.pod).slice(0, 2), wrong);
  const text = await runMain(["status", `--pods=${place.pods}`]);
  assertEquals(text.stderr.match(/^error: /gm)?.length, failed.length);
  assertMatch(text.stdout, /web/);
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  assertEquals((await overlayStatus({ pods: place.pods }, { warn })).length, 1);
  assertEquals(warnings.length, failed.length);

  const all = { pods: place.pods, gracePeriodMs: 0 };
  const collected = await collectPods(all);
  assertEquals(brief(collected, dir).removed, ["pods/garbage/good"]);
  assertEquals(
    collected.kept.filter(({ failed }) => failed).map(({ pod }) => pod).slice(0, 2),
    wrong,
  );
});

Deno.test("gc and status of a directory pass over a pod that is called garbage, with a warning", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await idlePod(place, "garbage");
  await preparedPod(place, "a");
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  const before = await disk(`${place.pods}/garbage`);
  assertEquals((await overlayStatus({ pods: place.pods }, { warn })).length, 1);
  const collected = await collectPods({ pods: place.pods, gracePeriodMs: 0 }, { warn });
  assertEquals(brief(collected, dir), {
    marked: ["pods/a as pods/garbage/a"],
    removed: ["pods/garbage/a"],
    kept: [],
  });
  assertEquals(await disk(`${place.pods}/garbage`), before);
  assertEquals(warnings.filter((text) => text.includes("gc needs that name")).length, 2);
});

Deno.test({
  name: `gc and status of a directory pass over what a user may not look into${
    isRealRoot ? "" : " [skipped: needs root]"
  }`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    await preparedPod(place, "a");
    await Deno.mkdir(`${place.pods}/lost+found`, { mode: 0o700 });
    await Deno.chown(`${place.pods}/lost+found`, 65534, 65534);
    // Root without its capabilities may look into no more than any user.
    const wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    const status = await cli(["status", "--pods", place.pods], { wrapper });
    assertEquals(status.status, 0, status.stderr);
    assertMatch(status.stderr, /^warning: ".*\/lost\+found" is passed over.*\n$/);
    const gc = await cli(["gc", "--pods", place.pods, "--grace-period=0", "--quiet"], { wrapper });
    assertEquals([gc.status, await namesIn(place.pods)], [0, ["lost+found"]], gc.stderr);
  },
});

Deno.test("overlay-render gc --dry-run refuses what the real run refuses", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await sh("cp", "-a", pod, `${place.pods}/copy`);
  const { pod: locked } = await preparedPod(place, "locked");
  const { pod: aside } = await preparedPod(place, "aside");
  await collectPods({ pod: aside, phase: "mark" });
  await using _locked = await holdLock(`${locked}/overlay.lock`);
  await using _aside = await holdLock(`${place.pods}/garbage/aside/overlay.lock`);
  await Deno.mkdir(`${place.pods}/garbage/data`);
  await Deno.writeTextFile(`${place.pods}/garbage/data/file`, "no pod");
  const { pod: lazy, rootfs } = await mountedPod(place, "lazy");
  await using _process = await occupy(rootfs);
  await unmountOverlay({ pod: lazy, lazy: true });
  const all = { pods: place.pods, gracePeriodMs: 0 };
  for (const pod of [`${place.pods}/copy`, locked, lazy, aside]) {
    const codes: string[] = [];
    for (const dryRun of [true, false]) {
      const error = await assertRejects(
        () => collectPods({ pod, dryRun }, { waitMs: 0 }),
        RefusedError,
      );
      codes.push(error.code);
    }
    assertEquals(codes[0], codes[1], pod);
  }
  const before = await disk(dir.path);
  const planned = brief(await collectPods({ ...all, dryRun: true }), dir);
  assertEquals(await disk(dir.path), before);
  const done = brief(await collectPods(all), dir);
  assertEquals(planned.kept.toSorted(), done.kept.toSorted());
  assertEquals(planned.removed.toSorted(), done.removed.toSorted());
});

Deno.test({
  name: "overlay-render gc --pods asks for no permission that a stranger's pod names",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    await preparedPod(place, "a");
    const his = { lower: place.lower, pod: `${place.pods}/his`, app: "web", ephemeral: true };
    await prepareOverlay({ ...his, dest: dir.join("far") });
    await sh("chown", "--recursive", "65534", his.pod);
    const flags = permissionFlags(collectPermissions({ pods: place.pods }));
    const args = ["gc", "--pods", place.pods, "--grace-period=0"];
    const { status, stdout, stderr } = await cli(args, { flags });
    assertEquals(status, 1, stderr);
    assertStringIncludes(stderr, `"${his.pod}": it belongs to user 65534`);
    assertStringIncludes(stdout, `removed  ${place.pods}/garbage/a`);
  },
});

Deno.test("overlay-render gc refuses a pod, and touches nothing, while one of its name is aside and damaged", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "a");
  await collectPods({ pod, gracePeriodMs: 60_000 });
  const record = `${place.pods}/garbage/a/overlay.fstab`;
  await Deno.writeTextFile(record, "damaged\n", { append: true });
  await mountedPod(place, "a");
  await assertFails(dir.path, ["gc", "--pod", pod], {
    status: 3,
    code: "bad-record",
    path: record,
  });
});
