import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  overlayStatus,
  RefusedError,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { lockPod } from "../../lib/system/lock.ts";
import { cli } from "../_cli.ts";
import type { CliResult } from "../_cli.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { kernelOptions, makeTree, MARKS, mountsOn } from "../_tree.ts";

/** When each directory and file was last changed at all; the lock is written by whoever holds it. */
async function changeTimes(directory: string): Promise<string> {
  const format = "%P %i %C@ %T@\\n";
  const args = [directory, "-xdev", "!", "-name", "overlay.lock", "-printf", format];
  return (await sh("find", ...args)).split("\n").sort().join("\n");
}

function render(dir: TempDir, ...more: string[]): Promise<CliResult> {
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const args = ["--pod", dir.join("pod"), "--app", "web", "--json", ...marks];
  return cli(["render", ...args, ...more]);
}

const PROFILES = ["rootfs-mode", "fixed-mode", "manifest"] as const;

for (const profile of PROFILES) {
  for (const app of ["web", ""]) {
    const what = app === "" ? "the pod's own image" : "an app";
    Deno.test(`renderOverlay() changes nothing the second time: ${profile}, ${what}`, async () => {
      await using dir = await tempDir();
      const manifest = dir.join("manifest.json");
      await Deno.writeTextFile(manifest, "{}");
      const request = { ...await makeRequest(dir), app, profile, manifest, group: 0 };
      const first = await renderOverlay(request);
      assertEquals([first.changed, first.mounted], [true, true]);
      await Deno.writeTextFile(`${first.rootfs}/made`, "once");
      const before = [await snapshot(dir.path), await changeTimes(dir.path)];

      const second = await renderOverlay(request);
      assertEquals([second.changed, second.mounted], [false, true]);
      assertEquals([await snapshot(dir.path), await changeTimes(dir.path)], before);
      assertEquals(await mountsOn(first.rootfs), 1);
      assertEquals(await Deno.readTextFile(`${first.rootfs}/made`), "once");
    });
  }
}

Deno.test("overlay-render render says changed: false the second time", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const [first, second] = [
    await render(dir, "--lower", lower),
    await render(dir, "--lower", lower),
  ];
  assertEquals([first.status, second.status], [0, 0]);
  assertMatch(first.stdout, /"changed":true/);
  assertMatch(second.stdout, /"changed":false/);
  assertEquals(second.stdout, first.stdout.replace('"changed":true', '"changed":false'));
  assertEquals(await mountsOn(JSON.parse(first.stdout).rootfs), 1);
});

Deno.test("renderOverlay() renews the manifest of a mounted app, and nothing else", async () => {
  await using dir = await tempDir();
  const manifest = dir.join("manifest.json");
  await Deno.writeTextFile(manifest, "{}");
  const request = { ...await makeRequest(dir), manifest };
  const { rootfs } = await renderOverlay(request);
  await Deno.writeTextFile(manifest, '{"new":true}');
  const { changed } = await renderOverlay(request);
  assertEquals(changed, true);
  assertEquals(await Deno.readTextFile(`${rootfs}/../manifest`), '{"new":true}');
  assertEquals(await mountsOn(rootfs), 1);
});

for (const mounted of [true, false]) {
  const when = mounted ? "is mounted" : "was unmounted";
  Deno.test(`overlay-render render refuses another lower for an app that ${when}`, async () => {
    await using dir = await tempDir();
    const lower = await makeTree(dir.join("image"));
    const other = await makeTree(dir.join("other"));
    const { rootfs } = JSON.parse((await render(dir, "--lower", lower)).stdout);
    if (!mounted) await unmountOverlay({ pod: dir.join("pod") });
    const before = [await snapshot(dir.path), await changeTimes(dir.path)];
    const kernel = mounted ? await kernelOptions(rootfs) : null;

    // Under the same tree id, or its own: both would put other files under what the app wrote.
    for (const more of [["--lower", other, "--tree", "image"], ["--lower", other]]) {
      const { status, stdout } = await render(dir, ...more);
      const { error } = JSON.parse(stdout);
      assertEquals([status, error.code, error.path], [3, "different", rootfs]);
      assertEquals(error.message.includes(other) && error.message.includes(lower), true);
    }
    assertEquals([await snapshot(dir.path), await changeTimes(dir.path)], before);
    assertEquals(await mountsOn(rootfs), mounted ? 1 : 0);
    if (mounted) assertEquals(await kernelOptions(rootfs), kernel);
  });
}

Deno.test("renderOverlay() refuses a further or another order of lowers", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const [a, b] = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
  const { rootfs } = await renderOverlay({ ...request, lower: [a, b], tree: "t" });
  const before = await snapshot(dir.path);
  for (const lower of [[b, a], [a], [a, b, `${request.lower}`]]) {
    const error = await assertRejects(
      () => renderOverlay({ ...request, lower, tree: "t" }),
      RefusedError,
    );
    assertEquals(error.code, "different");
  }
  assertEquals(await snapshot(dir.path), before);
  assertEquals(await mountsOn(rootfs), 1);
});

