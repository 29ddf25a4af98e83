/**
 * Unmounting all pods of a directory, and what is mounted inside an app.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  InvalidValueError,
  permissionFlags,
  RefusedError,
  requiredPermissions,
  restoreOverlays,
  unmountOverlay,
  unmountPods,
  unmountPodsPlan,
} from "../../mod.ts";
import type { UnmountedPods } from "../../mod.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertFails, disk, runMain, runMainWith } from "../_main.ts";
import { briefly, counter, idlePod, makePlace, mountedPod, nestedPod, occupy } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { STRANGER } from "../_swapper.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

/** The pods and apps that were unmounted, and the pods that failed, in few words. */
function words({ unmounted, failed }: UnmountedPods, { path }: TempDir): string[][] {
  const short = (text: string) => text.replace(`${path}/pods/`, "");
  return [
    unmounted.map(({ pod, app }) => `${short(pod)} ${app}`),
    failed.map(({ pod, code }) => `${short(pod)}: ${code}`),
  ];
}

Deno.test("unmountPods() unmounts all pods, and what is wrong with some keeps none from it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of [..."abcdfg"]) await mountedPod(place, name);
  await nestedPod(place, "e");
  await idlePod(place, "h");
  await Deno.writeTextFile(`${place.pods}/b/overlay.fstab`, "damaged\n");
  await using _ = await holdLock(`${place.pods}/c/overlay.lock`);
  await using process = await occupy(`${place.pods}/d/apps/web/rootfs`);
  await Deno.mkdir(`${place.pods}/f/other`);
  await sh("mount", "-t", "tmpfs", "none", `${place.pods}/f/other`);
  const { trace, count } = counter();
  const result = await unmountPods({ pods: place.pods }, { trace, waitMs: 50 });
  assertEquals(words(result, dir), [
    ["a web", "e db", "e web", "e ", "g web"],
    ["b: bad-record", "f: foreign-mount", "c: locked", "d: busy"],
  ]);
  assertStringIncludes(result.failed[2]?.reason ?? "", "holds it");
  assertEquals(count("umount"), 4);
  assertEquals((await mountsBelow(dir.path)).length, 5);
  await process.end();
  const rest = await unmountPods({ pods: place.pods, foreign: true }, { waitMs: 50 });
  assertEquals(words(rest, dir)[0], ["d web", "f web"]);
  assertEquals(rest.foreign, [`${place.pods}/f/other`]);
});

Deno.test("unmountPods() leaves pods alone that have nothing to unmount", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await idlePod(place, "a");
  await Deno.mkdir(`${place.pods}/empty`);
  const before = await disk(dir.path);
  const { trace, count } = counter();
  const none = { unmounted: [], foreign: [], failed: [] };
  assertEquals(await unmountPods({ pods: place.pods }, { trace }), none);
  assertEquals([count("umount"), count("findmnt")], [0, 1]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render unmount --pods prints what it unmounted, and each pod that failed", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const [a, b] = [await mountedPod(place, "a"), await mountedPod(place, "b")];
  {
    await using _ = await occupy(b.rootfs);
    const text = await runMain(["unmount", "--pods", place.pods]);
    assertEquals([text.status, text.stdout], [1, `${a.rootfs}\n`]);
    assertStringIncludes(text.stderr, `error: Cannot unmount "${b.rootfs}": umount failed: `);
    const json = await runMain(["unmount", "--pods", place.pods, "--json"]);
    const { unmounted, failed } = JSON.parse(json.stdout);
    assertEquals([json.status, json.stderr, unmounted], [1, "", []]);
    assertEquals([failed[0].pod, failed[0].code], [b.pod, "busy"]);
  }
  const rest = await runMain(["unmount", "--pods", place.pods]);
  assertEquals(rest, { status: 0, stdout: `${b.rootfs}\n`, stderr: "" });
  assertEquals(await runMain(["unmount", "--pods", place.pods]), {
    status: 0,
    stdout: "",
    stderr: "",
  });
});

Deno.test("overlay-render unmount --pods refuses an app, and a directory that is not there", async () => {
  await using dir = await tempDir();
  const { pods } = await makePlace(dir);
  const both = ["unmount", "--pods", pods, "--app=web"];
  await assertFails(dir.path, both, { status: 2, code: "usage" });
  const none = ["unmount", "--pods", dir.join("none")];
  await assertFails(dir.path, none, { status: 1, code: "missing" });
});

