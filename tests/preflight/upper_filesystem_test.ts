/**
 * The look at the place of a pod, which begins before the plan is made.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InvalidValueError, RefusedError, renderOverlay, unmountOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { collectFacts } from "../../lib/preflight/disk_facts.ts";
import { planRender } from "../../lib/plan/plan.ts";
import { cli } from "../_cli.ts";
import { mountTmpfs } from "../_disks.ts";
import { flagsOf, runMain } from "../_main.ts";
import { sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** Runs something, and counts how often findmnt is asked what a directory lies on. */
async function asked(run: (trace: (text: string) => void) => Promise<unknown>): Promise<number> {
  let times = 0;
  await run((text) => {
    if (/^run \/bin\/findmnt .* --target /.test(text)) times++;
  });
  return times;
}

/** A request for a new pod on a tmpfs. */
async function onTmpfs(
  dir: TempDir,
  more: Partial<RenderRequest> = {},
): Promise<RenderRequest & { readonly lower: string }> {
  const [lower, pods] = [await makeTree(dir.join("image")), await mountTmpfs(dir.join("pods"))];
  return { pod: `${pods}/pod`, app: "web", options: MARKS, ...more, lower };
}

Deno.test("renderOverlay() asks once what a tmpfs is, and of what holds no upper never", async () => {
  const table: readonly [more: Partial<RenderRequest>, times: number][] = [
    [{}, 1],
    [{ readOnly: true, options: [] }, 0],
    [{ overlay: "never", options: [] }, 0],
    [{ overlay: "auto" }, 1],
  ];
  for (const [more, times] of table) {
    await using dir = await tempDir();
    const request = await onTmpfs(dir, more);
    assertEquals(await asked((trace) => renderOverlay(request, { trace })), times);
    await unmountOverlay({ pod: request.pod });
  }
});

Deno.test("renderOverlay() waits for its look when the request turns out to be of no use", async () => {
  await using dir = await tempDir();
  const request = await onTmpfs(dir, { app: ".." });
  const before = await snapshot(dir.path);
  // That nothing runs on, and no promise is left, is what the sanitizers of the test see.
  await assertRejects(
    () => renderOverlay(request),
    InvalidValueError,
    "it would leave its directory",
  );
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("renderOverlay() takes a pod that can be written, in a directory that cannot", async () => {
  await using dir = await tempDir();
  const request = await onTmpfs(dir);
  await Deno.mkdir(request.pod);
  await sh("mount", "--bind", request.pod, request.pod);
  await sh("mount", "-o", "remount,bind,ro", dir.join("pods"));
  const { mounted } = await renderOverlay(request);
  assertEquals(mounted, true);
  await unmountOverlay({ pod: request.pod });
});

Deno.test("renderOverlay() refuses a pod that cannot be written, in a directory that can", async () => {
  await using dir = await tempDir();
  const request = await onTmpfs(dir);
  await Deno.mkdir(request.pod);
  await sh("mount", "--bind", request.pod, request.pod);
  await sh("mount", "-o", "remount,bind,ro", request.pod);
  const error = await assertRejects(() => renderOverlay(request), RefusedError, "is read-only");
  assertEquals(error.code, "upper-read-only");
});

Deno.test("renderOverlay() makes nothing in a lower that a symlink hides", async () => {
  await using dir = await tempDir();
  const { lower, ...request } = await onTmpfs(dir);
  await Deno.symlink(lower, dir.join("link"));
  const before = await snapshot(dir.path);
  const { mtime } = await Deno.stat(lower);
  for (const [image, pod] of [[lower, "link/pod"], ["link", "image/pod"]] as const) {
    const given = { ...request, lower: image === "link" ? dir.join("link") : image };
    const error = await assertRejects(
      () => renderOverlay({ ...given, pod: dir.join(pod) }),
      RefusedError,
      "lies in the lower",
    );
    assertEquals(error.code, "in-use");
  }
  assertEquals((await Deno.stat(lower)).mtime, mtime);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("overlay-render asks nothing of a tmpfs above the pod that it may not read", async () => {
  await using dir = await tempDir();
  const request = await onTmpfs(dir);
  const flags = [
    `--allow-read=${request.lower},${request.pod}`,
    `--allow-write=${request.pod}`,
    "--allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find",
    "--allow-sys=uid",
  ];
  const { status, stderr } = await cli(["render", ...flagsOf(request), "--verbose"], { flags });
  assertEquals([status, stderr.includes("run /bin/findmnt")], [0, false]);
  await unmountOverlay({ pod: request.pod });
});

Deno.test("collectFacts() finds where a pod would lie, whatever is missing above it", async () => {
  await using dir = await tempDir();
  const { lower } = await onTmpfs(dir);
  const { dev } = await Deno.stat(dir.join("pods"));
  const { mounts: [mount] } = planRender({
    lower,
    pod: dir.join("pods", "a", "b", "pod"),
    app: "web",
  });
  const facts = await collectFacts(mount, {});
  assertEquals(facts.devices, { upper: dev, work: dev });
  assertEquals([facts.fileSystem?.type, facts.unchecked], ["tmpfs", []]);
});

Deno.test("a pod in the lower is one fact with one code, however it is found", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  await Deno.symlink(lower, dir.join("link"));
  const reason = /^Cannot use pod "[^"]+": it lies in the lower "[^"]+"$/;
  for (const pod of [`${lower}/pod`, dir.join("link/pod")]) {
    for (const more of [{}, { options: ["nodev", "nosuid"] }]) {
      const request = { lower, pod, app: "web", ...more };
      const error = await assertRejects(() => renderOverlay(request), RefusedError);
      assertEquals([error.code, error.exitStatus], ["in-use", 3]);
      assertMatch(error.message, reason);
    }
    const args = ["render", `--lower=${lower}`, `--pod=${pod}`];
    assertEquals((await runMain(args)).status, 3);
  }
});

Deno.test("no pod is made in the lower / of its own file system, and on another one it is", async () => {
  await using dir = await tempDir();
  const request = { lower: "/", tree: "host", pod: dir.join("pod"), app: "web", options: MARKS };
  const isInside = (await Deno.stat("/")).dev === (await Deno.stat(dir.path)).dev;
  if (isInside) {
    const error = await assertRejects(() => renderOverlay(request), RefusedError);
    assertEquals([error.code, await isMissing(request.pod)], ["in-use", true]);
    assertStringIncludes(error.message, 'it lies in the lower "/"');
  }
  await Deno.mkdir(dir.join("mem"));
  await sh("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", dir.join("mem"));
  const other = await renderOverlay({ ...request, pod: dir.join("mem/pod") });
  assertEquals((await Deno.stat(`${other.rootfs}/etc`)).isDirectory, true);
});