Deno.test("overlay-render render refuses other options while mounted, not afterwards", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const { rootfs } = JSON.parse((await render(dir, "--lower", lower)).stdout);
  await Deno.writeTextFile(`${rootfs}/made`, "before");
  const before = [await snapshot(dir.path), await changeTimes(dir.path)];

  const refused = await render(dir, "--lower", lower, "--option", "nosuid");
  const { error } = JSON.parse(refused.stdout);
  assertEquals([refused.status, error.code, error.path], [3, "different", rootfs]);
  assertMatch(error.hint, /unmount/);
  assertEquals([await snapshot(dir.path), await changeTimes(dir.path)], before);

  await unmountOverlay({ pod: dir.join("pod") });
  const allowed = await render(dir, "--lower", lower, "--option", "nosuid");
  assertEquals([allowed.status, JSON.parse(allowed.stdout).changed], [0, true]);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "before");
  const shown = await sh("findmnt", "-n", "-o", "VFS-OPTIONS", "--mountpoint", rootfs);
  assertMatch(shown, /\bnosuid\b/);
});

Deno.test("renderOverlay() refuses another destination while mounted", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await renderOverlay(request);
  const before = await snapshot(dir.path);
  const error = await assertRejects(
    () => renderOverlay({ ...request, dest: dir.join("pod-moved") }),
    RefusedError,
  );
  assertEquals([error.code, error.path], ["different", rootfs]);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("renderOverlay() refuses another layout while mounted, and moves the rootfs afterwards", async () => {
  for (const app of ["web", ""]) {
    await using dir = await tempDir();
    const request = { ...await makeRequest(dir), app };
    const { pod } = request;
    const old = await renderOverlay({ ...request, layout: "rkt" });
    await Deno.writeTextFile(`${old.rootfs}/made`, "kept");
    const before = await snapshot(dir.path);
    const error = await assertRejects(() => renderOverlay(request), RefusedError);
    assertEquals([error.code, error.path], ["different", old.rootfs]);
    assertEquals(await snapshot(dir.path), before);
    await unmountOverlay({ pod });
    const { rootfs, upper } = await renderOverlay(request);
    assertEquals([rootfs, upper], [
      app === "" ? `${pod}/rootfs` : `${pod}/apps/web/rootfs`,
      old.upper,
    ]);
    assertEquals(await Deno.readTextFile(`${rootfs}/made`), "kept");
    assertEquals((await overlayStatus(pod)).map((status) => [status.rootfs, status.mounted]), [
      [rootfs, true],
    ]);
  }
});

Deno.test("renderOverlay() brings back what the app wrote before it was unmounted", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await renderOverlay(request);
  await Deno.writeTextFile(`${rootfs}/made`, "kept");
  await Deno.remove(`${rootfs}/gone`);
  await unmountOverlay({ pod: request.pod });
  const again = await renderOverlay(request);
  assertEquals([again.changed, again.rootfs], [true, rootfs]);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "kept");
  const names = await Array.fromAsync(Deno.readDir(rootfs), ({ name }) => name);
  assertEquals(names.includes("gone"), false);
});

/** Apps that are mounted when another one is rendered; each gets the tree and says what it is of. */
const OTHERS: readonly [string, (dir: TempDir) => Partial<RenderRequest>][] = [
  ["an app", () => ({})],
  ["an app of an odd name", () => ({ app: 'a,ro "b:c\\', tree: 'a,ro "b:c\\' })],
  ["a view", () => ({ readOnly: true, options: [] })],
  ["a view through a symlink", (dir) => {
    return { lower: dir.join("link", "image"), readOnly: true, options: [] };
  }],
  ["a view of a mount point", (dir) => {
    return { lower: dir.join("tmpfs"), readOnly: true, options: [] };
  }],
  ["a view of a directory on another device", (dir) => {
    return { lower: dir.join("tmpfs", "inside"), readOnly: true, options: [] };
  }],
  ["a view of an odd name", (dir) => {
    return { lower: dir.join('a,ro "b:c\\\td '), readOnly: true, options: [] };
  }],
  ["a view of several lowers", (dir) => {
    return { lower: [dir.join("image"), dir.join("tmpfs")], readOnly: true };
  }],
  ["an app in a destination of its own", (dir) => ({ dest: dir.join("dest") })],
  ["a view in a destination behind a symlink", (dir) => {
    return { dest: dir.join("link", "dest"), readOnly: true, options: [] };
  }],
  ["a pod behind a symlink", (dir) => ({ pod: dir.join("link", "pod") })],
  ["a view in a pod behind a symlink", (dir) => {
    return { pod: dir.join("link", "pod"), readOnly: true, options: [] };
  }],
];

