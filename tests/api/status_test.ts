import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  InvalidValueError,
  OverlayError,
  overlayStatus,
  prepareOverlay,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

/** The apps that the status calls mounted, checked against the kernel's own list. */
async function mountedApps(pod: string): Promise<string[]> {
  const renders = await overlayStatus(pod);
  const mounted = renders.filter((render) => render.mounted);
  const rootfs = mounted.map((render) => render.rootfs).sort();
  assertEquals(rootfs, (await mountsBelow(pod)).sort());
  return mounted.map(({ app }) => app);
}

Deno.test("overlayStatus() agrees with the kernel through an app's whole life", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await prepareOverlay(request);
  assertEquals(await mountedApps(request.pod), []);
  await renderOverlay(request);
  assertEquals(await mountedApps(request.pod), ["web"]);
  await renderOverlay({ ...request, app: "db" });
  assertEquals(await mountedApps(request.pod), ["web", "db"]);
  await sh("umount", "--", rootfs);
  assertEquals(await mountedApps(request.pod), ["db"]);
  await renderOverlay(request);
  assertEquals(await mountedApps(request.pod), ["web", "db"]);
  await unmountOverlay({ pod: request.pod, app: "db" });
  assertEquals(await mountedApps(request.pod), ["web"]);
  await unmountOverlay({ pod: request.pod });
  assertEquals(await mountedApps(request.pod), []);
});

Deno.test("overlayStatus() says all that is known of an app", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { pod } = request;
  const other = await makeTree(dir.join("other"));
  await renderOverlay({ ...request, lower: [other, `${request.lower}`], tree: "stack" });
  await prepareOverlay({ ...request, app: "far", dest: dir.join("far") });
  await prepareOverlay({ lower: `${request.lower}`, pod, app: "view", readOnly: true });
  const upper = `${pod}/overlay/stack/upper/web`;
  assertEquals(await overlayStatus(pod), [
    {
      pod,
      app: "web",
      tree: "stack",
      rootfs: `${pod}/apps/web/rootfs`,
      lower: [other, `${request.lower}`],
      upper,
      work: upper.replace("upper", "work"),
      mounted: true,
    },
    {
      pod,
      app: "far",
      tree: "image",
      rootfs: dir.join("far", "rootfs"),
      lower: [`${request.lower}`],
      upper: `${pod}/overlay/image/upper/far`,
      work: `${pod}/overlay/image/work/far`,
      mounted: false,
    },
    {
      pod,
      app: "view",
      tree: "image",
      rootfs: `${pod}/apps/view/rootfs`,
      lower: [`${request.lower}`],
      upper: null,
      work: null,
      mounted: false,
    },
  ]);
});

Deno.test("overlayStatus() touches nothing", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  await renderOverlay(request);
  const before = await snapshot(dir.path);
  await overlayStatus(request.pod);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("overlayStatus() does not take a foreign mount for the app's", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { rootfs } = await prepareOverlay(request);
  const status = async (): Promise<boolean[]> => {
    return (await overlayStatus(request.pod)).map(({ mounted }) => mounted);
  };

  await sh("mount", "-t", "tmpfs", "tmpfs", rootfs);
  assertEquals(await status(), [false], "a tmpfs");
  await sh("umount", rootfs);

  await sh("mount", "--bind", `${request.lower}`, rootfs);
  assertEquals(await status(), [false], "a bind mount of the lower");
  await sh("umount", rootfs);

  const other = [dir.join("other"), dir.join("upper"), dir.join("work")];
  for (const path of other) await Deno.mkdir(path);
  const options = `lowerdir=${other[0]},upperdir=${other[1]},workdir=${other[2]}`;
  await sh("mount", "-t", "overlay", "overlay", "-o", options, rootfs);
  assertEquals(await status(), [false], "an overlay of other directories");
  await sh("umount", rootfs);

  await renderOverlay(request);
  await sh("mount", "-t", "tmpfs", "tmpfs", rootfs);
  assertEquals(await status(), [false], "a tmpfs on top of the app's mount");
  await sh("umount", rootfs);
  assertEquals(await status(), [true]);
});

