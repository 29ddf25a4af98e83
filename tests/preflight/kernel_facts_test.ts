import { assertEquals } from "@std/assert";
import { collectFacts } from "../../lib/preflight/disk_facts.ts";
import { KernelProbe } from "../../lib/preflight/kernel_probe.ts";
import { collectMountingFacts } from "../../lib/preflight/kernel_facts.ts";
import type { MountingFacts } from "../../lib/preflight/kernel_facts.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { RenderRequest } from "../../mod.ts";
import { mountTmpfs, mountTooDeep } from "../_disks.ts";
import { counter } from "../_pods.ts";
import { sh, tempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

async function factsOf(
  request: RenderRequest,
  probe = new KernelProbe({}),
): Promise<MountingFacts> {
  const { mounts: [mount] } = planRender(request);
  return await collectMountingFacts(mount, await collectFacts(mount, {}), probe);
}

Deno.test("collectMountingFacts() says how many overlays a lower lies on", async () => {
  await using dir = await tempDir();
  const [image, deep] = [await makeTree(dir.join("image")), await mountTooDeep(dir.join("deep"))];
  const tmpfs = await mountTmpfs(dir.join("tmpfs"));
  await Deno.symlink("deep", dir.join("link"));
  const type = (await sh("findmnt", "-no", "FSTYPE", "-T", image)).trim();
  const lower = [image, `${deep}-below`, deep, dir.join("link"), tmpfs];
  const { lowers } = await factsOf({ lower, pod: dir.join("pod") });
  assertEquals(lowers, [
    { path: image, type, overlays: type === "overlay" ? 1 : 0 },
    { path: `${deep}-below`, type: "overlay", overlays: 1 },
    { path: deep, type: "overlay", overlays: 2 },
    { path: dir.join("link"), type: "overlay", overlays: 2 },
    { path: tmpfs, type: "tmpfs", overlays: 0 },
  ]);
});

Deno.test("collectMountingFacts() takes the mount on top, where several lie on one another", async () => {
  await using dir = await tempDir();
  const deep = await mountTooDeep(dir.join("deep"));
  await sh("mount", "-t", "tmpfs", "tmpfs", "--", deep);
  const { lowers } = await factsOf({ lower: deep, pod: dir.join("pod") });
  assertEquals(lowers, [{ path: deep, type: "tmpfs", overlays: 0 }]);
});

Deno.test("collectMountingFacts() says which mounts upper and work lie in, there or not", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const request = { lower, pod: dir.join("pods", "one"), tree: "t" };
  const pods = await mountTmpfs(dir.join("pods"));
  assertEquals((await factsOf(request)).points, { upper: pods, work: pods });
  const work = `${request.pod}/overlay/t/work`;
  await Deno.mkdir(work, { recursive: true });
  await sh("mount", "--bind", "--", work, work);
  assertEquals((await factsOf(request)).points, { upper: pods, work });
});

Deno.test("collectMountingFacts() of a view of one lower asks nothing about overlays", async () => {
  await using dir = await tempDir();
  const { trace, lines } = counter();
  const probe = new KernelProbe({ trace: (argv) => trace(`run ${argv.join(" ")}`) });
  const deep = await mountTooDeep(dir.join("deep"));
  const request = { lower: deep, pod: dir.join("pod"), readOnly: true, options: ["nodev"] };
  const { lowers, points, unknown } = await factsOf(request, probe);
  assertEquals([lowers, points, unknown], [[], null, []]);
  assertEquals(lines.some((line) => line.includes("nodev")), false);
});

Deno.test("collectMountingFacts() asks for many apps as much as for one", async () => {
  await using dir = await tempDir();
  const { trace, lines } = counter();
  const probe = new KernelProbe({ trace: (argv) => trace(`run ${argv.join(" ")}`) });
  const lower = await makeTree(dir.join("image"));
  for (const app of ["a", "b", "c"]) {
    await factsOf({ lower, pod: dir.join("pod"), app, options: ["volatile"] }, probe);
  }
  // The mount table, the version, whether there may be an overlay, and the option.
  assertEquals(lines.length, 4);
});
