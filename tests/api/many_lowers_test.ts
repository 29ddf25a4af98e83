import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  planRender,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, kernelOptions, MARKS, mountsOn, namesIn } from "../_tree.ts";

/** The longest option string the kernel reads. */
const LIMIT = 4095;

function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** Makes lowers, each with a file of its own name, and one that all of them have. */
async function makeLowers(directory: string, names: readonly string[]): Promise<string[]> {
  const paths = names.map((name) => `${directory}/${name}`);
  for (const [i, path] of paths.entries()) {
    await Deno.mkdir(path, { recursive: true });
    await Deno.writeTextFile(`${path}/own-${i}`, path);
    await Deno.writeTextFile(`${path}/all`, path);
  }
  return paths;
}

const FAR = "x".repeat(200);

/** Names without and with what has to be escaped. */
const KINDS = [
  ["plain", (i: number) => `l${i}`],
  ["odd", (i: number) => `l ${i},ro:"\\`],
] as const;

for (const [kind, nameOf] of KINDS) {
  Deno.test(`renderOverlay() shortens options that are too long: ${kind} names`, async () => {
    await using dir = await tempDir();
    const far = dir.join(FAR);
    const lower = await makeLowers(far, Array.from({ length: 40 }, (_, i) => nameOf(i)));
    const before = await snapshot(dir.path);
    const request = { lower, pod: `${far}/pod`, app: "web", tree: "many", options: MARKS };
    const render = await renderOverlay(request);
    const { rootfs, options, upper } = render;
    assertEquals(bytes(options) <= LIMIT, true);
    assertEquals(options.includes(far), false);
    assertEquals((await kernelOptions(rootfs)).includes("upperdir=overlay/many/upper/web,"), true);

    assertEquals(await Deno.readTextFile(`${rootfs}/all`), lower[0]);
    for (const [i, path] of lower.entries()) {
      assertEquals(await Deno.readTextFile(`${rootfs}/own-${i}`), path);
    }
    await Deno.writeTextFile(`${rootfs}/made`, "here");
    assertEquals(await namesIn(`${upper}`), ["made"]);
    assertEquals(upper, `${far}/pod/overlay/many/upper/web`);

    const [status] = await overlayStatus(request.pod);
    assertEquals([status?.lower, status?.upper, status?.mounted], [lower, upper, true]);
    const again = await renderOverlay(request);
    assertEquals([again.changed, await mountsOn(rootfs)], [false, 1]);
    await unmountOverlay({ pod: request.pod });
    await Deno.remove(request.pod, { recursive: true });
    assertEquals(await snapshot(dir.path), before);
  });
}

/** How many bytes longer than the limit the option string with absolute paths is. */
for (const over of [-1, 0, 1, 2]) {
  const what = over <= 0 ? "as they are" : "shortened";
  Deno.test(`renderOverlay() hands over ${LIMIT + over} bytes of options ${what}`, async () => {
    await using dir = await tempDir();
    const pod = dir.join("pod");
    const base = dir.join("lowers");
    const names: string[] = [];
    const request = { pod, app: "web", tree: "t", options: MARKS };
    // The last lower's name brings the whole to the length; the work's name would be cut first.
    const length = (last: string): number => {
      const lower = [...names, last].map((name) => `${base}/${name}`);
      return bytes([
        `lowerdir=${lower.join(":")}`,
        `upperdir=${pod}/overlay/t/upper/web`,
        `workdir=${pod}/overlay/t/work/web`,
        ...MARKS,
      ].join(","));
    };
    while (LIMIT + over - length("") > 250) names.push(`${names.length}-`.padEnd(100, "x"));
    const last = "y".repeat(LIMIT + over - length(""));
    assertEquals(length(last), LIMIT + over);
    const lower = await makeLowers(base, [...names, last]);
    const { options, rootfs, upper, work } = await renderOverlay({ ...request, lower });
    assertEquals(options.includes(base), over <= 0);
    assertEquals(bytes(options) === LIMIT + over, over <= 0);
    await Deno.writeTextFile(`${rootfs}/made`, "");
    assertEquals(await namesIn(`${upper}`), ["made"]);
    assertEquals(await namesIn(`${work}`), ["work"]);
    assertEquals(await Deno.readTextFile(`${rootfs}/own-${names.length}`), `${base}/${last}`);
    assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [true]);
  });
}

