/**
 * Many pods at once: what is looked up once, what is mounted together, and what keeps none of the others
 * from it. And plans, which touch nothing.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import {
  permissionFlags,
  requiredPermissions,
  restoreOverlays,
  restorePlan,
  unmountOverlay,
  unmountPlan,
} from "../../mod.ts";
import { Call, openPod } from "../../lib/pod/open.ts";
import { podLayout } from "../../lib/request/layout.ts";
import { cli } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { disk } from "../_main.ts";
import { briefly, counter, makePlace, mountedPod, rebootedPod } from "../_pods.ts";
import { brief } from "../_snapshot.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";

const NAMES = [..."abcdefghij"];

Deno.test("restoreOverlays() mounts many pods in one process, and what is wrong with some keeps none from it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of NAMES) await rebootedPod(place, name);
  await sh("rm", "-r", `${place.pods}/c/overlay/image/work/web`);
  await Deno.writeTextFile(`${place.pods}/d/overlay.fstab`, "damaged\n");
  await using _ = await holdLock(`${place.pods}/e/overlay.lock`);
  const { trace, count } = counter();
  const result = await restoreOverlays({ pods: place.pods }, { trace, waitMs: 50 });
  assertEquals(briefly(result, dir), {
    restored: [..."abfghij"].map((name) => `pods/${name} web`),
    failed: ["pods/c web: missing", "pods/d null: bad-record", "pods/e null: locked"],
  });
  assertEquals([count("mount"), count("findmnt")], [1, 1]);
  assertEquals((await mountsBelow(dir.path)).length, 7);
  for (const name of ["a", "j"]) {
    const made = await Deno.readTextFile(`${place.pods}/${name}/apps/web/rootfs/made`);
    assertEquals(made, name);
  }
});

Deno.test("restoreOverlays() names each of many pods that mount could not mount", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of NAMES) await rebootedPod(place, name);
  const fstab = `${place.pods}/c/overlay.fstab`;
  const lines = await Deno.readTextFile(fstab);
  await Deno.writeTextFile(fstab, lines.replace("lowerdir=", "unknown_option=1,lowerdir="));
  const result = briefly(await restoreOverlays({ pods: place.pods }), dir);
  assertEquals(result.failed, ["pods/c web: mount-failed"]);
  assertEquals(result.restored.length, NAMES.length - 1);
  assertEquals((await mountsBelow(dir.path)).length, NAMES.length - 1);
});

Deno.test("restoreOverlays() over pods that are mounted looks once, and locks none", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of ["a", "b"]) await mountedPod(place, name);
  const before = await disk(dir.path);
  const { trace, count, lines } = counter();
  const result = await restoreOverlays({ pods: place.pods }, { trace });
  assertEquals([result.restored, result.failed], [[], []]);
  assertEquals([count("mount"), count("findmnt")], [0, 1]);
  assertEquals(lines.filter((line) => line.startsWith("open ")), []);
  assertEquals(await disk(dir.path), before);
});

Deno.test("openPod() does not rely on an earlier look at a pod that was changed since", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await rebootedPod(place, "one");
  const layout = podLayout(pod);
  const stateOf = async (call: Call, change: () => Promise<unknown>) => {
    const earlier = await openPod(layout, call, { lock: false });
    await earlier?.mounts();
    await change();
    call.forgetMounts();
    using open = await openPod(layout, call, earlier === null ? {} : { earlier });
    return (await open?.snapshot("restore"))?.seen.map(({ state }) => state);
  };
  const { trace, count } = counter();
  const nothing = () => Promise.resolve();
  assertEquals(await stateOf(new Call({ trace }), nothing), ["unmounted"]);
  assertEquals(count("findmnt"), 1);
  assertEquals(await stateOf(new Call(), () => restoreOverlays({ pod })), ["mounted"]);
  assertEquals(await stateOf(new Call(), () => sh("umount", rootfs)), ["unmounted"]);
});

Deno.test("unmountPlan() and restorePlan() touch nothing, and say what is to be done with which flags", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "one", { ephemeral: false });
  await rebootedPod(place, "two");
  const before = await disk(dir.path);
  const unmounting = await unmountPlan({ pod });
  const restoring = await restorePlan({ pods: place.pods });
  assertEquals(await disk(dir.path), before);
  assertEquals(unmounting.operations.map(brief), ["open", "unmount web", "record web noauto"]);
  assertEquals(restoring.operations.map(brief), ["look", "open", "mount web"]);

  const flags = permissionFlags(requiredPermissions(unmounting));
  const done = await cli(["unmount", `--pod=${pod}`], { flags });
  assertEquals([done.status, done.stdout, done.stderr], [0, `${rootfs}\n`, ""]);
  assertEquals(await unmountOverlay({ pod }), { pod, unmounted: [] });
  const more = permissionFlags(requiredPermissions(restoring));
  const restored = await cli(["restore", `--pods=${place.pods}`], { flags: more });
  assertEquals([restored.status, restored.stderr], [0, ""]);
  // With nothing to be done, nothing has to be written or mounted.
  const idle = permissionFlags(requiredPermissions(await restorePlan({ pods: place.pods })));
  assertEquals(idle.some((flag) => flag.startsWith("--allow-write")), false);
  const again = await cli(["restore", `--pods=${place.pods}`], { flags: idle });
  assertEquals([again.status, again.stdout, again.stderr], [0, "", ""]);
});