Deno.test("overlayStatus() of a pod without apps is empty", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("pod"));
  assertEquals(await overlayStatus(dir.join("pod")), []);
  assertEquals((await cli(["status", "--pod", dir.join("pod")])).stdout, "");
});

Deno.test("overlayStatus() of a pod that is not there is an error", async () => {
  await using dir = await tempDir();
  const error = await assertRejects(() => overlayStatus(dir.join("pod")), OverlayError);
  assertEquals([error.code, error.path], ["missing", dir.join("pod")]);
  await assertRejects(() => overlayStatus("pod"), InvalidValueError);
  const { status, stderr } = await cli(["status", "--pod", dir.join("pod")]);
  assertEquals(status, 1);
  assertMatch(stderr, /^error: Cannot use pod ".*": it does not exist\nhint: .*\n$/);
});

Deno.test("overlay-render status prints a table, and one object with --json", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { pod } = request;
  const image = await renderOverlay({ ...request, app: "", tree: "stage1" });
  const web = await renderOverlay(request);
  await unmountOverlay({ pod, app: "web" });
  const text = await cli(["status", "--pod", pod]);
  assertEquals(text.stdout.split("\n").map((line) => line.split(/ {2,}/)), [
    ["APP", "TREE", "STATE", "ROOTFS"],
    ['""', "stage1", "mounted", image.rootfs],
    ["web", "image", "unmounted", web.rootfs],
    [""],
  ]);
  const json = await cli(["status", "--pod", pod, "--json"]);
  assertMatch(json.stdout, /^{"version":1,"renders":\[/);
  assertEquals(JSON.parse(json.stdout).renders, await overlayStatus(pod));
});

Deno.test("overlay.fstab keeps comments and foreign lines in their places", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const fstab = dir.join("pod", "overlay.fstab");
  await renderOverlay(request);
  await Deno.mkdir(dir.join("scratch"));
  const written = await Deno.readTextFile(fstab);
  const foreign = `tmpfs ${dir.join("scratch")} tmpfs size=64k,noauto 0 0`;
  const [first, second, line] = written.split("\n");
  const kept = [
    first,
    second,
    "# mine",
    "",
    line,
    foreign,
    "  # X-overlay-render.app=no,X-overlay-render.tree=no",
  ];
  await Deno.writeTextFile(fstab, `${kept.join("\n")}\n`);

  assertEquals((await overlayStatus(request.pod)).map(({ app }) => app), ["web"]);
  assertEquals((await renderOverlay(request)).changed, false);
  await renderOverlay({ ...request, app: "db" });
  const lines = (await Deno.readTextFile(fstab)).split("\n");
  assertEquals(lines.slice(0, kept.length), kept);
  assertEquals(lines.length, kept.length + 2);
  await unmountOverlay({ pod: request.pod });
  const after = (await Deno.readTextFile(fstab)).split("\n");
  assertEquals(after.filter((_, i) => i !== 4 && i < kept.length), kept.filter((_, i) => i !== 4));
  assertEquals(after[4]?.includes(",noauto,"), true);
});

Deno.test("overlay.fstab holds what findmnt --verify accepts", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), layout: "rkt" as const, live: true };
  const { pod } = request;
  const odd = await makeTree(dir.join('a b,ro:c\\d"e=#'));
  await renderOverlay({ ...request, app: "", tree: "stage1" });
  await renderOverlay(request);
  await renderOverlay({ ...request, lower: odd, app: "a,remount b" });
  await prepareOverlay({ ...request, app: "db" });
  await renderOverlay({ lower: odd, pod, app: "view", readOnly: true });
  const said = await sh("findmnt", "--verify", "--tab-file", `${pod}/overlay.fstab`);
  assertMatch(said, /^\s*Success, no errors or warnings detected\s*$/);
  const listed = await sh("findmnt", "-nr", "-o", "TARGET", "--tab-file", `${pod}/overlay.fstab`);
  assertEquals(listed.trim().split("\n").length, 5);
});
