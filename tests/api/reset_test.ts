import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  overlayChanges,
  overlayStatus,
  permissionFlags,
  RefusedError,
  renderOverlay,
  renderPod,
  requiredPermissions,
  resetOverlay,
  resetPlan,
  restoreOverlays,
  UnmountError,
  unmountOverlay,
} from "../../mod.ts";
import { changesOf, runIn } from "../_changes.ts";
import { cli } from "../_cli.ts";
import { crash } from "../_crash.ts";
import { assertRefused, lacks } from "../_lacks.ts";
import { disk, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { makeRequest } from "../_scene.ts";
import { modeOf, mountsBelow, snapshot, tempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

const WRITE = "echo n > new; rm gone; echo more >> file; rm -r etc; mkdir etc; chmod 700 .";

for (const mounted of [true, false]) {
  Deno.test(`resetOverlay() leaves an app as it was rendered first: ${mounted ? "mounted" : "unmounted"}`, async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir);
    await Deno.chmod(dir.join("image"), 0o1751);
    const { rootfs, upper } = await renderOverlay(request);
    const other = await renderOverlay({ ...request, app: "other" });
    await runIn(other.rootfs, WRITE);
    const [before, fstab] = [await snapshot(rootfs), `${request.pod}/overlay.fstab`];
    await runIn(rootfs, WRITE);
    if (!mounted) await unmountOverlay({ pod: request.pod, app: "web" });
    const record = await Deno.readTextFile(fstab);
    const { reset } = await resetOverlay({ pod: request.pod, app: "web" });
    assertEquals(reset, [rootfs]);
    assertEquals(await Deno.readTextFile(fstab), record);
    assertEquals((await mountsBelow(dir.path)).includes(rootfs), mounted);
    assertEquals(await changesOf({ pod: request.pod, app: "web" }), []);
    assertEquals([await namesIn(upper ?? ""), modeOf(upper ?? "")], [[], "1751"]);
    assertEquals((await namesIn(`${request.pod}/overlay/image`)).sort(), ["upper", "work"]);
    assertEquals((await changesOf({ pod: request.pod, app: "other" })).length, 4);
    await renderOverlay(request);
    assertEquals(await snapshot(rootfs), before);
    await runIn(rootfs, WRITE);
    assertEquals((await changesOf({ pod: request.pod, app: "web" })).length, 4);
  });
}

Deno.test("resetOverlay() resets all apps of a pod, and leaves views", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const apps = [await renderOverlay(request), await renderOverlay({ ...request, app: "db" })];
  await renderOverlay({ ...request, app: "view", readOnly: true, options: [] });
  for (const { rootfs } of apps) await runIn(rootfs, WRITE);
  const mounts = await mountsBelow(dir.path);
  const { reset } = await resetOverlay({ pod: request.pod });
  assertEquals(reset, apps.map(({ rootfs }) => rootfs));
  assertEquals((await mountsBelow(dir.path)).sort(), mounts.sort());
  for (const { app } of apps) assertEquals(await changesOf({ pod: request.pod, app }), []);
  assert((await overlayStatus(request.pod)).every(({ mounted }) => mounted));
});

Deno.test("resetOverlay() leaves an app that a process uses as it is, and resets the others", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const web = await renderOverlay(request);
  const db = await renderOverlay({ ...request, app: "db" });
  for (const { rootfs } of [web, db]) await runIn(rootfs, WRITE);
  const before = await snapshot(web.rootfs);
  const user = new Deno.Command("sleep", { args: ["100"], cwd: web.rootfs }).spawn();
  try {
    const error = await assertRejects(() => resetOverlay({ pod: request.pod }), UnmountError);
    assertEquals([error.code, error.path], ["busy", web.rootfs]);
    assertEquals(await snapshot(web.rootfs), before);
    assertEquals(await changesOf({ pod: request.pod, app: "db" }), []);
    assertEquals((await mountsBelow(dir.path)).sort(), [db.rootfs, web.rootfs]);
  } finally {
    user.kill("SIGKILL");
    await user.status;
  }
  await resetOverlay({ pod: request.pod });
  assertEquals(await changesOf({ pod: request.pod, app: "web" }), []);
});

