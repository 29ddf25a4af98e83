import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

const PROFILES = ["rootfs-mode", "fixed-mode", "manifest"] as const;

async function setUp(dir: TempDir, name = "image"): Promise<RenderRequest> {
  const lower = await makeTree(dir.join(name));
  return { lower, pod: dir.join("pod"), app: "web", options: MARKS };
}

/** The pod without `overlay.fstab` and what the kernel keeps in a work. */
async function disk(pod: string): Promise<string> {
  const lines = (await snapshot(pod)).split("\n");
  return lines.filter((line) => !/ overlay\.fstab$|\/overlay\.fstab$|^d 0 .*\/work$/.test(line))
    .join("\n");
}

/** A render notes the directories that it mounts. */
const withoutIds = (fstab: string) => fstab.replace(/,X-overlay-render\.lower-ids=[\d.]+/, "");

for (const profile of PROFILES) {
  for (const app of ["web", ""]) {
    const what = app === "" ? "the pod's own image" : "an app";
    Deno.test(`prepareOverlay() leaves what a render leaves: ${profile}, ${what}`, async () => {
      await using dir = await tempDir();
      const manifest = dir.join("manifest.json");
      await Deno.writeTextFile(manifest, "{}");
      const request = { ...await setUp(dir), app, profile, manifest, group: 0 };
      const fstab = dir.join("pod", "overlay.fstab");

      const prepared = await prepareOverlay(request);
      assertEquals([prepared.mounted, prepared.changed], [false, true]);
      assertEquals(await mountsBelow(dir.path), []);
      const [afterPrepare, preparedFstab] = [
        await disk(request.pod),
        await Deno.readTextFile(fstab),
      ];
      await Deno.remove(request.pod, { recursive: true });

      const rendered = await renderOverlay(request);
      assertEquals(await disk(request.pod), afterPrepare);
      const renderedFstab = await Deno.readTextFile(fstab);
      assertEquals(preparedFstab.split(",noauto").length, 2);
      assertEquals(withoutIds(renderedFstab), preparedFstab.replace(",noauto", ""));
      const keys = ["pod", "app", "tree", "rootfs", "lower", "upper", "work", "options"] as const;
      assertEquals(keys.map((key) => rendered[key]), keys.map((key) => prepared[key]));

      await unmountOverlay({ pod: request.pod });
      assertEquals(withoutIds(await Deno.readTextFile(fstab)), preparedFstab);
      assertEquals(await disk(request.pod), afterPrepare);
    });
  }
}

Deno.test("prepareOverlay() changes nothing the second time", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const first = await prepareOverlay(request);
  const before = await snapshot(dir.path);
  const second = await prepareOverlay(request);
  assertEquals([first.changed, second.changed], [true, false]);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("renderOverlay() mounts what was prepared", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const { upper } = await prepareOverlay(request);
  const { rootfs, changed } = await renderOverlay(request);
  assertEquals(changed, true);
  await Deno.writeTextFile(`${rootfs}/made`, "here");
  assertEquals(await Deno.readTextFile(`${upper}/made`), "here");
});

Deno.test("prepareOverlay() leaves an app that is mounted as it is", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const { rootfs } = await renderOverlay(request);
  const before = await snapshot(dir.path);
  const { changed, mounted } = await prepareOverlay(request);
  assertEquals([changed, mounted], [false, true]);
  assertEquals(await snapshot(dir.path), before);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
});

/** What util-linux keeps of mounts in a file of its own, whoever mounted them. */
async function notedMounts(directory: string): Promise<string[]> {
  if (await isMissing("/run/mount/utab")) return [];
  const text = await Deno.readTextFile("/run/mount/utab");
  return text.split("\n").filter((line) => line.includes(directory));
}

/** The two ways in which whoever prepared an app may mount it. */
const WAYS = ["mount -o", "mount --fstab"] as const;

const NAMES = ["image", 'a b,ro:c\\d"e', "ab,", "-a=#b\tc\nd "];

