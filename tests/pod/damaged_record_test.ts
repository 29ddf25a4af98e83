/**
 * An `overlay.fstab` that was damaged while apps are mounted: no command takes it for the record of a pod in
 * which nothing is rendered.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  overlayStatus,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import { assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { brief, briefly, makePlace, mountedPod, nestedPod } from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import { MARKS } from "../_tree.ts";

/** Ways in which a file is damaged, and the number of the line that tells. */
const DAMAGES: readonly (readonly [string, number, (text: string) => string])[] = [
  ["is cut off", 4, (text) => text.slice(0, -20)],
  ["has lost the end of its last line", 4, (text) => text.trimEnd()],
  ["has a line without our options", 3, (text) => text.replace(/,X-overlay-render\S*/, "")],
  ["has a block of zeros", 1, (text) => "\0".repeat(text.length)],
  ["has another text", 1, () => "not an fstab\n"],
];

async function twoApps(place: Place): Promise<string> {
  const { pod } = await mountedPod(place, "one", { app: "web" });
  await mountedPod(place, "one", { app: "db" });
  return pod;
}

for (const [what, number, damage] of DAMAGES) {
  Deno.test(`every command refuses a pod whose overlay.fstab ${what}, by the number of the line`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const pod = await twoApps(place);
    await mountedPod(place, "good");
    const fstab = `${pod}/overlay.fstab`;
    const text = await Deno.readTextFile(fstab);
    await Deno.writeTextFile(fstab, damage(text));
    const expected = {
      ...{ status: 3, code: "bad-record", path: fstab },
      cause: `Cannot read "${fstab}": line ${number} `,
    };
    const request = { lower: place.lower, pod, app: "new", options: MARKS };
    for (
      const args of [
        ["unmount", "--pod", pod],
        ["unmount", "--pod", pod, "--app", "web"],
        ["unmount", "--pod", pod, "--foreign"],
        ["status", "--pod", pod],
        ["restore", "--pod", pod],
        ["gc", "--pod", pod],
        ["render", ...flagsOf(request)],
        ["prepare", ...flagsOf(request)],
      ]
    ) await assertFails(dir.path, args, expected);
    const before = await disk(dir.path);
    const restored = await restoreOverlays({ pods: place.pods });
    assertEquals(briefly(restored, dir).failed, ["pods/one null: bad-record"]);
    const collected = await collectPods({ pods: place.pods });
    assertEquals(brief(collected, dir).kept.filter((kept) => kept.startsWith("pods/one")), [
      "pods/one: bad-record",
    ]);
    const warnings: string[] = [];
    const all = await overlayStatus({ pods: place.pods }, {
      warn: (text) => void warnings.push(text),
    });
    assertEquals(all.map(({ pod }) => pod), [`${place.pods}/good`]);
    assertStringIncludes(warnings.join(), `line ${number} `);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("a mount whose line was taken out is told by status, kept by gc, and unmounted by --foreign", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = await twoApps(place);
  const [web = "", db = ""] = await mountsBelow(dir.path);
  const fstab = `${pod}/overlay.fstab`;
  const text = await Deno.readTextFile(fstab);
  await Deno.writeTextFile(fstab, text.replace(/^.*app=web.*\n/m, ""));

  const status = await runMain(["status", "--pod", pod]);
  assertEquals(status.status, 0);
  assertStringIncludes(status.stderr, `something is mounted on "${web}"`);
  assertStringIncludes(status.stderr, `overlay-render unmount --foreign --pod ${pod}`);
  const expected = { status: 3, code: "foreign-mount", path: web };
  for (const args of [["unmount", "--pod", pod], ["gc", "--pod", pod]]) {
    await assertFails(dir.path, args, expected);
  }
  for (const more of [["--lazy"], ["--app", "db"]]) {
    const args = ["unmount", "--pod", pod, "--foreign", ...more];
    await assertFails(dir.path, args, { status: 2, code: "usage" });
  }
  const unmounted = await runMain(["unmount", "--pod", pod, "--foreign"]);
  assertEquals([unmounted.status, unmounted.stdout], [0, `${db}\n${web}\n`], unmounted.stderr);
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals((await unmountOverlay({ pod, foreign: true })).foreign, []);
  // What it wrote is there when it is rendered again.
  const request = { lower: place.lower, pod, app: "web", options: MARKS };
  assertEquals(await Deno.readTextFile(`${(await renderOverlay(request)).rootfs}/made`), "one");
});

for (const [what, empty] of [["empty", true], ["gone", false]] as const) {
  Deno.test(`a mount is found and unmounted when overlay.fstab is ${what}`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod, rootfs } = await nestedPod(place, "one");
    const fstab = `${pod}/overlay.fstab`;
    if (empty) await Deno.truncate(fstab);
    else await Deno.remove(fstab);
    const warnings: string[] = [];
    assertEquals(await overlayStatus(pod, { warn: (text) => void warnings.push(text) }), []);
    assertEquals(warnings.length, rootfs.length);
    const error = await assertRejects(() => unmountOverlay({ pod }), RefusedError);
    assertEquals([error.code, error.path], ["foreign-mount", rootfs[0]]);
    const { unmounted, foreign } = await unmountOverlay({ pod, foreign: true });
    assertEquals([unmounted, foreign?.toSorted()], [[], rootfs.toSorted()]);
    assertEquals(await mountsBelow(dir.path), []);
  });
}

Deno.test("what is mounted in an app, and what a pod lies on, is not told as foreign", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = `${place.pods}/one`;
  await Deno.mkdir(`${pod}/overlay`, { recursive: true });
  await Deno.chmod(pod, 0o750);
  for (const path of [pod, `${pod}/overlay`]) {
    await sh("mount", "-t", "tmpfs", "-o", "mode=0750", "tmpfs", path);
    await Deno.mkdir(`${pod}/overlay`, { recursive: true });
  }
  const { rootfs } = await mountedPod(place, "one");
  await sh("mount", "-t", "tmpfs", "tmpfs", `${rootfs}/etc`);
  const { status, stderr } = await runMain(["status", "--pod", pod]);
  assertEquals([status, stderr], [0, ""]);
  await sh("umount", `${rootfs}/etc`);
  assertEquals((await unmountOverlay({ pod })).unmounted.length, 1);
});