Deno.test("resetOverlay() refuses an app in use in another mount namespace, a copy, and an app with others in it", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs, upper } = await renderOverlay(request);
  await runIn(rootfs, "echo n > new");
  const held = new Deno.Command("unshare", {
    args: ["--mount", "--propagation=private", "sh", "-c", "echo; exec sleep 100"],
    stdout: "piped",
  }).spawn();
  try {
    const reader = held.stdout.getReader();
    await reader.read();
    await reader.cancel();
    await unmountOverlay({ pod: request.pod });
    const error = await assertRejects(
      () => resetOverlay({ pod: request.pod }, { waitMs: 100 }),
      RefusedError,
    );
    assertEquals(error.code, "busy");
    assertMatch(error.message, /^Cannot reset app "web"/);
    assertEquals(await namesIn(upper ?? ""), ["new"]);
  } finally {
    held.kill("SIGKILL");
    await held.status;
  }
  const pod = dir.join("copy");
  await renderOverlay({ ...request, pod, overlay: "never", options: [] });
  const before = await disk(pod);
  assertEquals((await assertRejects(() => resetOverlay({ pod }), RefusedError)).code, "refused");
  assertEquals(await disk(pod), before);

  const nested = dir.join("nested");
  const app = { lower: request.lower ?? "", options: MARKS };
  const apps = [{ ...app, app: "" }, { ...app, app: "web", tree: "other" }];
  await renderPod({ pod: nested, layout: "rkt", apps });
  for (const name of ["", "web"]) {
    const refused = () => resetOverlay({ pod: nested, app: name });
    assertEquals((await assertRejects(refused, RefusedError)).code, "in-use", name);
  }
});

Deno.test({
  name: "resetOverlay() empties the work too, so that an index and a volatile marker do not stay",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir, { options: ["index=on", "volatile"] });
    const { rootfs } = await renderOverlay(request);
    await runIn(rootfs, "ln file hard; echo more >> hard; rm gone");
    await resetOverlay({ pod: request.pod });
    await runIn(rootfs, "ln file hard; echo more >> hard; rm gone");
    await unmountOverlay({ pod: request.pod });
    await resetOverlay({ pod: request.pod });
    await renderOverlay(request);
    assertEquals(await changesOf({ pod: request.pod }), []);
  },
});

Deno.test("overlay-render reset --dry-run touches nothing, and reset needs each of the flags that it names", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await renderOverlay(request);
  await runIn(rootfs, WRITE);
  const args = ["reset", `--pod=${request.pod}`];
  const before = await disk(dir.path);
  const { stdout } = await runMain([...args, "--dry-run"]);
  assertMatch(
    stdout,
    /^operations:\n {2}open .*\n {2}unmount .*\n {2}idle .*\n {2}reset .*\n {2}mount /,
  );
  const flags = permissionFlags(requiredPermissions(await resetPlan({ pod: request.pod })));
  assertEquals((await runMain([...args, "--flags"])).stdout, `${flags.join(" ")}\n`);
  assertEquals(await disk(dir.path), before);
  await assertRefused(dir.path, args, lacks(flags));
  assertEquals(await cli(args, { flags }), { status: 0, stdout: `${rootfs}\n`, stderr: "" });
  assertEquals(await overlayChanges({ pod: request.pod }), []);
});

/** The most steps that a reset has. */
const STEPS_MAX = 60;

for (const mounted of [true, false]) {
  Deno.test(`resetOverlay() that is killed after any step leaves the old upper or none: ${mounted ? "mounted" : "unmounted"}`, async () => {
    let kills = 0;
    for (let at = 1; at < STEPS_MAX; at++) {
      await using dir = await tempDir();
      const request = await makeRequest(dir);
      const { rootfs, upper } = await renderOverlay(request);
      await runIn(rootfs, WRITE);
      if (!mounted) await unmountOverlay({ pod: request.pod });
      const before = await snapshot(upper ?? "");
      const { killed } = await crash({ kind: "reset", request: { pod: request.pod } }, at);
      const isGone = await isMissing(upper ?? "") || (await namesIn(upper ?? "")).length === 0;
      if (!isGone) assertEquals(await snapshot(upper ?? ""), before, `after step ${at}`);
      if (isGone) assertEquals(await changesOf({ pod: request.pod }), [], `after step ${at}`);
      const [status] = await overlayStatus(request.pod);
      assert(status?.drift !== "missing", `after step ${at}`);
      // A restore goes on with what there is, or a render, or a reset.
      if (at % 3 === 1 && mounted) {
        const { failed } = await restoreOverlays({ pod: request.pod });
        assertEquals(failed, [], `after step ${at}`);
        assertEquals((await changesOf({ pod: request.pod })).length, isGone ? 0 : 4, `${at}`);
      }
      if (at % 3 === 2) {
        await renderOverlay(request);
        assertEquals((await changesOf({ pod: request.pod })).length, isGone ? 0 : 4, `${at}`);
      }
      await resetOverlay({ pod: request.pod });
      assertEquals(await namesIn(`${request.pod}/overlay/image`), ["upper", "work"], `${at}`);
      await renderOverlay(request);
      assertEquals(await changesOf({ pod: request.pod }), [], `after step ${at}`);
      if (!killed) break;
      kills++;
    }
    assert(kills >= 8 && kills < STEPS_MAX - 1, `${kills} steps`);
  });
}
