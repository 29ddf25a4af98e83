/**
 * The uppers of ephemeral apps, which go when they are unmounted, and not before.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  permissionFlags,
  prepareOverlay,
  renderOverlay,
  renderPod,
  requiredPermissions,
  restoreOverlays,
  unmountOverlay,
  unmountPlan,
} from "../../mod.ts";
import { changesOf, runIn } from "../_changes.ts";
import { cli } from "../_cli.ts";
import { crash } from "../_crash.ts";
import { assertRefused, lacks } from "../_lacks.ts";
import { disk, runMain } from "../_main.ts";
import { keepMounts, occupy } from "../_pods.ts";
import { makeRequest } from "../_scene.ts";
import { modeOf, mountsBelow, sh, tempDir } from "../_temp.ts";
import { MARKS, namesIn } from "../_tree.ts";

const WRITE = "echo n > new; rm gone; echo more >> file; mkdir dir; chmod 700 .";

Deno.test("an ephemeral app leaves nothing when it is unmounted or disposed, and its pod and other apps stay", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { pod } = request;
  const kept = await renderOverlay({ ...request, app: "kept", ephemeral: false });
  await runIn(kept.rootfs, WRITE);
  let upper = "";
  {
    await using app = await renderOverlay(request);
    await runIn(app.rootfs, WRITE);
    upper = app.upper ?? "";
    assert((await namesIn(upper)).length > 0);
  }
  assertEquals(await namesIn(upper), []);
  const { rootfs } = await renderOverlay(request);
  assertEquals(await changesOf({ pod, app: "web" }), []);
  await runIn(rootfs, WRITE);
  const { unmounted } = await unmountOverlay({ pod });
  assertEquals(unmounted.map(({ app }) => app), ["web", "kept"]);
  assertEquals(await namesIn(upper), []);
  assertEquals((await changesOf({ pod, app: "kept" })).length, 4);
  const drifts = (await overlayStatus(pod)).map(({ mounted, drift }) => [mounted, drift]);
  assertEquals(drifts, [[false, undefined], [false, undefined]]);
});

Deno.test("an ephemeral app keeps what it wrote over a reboot, until it is unmounted", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { pod } = request;
  const { rootfs, upper } = await renderOverlay(request);
  await runIn(rootfs, WRITE);
  await sh("umount", "--", rootfs);
  assertEquals((await restoreOverlays({ pod })).restored.length, 1);
  assertEquals((await changesOf({ pod })).length, 4);
  await sh("umount", "--", rootfs);
  assertEquals((await unmountOverlay({ pod })).unmounted, []);
  assertEquals(await namesIn(upper ?? ""), []);
});

Deno.test("unmountOverlay() leaves what was put into an ephemeral app that is only prepared", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { upper } = await prepareOverlay(request);
  await runIn(upper ?? "", "echo n > new");
  const before = await disk(dir.path);
  await unmountOverlay({ pod: request.pod });
  assertEquals(await disk(dir.path), before);
});

Deno.test("an ephemeral app that is unmounted lazily keeps what it wrote only while a process uses it", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { pod } = request;
  const { rootfs, upper } = await renderOverlay(request);
  await runIn(rootfs, "echo n > new");
  const warnings: string[] = [];
  const warn = (text: string) => void warnings.push(text);
  {
    await using _process = await occupy(rootfs);
    await unmountOverlay({ pod, lazy: true }, { warn });
    assertEquals(await namesIn(upper ?? ""), ["new"]);
    assertMatch(
      warnings.join(),
      /^Cannot throw away what was written by app "web" .* a process uses it still; it stays$/,
    );
    await assertRejects(() => unmountOverlay({ pod }), OverlayError, "a process uses it still");
    assertEquals(await namesIn(upper ?? ""), ["new"]);
  }
  await unmountOverlay({ pod });
  assertEquals(await namesIn(upper ?? ""), []);
  await renderOverlay(request);
  await runIn(rootfs, "echo n > new");
  await unmountOverlay({ pod, lazy: true }, { warn });
  assertEquals([await namesIn(upper ?? ""), warnings.length], [[], 1]);
});

Deno.test("an ephemeral app that is used elsewhere keeps what it wrote, and unmountOverlay() fails after the others", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { pod } = request;
  const web = await renderOverlay(request);
  const uppers = async () => [await namesIn(web.upper ?? ""), await namesIn(db.upper ?? "")];
  await runIn(web.rootfs, "echo n > new");
  const container = await keepMounts();
  const db = await renderOverlay({ ...request, app: "db" });
  await runIn(db.rootfs, "echo n > new");
  try {
    const error = await assertRejects(() => unmountOverlay({ pod }), OverlayError);
    assertMatch(error.message, /"web" .*: a process uses it still, in another mount namespace/);
    assertEquals(error.code, "busy");
    assertEquals(await mountsBelow(dir.path), []);
    assertEquals(await uppers(), [["new"], []]);
  } finally {
    await container.end();
  }
  await unmountOverlay({ pod });
  assertEquals(await uppers(), [[], []]);

  await renderOverlay(request);
  await runIn(web.rootfs, "echo n > new");
  await sh("umount", "--", web.rootfs);
  const lower = [web.upper ?? "", `${request.lower}`];
  const other = await renderOverlay({
    lower,
    tree: "both",
    pod: dir.join("other"),
    options: MARKS,
  });
  const error = await assertRejects(() => unmountOverlay({ pod }), OverlayError);
  assertEquals([error.code, error.exitStatus], ["in-use", 3]);
  assertMatch(error.message, /: the mount on ".*\/other\/.*" uses what is in its upper$/);
  assertEquals(await namesIn(web.upper ?? ""), ["new"]);
  await unmountOverlay({ pod: other.pod });
  await unmountOverlay({ pod });
  assertEquals(await namesIn(web.upper ?? ""), []);
});

Deno.test("an ephemeral app keeps what it wrote while the destination of a lasting app lies in it", async () => {
  await using dir = await tempDir();
  const { lower } = await makeRequest(dir);
  await Deno.chmod(`${lower}`, 0o1751);
  const own = { lower: [`${lower}`], options: MARKS, app: "", tree: "stage1" };
  const inner = { lower: [`${lower}`], options: MARKS, app: "web", live: true };
  for (const lasting of [{ ephemeral: false }, { ephemeral: false, overlay: "never" as const }]) {
    const pod = dir.join(`pod-${Object.keys(lasting).length}`);
    const options = "overlay" in lasting ? [] : MARKS;
    const apps = [own, { ...inner, options, ...lasting }];
    const request = { pod, layout: "rkt" as const, ephemeral: true, apps };
    const { renders } = await renderPod(request);
    for (const { rootfs } of renders) await runIn(rootfs, "echo n > new");
    const before = await namesIn(`${renders[0]?.upper}`);
    await unmountOverlay({ pod });
    assertEquals(await namesIn(`${renders[0]?.upper}`), before);
    const { rootfs } = await renderOverlay({ ...own, pod, layout: "rkt", ephemeral: true });
    if (!("overlay" in lasting)) await renderPod(request);
    const at = `${renders[1]?.rootfs}/new`;
    assert(at.startsWith(rootfs));
    assertEquals(await Deno.readTextFile(at), "n\n");
  }
  const pod = dir.join("all");
  const request = { pod, layout: "rkt" as const, ephemeral: true, apps: [own, inner] };
  const { renders } = await renderPod(request);
  for (const { rootfs } of renders) await runIn(rootfs, WRITE);
  await unmountOverlay({ pod });
  for (const { upper } of renders) {
    assertEquals([await namesIn(`${upper}`), modeOf(`${upper}`)], [[], "1751"]);
  }
  await renderPod(request);
  assertEquals(await changesOf({ pod, app: "web" }), []);
});

Deno.test("overlay-render unmount --dry-run of an ephemeral app touches nothing, and unmount needs each of its flags", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), ephemeral: true };
  const { rootfs, upper } = await renderOverlay(request);
  await runIn(rootfs, WRITE);
  const args = ["unmount", `--pod=${request.pod}`];
  const before = await disk(dir.path);
  const { stdout } = await runMain([...args, "--dry-run"]);
  assertMatch(
    stdout,
    /^operations:\n {2}open .*\n {2}unmount .*\n {2}record .*\n {2}idle .*stays.*\n {2}reset .*emptied/,
  );
  const flags = permissionFlags(requiredPermissions(await unmountPlan({ pod: request.pod })));
  assertEquals((await runMain([...args, "--flags"])).stdout, `${flags.join(" ")}\n`);
  assertEquals(await disk(dir.path), before);
  await assertRefused(dir.path, args, lacks(flags));
  assertEquals(await cli(args, { flags }), { status: 0, stdout: `${rootfs}\n`, stderr: "" });
  assertEquals(await namesIn(upper ?? ""), []);
});

/** The most steps that an unmount has. */
const STEPS_MAX = 60;