for (const [what, requestOf] of OTHERS) {
  Deno.test(`renderOverlay() of another app mounts nothing twice: ${what}`, async () => {
    await using dir = await tempDir();
    await Deno.symlink(dir.path, dir.join("link"));
    await Deno.mkdir(dir.join("tmpfs"));
    await sh("mount", "-t", "tmpfs", "tmpfs", dir.join("tmpfs"));
    await makeTree(dir.join("tmpfs", "inside"));
    await makeTree(dir.join('a,ro "b:c\\\td '));
    const request = { ...await makeRequest(dir), ...requestOf(dir) };
    await renderOverlay(request);
    const mounts = await mountsBelow(dir.path);
    for (const app of ["db", "cache"]) {
      const own = { app, lower: dir.join("image"), pod: request.pod, options: MARKS };
      const { rootfs } = await renderOverlay(own);
      mounts.push(await Deno.realPath(rootfs));
      assertEquals(await mountsBelow(dir.path), mounts);
    }
    const again = await renderOverlay(request);
    assertEquals(again.changed, false);
    assertEquals(await mountsBelow(dir.path), mounts);
    assertEquals((await overlayStatus(request.pod)).map(({ mounted }) => mounted), [
      true,
      true,
      true,
    ]);
    assertEquals((await unmountOverlay({ pod: request.pod })).unmounted.length, 3);
    assertEquals(await mountsBelow(dir.path), [dir.join("tmpfs")]);
  });
}

Deno.test("renderOverlay() called at once for one app mounts it once", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const renders = await Promise.all([1, 2, 3, 4, 5].map(() => renderOverlay(request)));
  assertEquals(renders.filter(({ changed }) => changed).length, 1);
  assertEquals(renders.every(({ mounted }) => mounted), true);
  assertEquals(await mountsOn(renders[0]?.rootfs ?? ""), 1);
});

Deno.test("overlay-render render run twice at once mounts the app once", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const results = await Promise.all([1, 2].map(() => render(dir, "--lower", lower)));
  assertEquals(results.map(({ status, stderr }) => [status, stderr]), [[0, ""], [0, ""]]);
  const answers = results.map(({ stdout }) => JSON.parse(stdout));
  assertEquals(answers.map(({ changed }) => changed).sort(), [false, true]);
  assertEquals(await mountsOn(answers[0].rootfs), 1);
});

Deno.test("overlay-render render run for ten apps of a pod at once mounts them all", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const apps = Array.from({ length: 10 }, (_, i) => `app-${i}`);
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const results = await Promise.all(apps.map((app) => {
    return cli(["render", "--lower", lower, "--pod", pod, "--app", app, ...marks]);
  }));
  assertEquals(results.map(({ status, stderr }) => [status, stderr]), apps.map(() => [0, ""]));
  for (const { stdout } of results) assertEquals(await mountsOn(stdout.trimEnd()), 1);
  const text = await Deno.readTextFile(`${pod}/overlay.fstab`);
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  assertEquals(lines.length, 10);
  const renders = await overlayStatus(pod);
  assertEquals(renders.map(({ app }) => app).sort(), apps);
  assertEquals(renders.every(({ mounted }) => mounted), true);
});

Deno.test("disposing of a render that mounted nothing leaves the first one's mount", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const first = await renderOverlay(request);
  const manifest = dir.join("manifest");
  await Deno.writeTextFile(manifest, "{}");
  // A second one that changes nothing, and a third one that changes something else.
  for (const more of [{}, { manifest }]) {
    {
      await using again = await renderOverlay({ ...request, ...more });
      assertEquals([again.mounted, again.changed], [true, "manifest" in more]);
    }
    assertEquals(await mountsBelow(dir.path), [first.rootfs]);
  }
  await first[Symbol.asyncDispose]();
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("disposing of a pod unmounts the apps that the call mounted alone", async () => {
  await using dir = await tempDir();
  const { lower = "", pod } = await makeRequest(dir);
  const [web, db] = ["web", "db"].map((app) => ({ app, lower, options: MARKS }));
  if (web === undefined || db === undefined) throw new Error("there are two");
  const first = await renderPod({ pod, apps: [web] });
  const second = await renderPod({ pod, apps: [web, db] });
  assertEquals((await mountsBelow(dir.path)).length, 2);
  await second[Symbol.asyncDispose]();
  assertEquals(await mountsBelow(dir.path), first.renders.map(({ rootfs }) => rootfs));
  await first[Symbol.asyncDispose]();
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("disposing of a render unmounts it although its signal was aborted", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { pod } = request;
  const controller = new AbortController();
  const { signal } = controller;
  const render = await renderOverlay(request, { signal });
  controller.abort();
  // The pod is locked for a moment: only who waits looks at the signal.
  const lock = await lockPod(`${pod}/overlay.lock`);
  setTimeout(() => lock[Symbol.dispose](), 100);
  await render[Symbol.asyncDispose]();
  assertEquals(await mountsBelow(dir.path), []);
});
