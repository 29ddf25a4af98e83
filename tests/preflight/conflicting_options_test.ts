import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  PodError,
  prepareOverlay,
  preparePod,
  RefusedError,
  renderOverlay,
  renderPod,
} from "../../mod.ts";
import type { PodApp } from "../../mod.ts";
import { assertFails, disk, flagsOf } from "../_main.ts";
import { counter } from "../_pods.ts";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** Options that exclude each other with an upper, each pair in the order in which it is told. */
const PAIRS: readonly (readonly [string, string])[] = [
  ["userxattr", "metacopy=on"],
  ["userxattr", "redirect_dir=on"],
  ["userxattr", "redirect_dir=off"],
  ["userxattr", "redirect_dir=follow"],
  ["metacopy=on", "redirect_dir=nofollow"],
  ["metacopy=on", "redirect_dir=off"],
  ["metacopy=on", "redirect_dir=follow"],
  ["index=off", "nfs_export=on"],
  ["metacopy=on", "nfs_export=on"],
];

/** An app without options, its pod, and where it would be mounted. */
async function setUp(dir: TempDir): Promise<{ app: PodApp; pod: string; rootfs: string }> {
  const pod = dir.join("pod");
  const app = { app: "web", lower: await makeTree(dir.join("image")) };
  return { app, pod, rootfs: `${pod}/apps/web/rootfs` };
}

for (const [a, b] of PAIRS) {
  Deno.test(`renderOverlay() and its like refuse ${a} with ${b} before anything is made`, async () => {
    await using dir = await tempDir();
    const { pod, rootfs, ...scene } = await setUp(dir);
    const app = { ...scene.app, options: [b, "nodev", a] };
    const before = await disk(dir.path);
    const { trace, lines } = counter();
    const acts: readonly (() => Promise<unknown>)[] = [
      () => renderOverlay({ ...app, pod }, { trace }),
      () => prepareOverlay({ ...app, pod }, { trace }),
      () => renderOverlay({ ...app, pod, overlay: "auto" }, { trace }),
      () => renderPod({ pod, apps: [app] }, { trace }),
      () => preparePod({ pod, apps: [app] }, { trace }),
    ];
    for (const act of acts) {
      const error = await assertRejects(act, RefusedError);
      assertEquals([error.code, error.path], ["conflicting-options", rootfs]);
      assertEquals(error.message, `Cannot mount "${rootfs}": option "${a}" excludes "${b}"`);
      assertMatch(
        error.hint ?? "",
        /^leave out "\S+" or "\S+", which exclude each other: \w.*[^.]$/,
      );
    }
    // Neither a step nor a program has been told.
    assertEquals(lines, []);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("renderOverlay() refuses options that exclude each other in a pod that is used", async () => {
  await using dir = await tempDir();
  const { app, pod } = await setUp(dir);
  const request = { ...app, pod };
  await renderOverlay({ ...request, app: "db", options: MARKS });
  const options = ["index=off", "nfs_export=on"];
  const expected = { status: 3, code: "conflicting-options", cause: "excludes" };
  for (const command of ["render", "prepare"]) {
    await assertFails(dir.path, [command, ...flagsOf({ ...request, options })], expected);
  }
});

Deno.test("renderPod() names the apps whose options exclude each other, and renders none", async () => {
  await using dir = await tempDir();
  const { app, pod } = await setUp(dir);
  const options = ["metacopy=on", "redirect_dir=off"];
  const apps = ["a", "b", "c"].map((name) => {
    return { ...app, app: name, options: name === "b" ? MARKS : options };
  });
  const before = await disk(dir.path);
  for (const act of [renderPod, preparePod]) {
    const error = await assertRejects(() => act({ pod, apps }), PodError);
    assertEquals(error.failures.map(({ app, code }) => [app, code]), [
      ["a", "conflicting-options"],
      ["c", "conflicting-options"],
    ]);
    assertEquals(error.exitStatus, 3);
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderOverlay() refuses options for a view that exclude each other without an upper, too", async () => {
  await using dir = await tempDir();
  const { app, pod } = await setUp(dir);
  const request = { ...app, pod };
  const lower = [`${app.lower}`, await makeTree(dir.join("other"))];
  const view = { ...request, lower, readOnly: true };
  const before = await disk(dir.path);
  for (const options of [["userxattr", "metacopy=on"], ["metacopy=on", "redirect_dir=nofollow"]]) {
    const error = await assertRejects(() => renderOverlay({ ...view, options }), RefusedError);
    assertEquals(error.code, "conflicting-options");
  }
  assertEquals(await disk(dir.path), before);
  // Without an upper there is no index that could be needed.
  const { mounted } = await renderOverlay({ ...view, options: ["index=off", "nfs_export=on"] });
  assertEquals(mounted, true);
});
