import { assertEquals, assertMatch } from "@std/assert";
import { prepareOverlay, renderOverlay } from "../../mod.ts";
import type { ProfileName } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { sh, tempDir } from "../_temp.ts";
import { kernelOptions, makeTree, MARKS } from "../_tree.ts";

const PROFILES: readonly ProfileName[] = ["rootfs-mode", "fixed-mode", "manifest"];

/** What mount(8) shows in front, and what a kernel adds by itself. */
const ADDED = /^(,(uuid=\w+|userxattr|nouserxattr|redirect_dir=\w+|index=\w+|xino=\w+))*$/;

function marked(options: string): string {
  return [options, ...MARKS].join(",");
}

for (const profile of PROFILES) {
  for (const app of ["web", ""]) {
    const what = app === "" ? "the pod's own image" : "an app";
    Deno.test(`renderOverlay() mounts ${what} with the seeds' options: ${profile}`, async () => {
      await using dir = await tempDir();
      const lower = await makeTree(dir.join("image"));
      const manifest = dir.join("manifest.json");
      await Deno.writeTextFile(manifest, "{}");
      const pod = dir.join("pod");
      const options = MARKS;
      const render = await renderOverlay({ lower, pod, app, profile, manifest, options });
      const below = app === "" ? "" : `/${app}`;
      const seeds =
        `lowerdir=${lower},upperdir=${pod}/overlay/image/upper${below},workdir=${pod}/overlay/image/work${below}`;
      assertEquals(render.options, marked(seeds));
      const shown = await kernelOptions(render.rootfs);
      assertEquals(shown.slice(0, `rw,${seeds}`.length), `rw,${seeds}`);
      assertMatch(shown.slice(`rw,${seeds}`.length), ADDED);
    });
  }
}

Deno.test("renderOverlay() puts further options behind the seeds'", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const request = { lower, pod, app: "web", options: ["volatile", ...MARKS, "nodev"] };
  const render = await renderOverlay(request);
  const upper = `${pod}/overlay/image/upper/web`;
  const work = `${pod}/overlay/image/work/web`;
  const seeds = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  assertEquals(render.options, [seeds, "volatile", ...MARKS, "nodev"].join(","));
  const shown = await kernelOptions(render.rootfs);
  assertEquals(shown.startsWith(`rw,${seeds},`), true, shown);
  assertMatch(shown, /[,=]volatile(,|$)/);
  assertMatch(
    await sh("findmnt", "-n", "-o", "VFS-OPTIONS", "--mountpoint", render.rootfs),
    /nodev/,
  );
});

Deno.test("overlay-render prints the options that the kernel shows", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const args = ["--lower", lower, "--pod", pod, "--app", "web", "--json"];
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const plan = JSON.parse((await cli(["plan", ...args, ...marks], { flags: [] })).stdout);
  const render = JSON.parse((await cli(["render", ...args, ...marks])).stdout);
  const seeds = marked(
    `lowerdir=${lower},upperdir=${pod}/overlay/image/upper/web,workdir=${pod}/overlay/image/work/web`,
  );
  assertEquals([plan.mount.options, render.options], [seeds, seeds]);
  const shown = await kernelOptions(render.rootfs);
  assertEquals(shown.startsWith(`rw,${seeds.replace(",userxattr", "")}`), true, shown);
});

Deno.test("prepareOverlay() returns the options that renderOverlay() mounts with", async () => {
  await using dir = await tempDir();
  const request = {
    lower: await makeTree(dir.join("image")),
    pod: dir.join("pod"),
    app: "web",
    options: MARKS,
  };
  const prepared = await prepareOverlay(request);
  const rendered = await renderOverlay(request);
  assertEquals(prepared.options, rendered.options);
});