Deno.test("unmountPodsPlan() names the permissions of all pods, and each is needed", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const name of ["a", "b"]) await mountedPod(place, name);
  await Deno.mkdir(`${place.pods}/c`);
  await Deno.writeTextFile(`${place.pods}/c/overlay.fstab`, "damaged\n");
  const before = await disk(dir.path);
  const warned: string[] = [];
  const warn = (text: string) => void warned.push(text);
  const plan = await unmountPodsPlan({ pods: place.pods }, { warn });
  assertEquals(plan.operations.filter(({ kind }) => kind === "unmount").length, 2);
  assertEquals(warned.length, 1);
  assertStringIncludes(`${warned}`, `${place.pods}/c`);
  const flags = permissionFlags(requiredPermissions(plan));
  const dry = await runMain(["unmount", "--pods", place.pods, "--dry-run", "--json"]);
  assertEquals([dry.status, JSON.parse(dry.stdout).flags], [0, flags]);
  assertEquals(await disk(dir.path), before);
  for (const left of flags) {
    const fewer = flags.filter((flag) => flag !== left);
    const { status } = await runMainWith(fewer, ["unmount", "--pods", place.pods]);
    assertEquals([left, status], [left, 4]);
  }
  assertEquals(await disk(dir.path), before);
  const done = await runMainWith(flags, ["unmount", "--pods", place.pods]);
  assertEquals(done.status, 1, done.stderr);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("unmountOverlay() of what is restorable leaves the record as it is, and a restore mounts it again", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await nestedPod(place, "a");
  const { pod: idle } = await idlePod(place, "b");
  const records = async () => {
    const read = (pod: string) => Deno.readTextFile(`${pod}/overlay.fstab`);
    return [await read(pod), await read(idle)];
  };
  const before = await records();
  const { unmounted } = await unmountPods({ pods: place.pods, restorable: true });
  assertEquals(unmounted.map(({ app }) => app), ["db", "web", ""]);
  assertEquals([await mountsBelow(dir.path), await records()], [[], before]);
  const { restored, failed } = briefly(await restoreOverlays({ pods: place.pods }), dir);
  assertEquals([restored, failed], [["pods/a ", "pods/a web", "pods/a db"], []]);
  assertEquals(await mountsBelow(dir.path), [...rootfs]);
});

Deno.test("unmountOverlay() unmounts what is mounted inside an app if it is told to, innermost first", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const [a, b] = [await mountedPod(place, "a"), await mountedPod(place, "b")];
  const odd = `${a.rootfs}/new\nline "\\`;
  const hidden = `${a.rootfs}/x/hidden`;
  await sh("mkdir", "-p", odd, hidden, `${a.rootfs}/proc`, `${b.rootfs}/x`);
  for (const at of [odd, hidden, `${a.rootfs}/x`, `${a.rootfs}/x`, `${b.rootfs}/x`]) {
    await sh("mount", "-t", "tmpfs", "none", at);
  }
  await sh("mkdir", `${odd}/in`);
  await sh("mount", "--bind", `${b.rootfs}/x`, `${odd}/in`);
  await sh("mount", "-t", "proc", "proc", `${a.rootfs}/proc`);
  const busy = await runMain(["unmount", "--pod", a.pod]);
  assertEquals(busy.status, 1);
  assertStringIncludes(busy.stderr, "as --recursive does");
  const { unmounted, foreign } = await unmountOverlay({ pod: a.pod, recursive: true });
  assertEquals(unmounted, [{ app: "web", rootfs: a.rootfs }]);
  const short = foreign?.map((path) => path.slice(a.rootfs.length + 1));
  const named = ['new\nline "\\/in', 'new\nline "\\'];
  assertEquals(short, ["proc", "x", "x", "x/hidden", ...named]);
  assertEquals(await mountsBelow(dir.path), [b.rootfs, `${b.rootfs}/x`]);
  await runMain(["unmount", "--pod", b.pod, "--recursive"]);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("unmountOverlay() does not touch what a rootfs hides, if it is told to unmount what is inside", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await idlePod(place, "a");
  await sh("mkdir", `${rootfs}/x`);
  await sh("mount", "-t", "tmpfs", "none", `${rootfs}/x`);
  await sh("mount", "--fstab", `${pod}/overlay.fstab`, "--", rootfs);
  await unmountOverlay({ pod, app: "web", recursive: true });
  assertEquals(await mountsBelow(dir.path), [`${rootfs}/x`]);
  await sh("umount", `${rootfs}/x`);
});

Deno.test("unmountOverlay() takes apps away with the image that they lie in, if it is told to", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await nestedPod(place, "a");
  await sh("mkdir", "-p", `${rootfs[1]}/proc`);
  await sh("mount", "-t", "proc", "proc", `${rootfs[1]}/proc`);
  const { unmounted } = await unmountOverlay({ pod, app: "", recursive: true });
  assertEquals(unmounted.map(({ app }) => app), ["db", "web", ""]);
  assertEquals((await Deno.readTextFile(`${pod}/overlay.fstab`)).match(/,noauto,/g)?.length, 3);
});

Deno.test("unmountOverlay() cannot be told to unmount lazily what is inside an app", async () => {
  const both = { pod: "/pods/a", lazy: true, recursive: true };
  const error = await assertRejects(() => unmountOverlay(both), InvalidValueError);
  assertEquals(error.code, "usage");
});

Deno.test({
  name: "unmountOverlay() unmounts nothing inside a directory that another user can rename",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod, rootfs } = await mountedPod(place, "a");
    await sh("mkdir", "-p", `${rootfs}/home/theirs/data`);
    await sh("chown", `${STRANGER}`, `${rootfs}/home/theirs`);
    await sh("mount", "-t", "tmpfs", "none", `${rootfs}/home/theirs/data`);
    const before = await mountsBelow(dir.path);
    const error = await assertRejects(
      () => unmountOverlay({ pod, recursive: true }),
      RefusedError,
    );
    assertEquals([error.code, error.path], ["shared-pod", `${rootfs}/home/theirs`]);
    assertEquals(await mountsBelow(dir.path), before);
  },
});
