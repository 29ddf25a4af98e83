/**
 * Drift between records and mounts, as monitoring asks for it.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { findDrift, OverlayError, permissionFlags, renderOverlay } from "../../mod.ts";
import { statusPermissions } from "../../mod.ts";
import type { StatusRequest } from "../../mod.ts";
import { disk, runMain, runMainWith } from "../_main.ts";
import { idlePod, makePlace, mountedPod, nestedPod, preparedPod, rebootedPod } from "../_pods.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

async function words(request: StatusRequest, { path }: TempDir): Promise<string[]> {
  const drift = await findDrift(request);
  return drift.map(({ pod, app, kind }) => `${pod.replace(`${path}/pods/`, "")} ${app}: ${kind}`);
}

Deno.test("findDrift() finds nothing in pods that are as recorded", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await mountedPod(place, "a", { options: ["nodev", "nosuid", "noexec", "redirect_dir=off"] });
  await idlePod(place, "b", { options: ["volatile"] });
  await preparedPod(place, "c");
  await nestedPod(place, "d");
  const { pods, lower } = place;
  const other = await makeTree(dir.join("other"));
  const view = { pod: `${pods}/e`, readOnly: true };
  await renderOverlay({ ...view, lower, app: "bind", options: ["nosuid"] });
  await renderOverlay({ ...view, lower: [lower, other], app: "stack", options: MARKS });
  await mountedPod(place, "f", { options: ["volatile", "index=off", "xino=on"] });
  await renderOverlay({ lower, pod: `${pods}/g`, overlay: "never" });
  assertEquals(await words({ pods }, dir), []);
  const checked = await runMain(["status", "--pods", pods, "--check"]);
  assertEquals(checked, { status: 0, stdout: "", stderr: "" });
});

Deno.test("findDrift() names each difference once, and those of a pod together", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pods, lower } = place;
  await rebootedPod(place, "a");
  await mountedPod(place, "b");
  await Deno.mkdir(`${pods}/b/own\nmount`);
  await sh("mount", "-t", "tmpfs", "none", `${pods}/b/own\nmount`);
  await Deno.writeTextFile((await idlePod(place, "c")).pod + "/overlay.fstab", "damaged\n");
  const d = await mountedPod(place, "d");
  await sh("umount", d.rootfs);
  const options = `lowerdir=${await makeTree(dir.join("other"))}:${lower}`;
  await sh("mount", "-t", "overlay", "overlay", "-o", options, d.rootfs);
  for (const [name, flags] of [["e", "ro"], ["f", "bind,nosuid"]]) {
    const { rootfs } = await mountedPod(place, `${name}`);
    await sh("mount", "-o", `remount,${flags}`, rootfs);
  }
  const g = await idlePod(place, "g");
  await sh("mount", "--fstab", `${g.pod}/overlay.fstab`, "--", g.rootfs);
  await Deno.rename((await idlePod(place, "h")).pod, `${pods}/i`);
  const before = await disk(dir.path);
  const expected = [
    "a web: not-mounted",
    "b null: not-named",
    "c null: bad-record",
    "d web: foreign",
    "e web: options",
    "f web: options",
    "g web: not-recorded",
    "i null: pod-moved",
  ];
  assertEquals((await words({ pods }, dir)).sort(), expected);
  const pod = `${pods}/c`;
  assertEquals(await words({ pod }, dir), ["c null: bad-record"]);
  const { status, stdout, stderr } = await runMain(["status", "--pods", pods, "--check"]);
  assertEquals([status, stderr], [1, ""]);
  const lines = stdout.split("\n").slice(0, -1);
  assertEquals(lines.length, expected.length);
  for (const line of lines) assertMatch(line, /^[a-z-]+: \S.*\S$/);
  const json = await runMain(["status", "--pods", pods, "--check", "--json"]);
  assertEquals([json.status, JSON.parse(json.stdout).drift.length], [1, expected.length]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("findDrift() needs what a status needs, and a pod that is not there is an error", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await rebootedPod(place, "a");
  const args = ["status", "--pods", place.pods, "--check"];
  const flags = permissionFlags(statusPermissions(place.pods));
  assertEquals((await runMainWith(flags, args)).status, 1);
  for (const left of flags) {
    const { status } = await runMainWith(flags.filter((flag) => flag !== left), args);
    assertEquals([left, status], [left, 4]);
  }
  const missing = { pod: `${place.pods}/none` };
  const error = await assertRejects(() => findDrift(missing), OverlayError);
  assertEquals(error.code, "missing");
  assertEquals(await mountsBelow(dir.path), []);
});