Deno.test("unmountOverlay() of an ephemeral app that is killed after any step is completed by the next one", async () => {
  let kills = 0;
  for (let at = 1; at < STEPS_MAX; at++) {
    await using dir = await tempDir();
    const request = await makeRequest(dir);
    const { pod } = request;
    const web = await renderOverlay({ ...request, ephemeral: true });
    const db = await renderOverlay({ ...request, app: "db" });
    for (const { rootfs } of [web, db]) await runIn(rootfs, WRITE);
    const { killed } = await crash({ kind: "unmount", request: { pod } }, at);
    assertEquals((await changesOf({ pod, app: "db" })).length, 4, `after step ${at}`);
    const changes = await changesOf({ pod, app: "web" });
    assert([0, 4].includes(changes.length), `after step ${at}: ${changes}`);
    assert((await overlayStatus(pod)).every(({ drift }) => drift !== "missing"), `step ${at}`);
    if (at % 2 === 0) {
      assertEquals((await restoreOverlays({ pod })).failed, [], `after step ${at}`);
      assertEquals(await changesOf({ pod, app: "web" }), changes, `after step ${at}`);
    }
    await unmountOverlay({ pod });
    assertEquals(await mountsBelow(dir.path), []);
    assertEquals(await namesIn(web.upper ?? ""), [], `after step ${at}`);
    assertEquals((await namesIn(`${pod}/overlay/image`)).sort(), ["upper", "work"], `${at}`);
    assertEquals((await changesOf({ pod, app: "db" })).length, 4, `after step ${at}`);
    if (!killed) break;
    kills++;
  }
  assert(kills >= 10 && kills < STEPS_MAX - 1, `${kills} steps`);
});