Deno.test("renderOverlay() mounts as many lowers as the kernel stacks, and takes back one more", async () => {
  await using dir = await tempDir();
  const names = Array.from({ length: 501 }, (_, i) => i.toString(36));
  const lower = await makeLowers(dir.path, names);
  const pod = dir.join("pod");
  const request = { pod, app: "web", tree: "many", options: MARKS };
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => renderOverlay({ ...request, lower }), RefusedError);
  assertEquals(error.code, "too-many-lowers");
  assertEquals(await snapshot(dir.path), before);
  const { rootfs } = await renderOverlay({ ...request, lower: lower.slice(0, 500) });
  assertEquals(await Deno.readTextFile(`${rootfs}/own-499`), lower[499]);
  await Deno.writeTextFile(`${rootfs}/made`, "");
});

Deno.test("mount works with shortened options in the pod's directory", async () => {
  await using dir = await tempDir();
  const far = dir.join(FAR);
  const lower = await makeLowers(far, Array.from({ length: 40 }, (_, i) => `l${i}`));
  const pod = `${far}/pod`;
  const request = { lower, pod, app: "web", tree: "many", options: MARKS };
  const { options, rootfs, upper } = await prepareOverlay(request);
  const script = [
    'cd -- "$1" && mount -t overlay overlay -o "$2" -- "$3"',
    'cd -- "$1" && mount --all --fstab overlay.fstab && mount --fstab overlay.fstab -- "$3"',
  ];
  for (const [i, line] of script.entries()) {
    await sh("sh", "-c", line, "sh", pod, options, rootfs);
    await Deno.writeTextFile(`${rootfs}/made-${i}`, "");
    assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [true]);
    await sh("umount", rootfs);
  }
  assertEquals(await namesIn(`${upper}`), ["made-0", "made-1"]);
});

Deno.test("renderOverlay() shortens the options of a pod and lowers that are named through a symlink", async () => {
  await using dir = await tempDir();
  const far = dir.join("real", FAR);
  const lower = await makeLowers(far, Array.from({ length: 40 }, (_, i) => `l${i}`));
  await Deno.symlink(dir.join("real"), dir.join("link"));
  const pod = dir.join("link", FAR, "pod");
  const linked = lower.map((path) => path.replace("/real/", "/link/"));
  const request = { lower: linked, pod, app: "web", tree: "many", options: MARKS };
  const { rootfs, lower: mounted } = await renderOverlay(request);
  assertEquals(mounted, lower);
  assertEquals(await Deno.readTextFile(`${rootfs}/own-39`), lower[39]);
  assertEquals((await renderOverlay(request)).changed, false);
  assertEquals((await overlayStatus(pod)).map(({ lower, mounted }) => [lower, mounted]), [
    [lower, true],
  ]);
});

Deno.test("overlay-render render says how long options are that cannot be shortened", async () => {
  await using dir = await tempDir();
  // Nothing in common with the pod but the temporary directory.
  const names = Array.from({ length: 40 }, (_, i) => `${i}-`.padEnd(150, "x"));
  const lower = await makeLowers(dir.path, names);
  const pod = dir.join("pod");
  const before = await snapshot(dir.path);
  const error = await assertRejects(() => renderOverlay({ lower, pod, app: "web" }), OverlayError);
  assertEquals([error.code, error.path], ["too-long", pod]);
  assertMatch(error.message, /at most 4095 bytes/);
  const [, short, long] = /these are (\d+), shortened from (\d+)$/.exec(error.message) ?? [];
  assertEquals(Number(short) > LIMIT && Number(short) < Number(long), true, error.message);
  const args = lower.flatMap((path) => ["--lower", path]);
  const { status, stderr } = await cli(["render", ...args, "--pod", pod, "--app", "web"]);
  assertEquals([status !== 0, stderr.includes(`error: ${error.message}\nhint: `)], [true, true]);
  assertEquals([await isMissing(pod), await snapshot(dir.path)], [true, before]);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test({
  name: "planRender() shortens options without looking at the disk",
  permissions: "none",
  fn(): void {
    const lower = Array.from({ length: 40 }, (_, i) => `/${FAR}/l${i}`);
    const plan = planRender({ lower, pod: `/${FAR}/pod`, app: "web", tree: "many" });
    const short = lower.map((_, i) => `../l${i}`).join(":");
    const ours = "upperdir=overlay/many/upper/web,workdir=overlay/many/work/web";
    assertEquals(plan.mounts[0].optionString, `lowerdir=${short},${ours}`);
    assertEquals(plan.mounts[0].lower, lower);
  },
});