for (const way of WAYS) {
  for (const name of NAMES) {
    Deno.test(`prepareOverlay() makes ${way} work: ${JSON.stringify(name)}`, async () => {
      await using dir = await tempDir();
      await Deno.mkdir(dir.join("pods"));
      const request = { ...await setUp(dir, name), pod: dir.join("pods", name) };
      const { rootfs, options, upper } = await prepareOverlay(request);
      if (way === "mount -o") {
        await sh("mount", "-t", "overlay", "overlay", "-o", options, "--", rootfs);
      } else await sh("mount", "--fstab", `${request.pod}/overlay.fstab`, "--", rootfs);

      assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
      await Deno.writeTextFile(`${rootfs}/made`, "by hand");
      assertEquals(await Deno.readTextFile(`${upper}/made`), "by hand");
      const status = async () => (await overlayStatus(request.pod)).map(({ mounted }) => mounted);
      assertEquals(await status(), [true]);
      // Mounted as it would be, so a render has only the line to change.
      await renderOverlay(request);
      assertEquals(await mountsBelow(dir.path), [rootfs]);
      await unmountOverlay({ pod: request.pod });
      assertEquals([await status(), await mountsBelow(dir.path)], [[false], []]);
      assertEquals(await notedMounts(dir.path), []);
    });
  }
}

Deno.test("mount --all leaves alone what is only prepared, and mounts what was rendered", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const web = await renderOverlay(request);
  await prepareOverlay({ ...request, app: "db" });
  await sh("umount", "--", web.rootfs);
  await sh("mount", "--all", "--fstab", `${request.pod}/overlay.fstab`);
  assertEquals(await mountsBelow(dir.path), [web.rootfs]);
});

Deno.test("overlay-render prepare prints the mount configuration", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const args = ["prepare", "--lower", lower, "--pod", pod, "--app", "web"];
  const text = await cli(args);
  const json = await cli([...args, "--json"]);
  assertEquals([text.status, text.stderr, json.status, json.stderr], [0, "", 0, ""]);
  const { rootfs, upper, work, options, mounted, changed } = JSON.parse(json.stdout);
  assertEquals(text.stdout.split("\n"), [
    `rootfs   ${rootfs}`,
    `lower    ${lower}`,
    `upper    ${upper}`,
    `work     ${work}`,
    `options  ${options}`,
    "",
  ]);
  assertEquals([mounted, changed], [false, false]);
  assertMatch(json.stdout, /^{"version":1,/);
});

Deno.test("overlay-render prepare --dry-run touches nothing and plans no mount", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const args = ["prepare", "-n", "--lower", lower, "--pod", pod, "--app", "web", "--json"];
  const { status, stdout } = await cli(args, { flags: [] });
  const { operations } = JSON.parse(stdout) as { operations: { kind: string }[] };
  assertEquals([status, operations.some(({ kind }) => kind === "mount")], [0, false]);
  assertEquals(await isMissing(pod), true);
});

Deno.test("the directories above a pod are made, and taken back when the render fails", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("a/b/c/pod");
  const request = { lower, pod, app: "web", options: MARKS };
  const before = await snapshot(dir.path);
  const checkpoint = (step: string) => {
    if (step === "record") throw new DOMException("stopped", "AbortError");
  };
  await assertRejects(() => prepareOverlay(request, { checkpoint }), DOMException);
  assertEquals(await snapshot(dir.path), before);
  await prepareOverlay(request);
  const above = ["a", "a/b", "a/b/c"].map((name) => modeOf(dir.join(name)));
  assertEquals([...above, modeOf(pod)], ["0755", "0755", "0755", "0750"]);
});

Deno.test("no directory above a pod is made where somebody else could swap it", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("open"));
  await Deno.chmod(dir.join("open"), 0o777);
  const before = await snapshot(dir.path);
  const request = { lower, pod: dir.join("open/a/pod"), app: "web", options: MARKS };
  const error = await assertRejects(() => prepareOverlay(request), RefusedError);
  assertEquals([error.code, error.path], ["shared-pod", dir.join("open")]);
  assertEquals(await snapshot(dir.path), before);
});
