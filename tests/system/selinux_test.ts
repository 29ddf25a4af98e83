import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  InvalidValueError,
  OverlayError,
  overlayStatus,
  planRender,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  renderPod,
  restoreOverlays,
  setLabel,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { applyPlan } from "../../lib/apply/apply.ts";
import { selinuxEnabled } from "../../lib/system/selinux.ts";
import { podLayout } from "../../lib/request/layout.ts";
import type { Mount } from "../../lib/system/mount_table.ts";
import { PodMounts } from "../../lib/pod/mounts.ts";
import type { MountState } from "../../lib/plan/snapshot.ts";
import { cli } from "../_cli.ts";
import { disk, flagsOf, runMain } from "../_main.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { kernelOptions, makeTree, MARKS, namesIn } from "../_tree.ts";

const LABEL = "system_u:object_r:container_file_t:s0:c1,c2";

const enabled = await selinuxEnabled({});

/** Where SELinux is enabled, a test that is about a machine without it means nothing. */
const without = { suffix: " [skipped: SELinux is enabled]", ignore: enabled };

/** The label as the file system stores it; `?` when it has none. */
async function labelOf(path: string): Promise<string> {
  return (await sh("ls", "-Zd", "--", path)).split(" ")[0] ?? "";
}

/** Labels even where SELinux is not enabled: the attribute can be stored all the same. */
const labelling = { selinux: () => Promise.resolve(true) };

for (const command of ["render", "prepare"]) {
  Deno.test({
    name: `overlay-render ${command} leaves a label out without SELinux, and says so once` +
      without.suffix,
    ignore: without.ignore,
    fn: async () => {
      await using dir = await tempDir();
      const request = await makeRequest(dir, { label: LABEL });
      const args = [command, ...flagsOf(request)];
      const first = await cli(args);
      assertEquals(first.status, 0);
      assertEquals(first.stderr, `warning: label "${LABEL}" is left out: SELinux is not enabled\n`);
      const fstab = await Deno.readTextFile(`${request.pod}/overlay.fstab`);
      assertEquals(fstab.includes("context"), false);
      for (const name of ["upper", "work"]) {
        assertEquals(await labelOf(`${request.pod}/overlay/image/${name}/web`), "?");
      }
      const before = await disk(dir.path);
      const second = await runMain([...args, "--json"]);
      const { changed, options } = JSON.parse(second.stdout);
      assertEquals([second.status, changed], [0, false]);
      assertEquals(options.includes("context"), false);
      assertEquals(second.stderr, first.stderr);
      const quiet = await runMain([...args, "--quiet"]);
      assertEquals([quiet.status, quiet.stderr], [0, ""]);
      assertEquals(await disk(dir.path), before);
      assertEquals((await mountsBelow(dir.path)).length, command === "render" ? 1 : 0);
    },
  });
}

Deno.test({
  name: `renderOverlay() is the same with a label as without, without SELinux${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const { label: _, ...plain } = await makeRequest(dir, { label: LABEL });
    const first = await renderOverlay(plain);
    const warnings: string[] = [];
    const warn = (text: string) => void warnings.push(text);
    const second = await renderOverlay({ ...plain, label: LABEL }, { warn });
    assertEquals([second.changed, second.options], [false, first.options]);
    assertEquals(warnings.length, 1);
  },
});

Deno.test({
  name: `applyPlan() labels upper and work and records the context with SELinux${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir, { label: LABEL });
    const plan = planRender(request);
    const { apps: [web], changed, mounts } = await applyPlan(plan, labelling);
    assertEquals([changed, mounts], [true, true]);
    const { upper, work, rootfs } = plan.mounts[0];
    for (const path of [upper, work]) assertEquals(await labelOf(`${path}`), LABEL);
    for (const path of [`${upper}/..`, `${work}/..`, request.pod, `${request.lower}`]) {
      assertEquals(await labelOf(path), "?");
    }
    assertEquals(web?.line.options.endsWith(`,context="${LABEL}"`), true);
    const fstab = await Deno.readTextFile(`${request.pod}/overlay.fstab`);
    assertStringIncludes(fstab, `,context="${LABEL}",`);
    assertEquals((await mountsBelow(dir.path)).join(), rootfs);
    // The label's comma does not end an option: what follows it is where it was.
    assertStringIncludes(await kernelOptions(rootfs), `upperdir=${upper},workdir=${work}`);

    const before = await disk(dir.path);
    assertEquals((await applyPlan(plan, labelling)).changed, false);
    await unmountOverlay({ pod: request.pod });
    assertEquals(await mountsBelow(dir.path), []);
    assertEquals((await applyPlan(plan, labelling)).changed, true);
    assertEquals(await disk(dir.path), before);
  },
});

Deno.test("applyPlan() labels nothing of a view, which has neither upper nor work", async () => {
  await using dir = await tempDir();
  const lower = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
  const request = { ...await makeRequest(dir, { label: LABEL }), lower, readOnly: true };
  const plan = planRender(request, { mount: false });
  assertEquals(plan.operations.some(({ kind }) => kind === "label"), false);
  const { apps: [web] } = await applyPlan(plan, labelling);
  assertStringIncludes(`${web?.line.options}`, `context="${LABEL}"`);
});

Deno.test("applyPlan() leaves nothing where labels cannot be stored", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir, { label: LABEL });
  const overlay = `${request.pod}/overlay`;
  await Deno.mkdir(overlay, { recursive: true, mode: 0o750 });
  const before = await disk(dir.path);
  const plan = planRender(request);
  // Before the render it can be seen that such a file system is unfit, so it comes after the look.
  const trace = (text: string): void => {
    if (!text.startsWith(`directory ${overlay}  `)) return;
    const args = ["-t", "ramfs", "ramfs", "--", overlay];
    assertEquals(new Deno.Command("mount", { args }).outputSync().success, true);
  };
  const error = await assertRejects(
    () => applyPlan(plan, { ...labelling, trace }),
    OverlayError,
  );
  assertEquals([error.code, error.path], ["failed", plan.mounts[0].upper]);
  assertStringIncludes(error.message, "Operation not supported");
  assertStringIncludes(error.hint ?? "", "without --label");
  assertEquals(await namesIn(overlay), []);
  await sh("umount", "--", overlay);
  assertEquals(await disk(dir.path), before);
});

Deno.test({
  name: `setLabel() sets the label of a directory${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    for (const name of ["plain", "-R", "a b", "a,b\n\u001b[2J"]) {
      const path = dir.join(name);
      await Deno.mkdir(path);
      const told: (readonly string[])[] = [];
      await setLabel(path, LABEL, { trace: (argv) => void told.push(argv) });
      assertEquals(await labelOf(path), LABEL);
      assertEquals(told, [["/bin/chcon", "--no-dereference", "--", LABEL, path]]);
    }
    assertEquals(await labelOf(dir.path), "?");
    await setLabel(dir.join("plain"), "u:r:t");
    assertEquals(await labelOf(dir.join("plain")), "u:r:t");
  },
});

Deno.test("setLabel() rejects what is no context, and sets nothing", async () => {
  await using dir = await tempDir();
  const before = await labelOf(dir.path);
  for (const context of ["", "x", "u:r", "u:r:t:", "--version", "-u x", 'u:r:t:s0"', "u:r:t\n"]) {
    await assertRejects(() => setLabel(dir.path, context), InvalidValueError);
  }
  assertEquals(await labelOf(dir.path), before);
});

Deno.test("setLabel() refuses a symlink, and fails where there is nothing to label", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("canary"));
  await Deno.symlink(dir.join("canary"), dir.join("link"));
  const before = await labelOf(dir.join("canary"));
  const refused = await assertRejects(() => setLabel(dir.join("link"), LABEL), RefusedError);
  assertEquals([refused.code, refused.path], ["symlink", dir.join("link")]);
  assertEquals(await labelOf(dir.join("canary")), before);

  const missing = dir.join("none");
  const failed = await assertRejects(() => setLabel(missing, LABEL), OverlayError);
  assertEquals(failed.path, missing);
  // What to do about it is not to look for another file system.
  assertEquals(failed.hint?.includes("file system") ?? false, false);
});

Deno.test("setLabel() fails on a file system without labels", async () => {
  await using dir = await tempDir();
  await sh("mount", "-t", "ramfs", "ramfs", "--", dir.path);
  await Deno.mkdir(dir.join("directory"));
  const path = dir.join("directory");
  const error = await assertRejects(() => setLabel(path, LABEL), OverlayError);
  assertEquals([error.code, error.path], ["failed", path]);
  assertStringIncludes(error.message, 'chcon failed with exit status 1: "');
  assertStringIncludes(error.hint ?? "", "file system that stores labels");
});

Deno.test({
  name: "prepareOverlay() labels with SELinux [skipped: SELinux is not enabled]",
  ignore: !enabled,
  fn: async () => {
    await using dir = await tempDir();
    const { upper, work, options } = await prepareOverlay(await makeRequest(dir, { label: LABEL }));
    for (const path of [upper, work]) assertEquals(await labelOf(`${path}`), LABEL);
    assertStringIncludes(options, `context="${LABEL}"`);
  },
});

/** Renders apps as where SELinux is enabled, and unmounts them by hand, as a boot with selinux=0 does. */
async function mountedWithLabel(dir: TempDir, ...apps: readonly string[]): Promise<RenderRequest> {
  const request = await makeRequest(dir, { label: LABEL });
  for (const app of apps) await applyPlan(planRender({ ...request, app }), labelling);
  for (const mount of (await mountsBelow(request.pod)).reverse()) await sh("umount", "--", mount);
  return request;
}

const LEFT_OUT = `label "${LABEL}" is left out: SELinux is not enabled`;

Deno.test({
  name:
    `restoreOverlays() without SELinux says once that a recorded label is left out${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const { pod } = await mountedWithLabel(dir, "a", "b");
    await using pods = await tempDir();
    for (const name of ["one", "two"]) {
      const plan = planRender({
        lower: dir.join("image"),
        pod: pods.join(name),
        options: MARKS,
        label: LABEL,
      });
      const { apps: [app] } = await applyPlan(plan, labelling);
      await sh("umount", "--", `${app?.line.rootfs}`);
    }
    for (const request of [{ pod }, { pods: pods.path }]) {
      const warnings: string[] = [];
      const warn = (text: string) => void warnings.push(text);
      const { restored, failed } = await restoreOverlays(request, { warn });
      assertEquals([restored.length, failed], [2, []]);
      assertEquals(warnings, [LEFT_OUT]);
    }
    // Without a label they are what they can be here, and are unmounted as any other.
    const mounted = (await overlayStatus(pod)).map(({ mounted, drift }) => ({ mounted, drift }));
    assertEquals(mounted, Array(2).fill({ mounted: true, drift: undefined }));
    await unmountOverlay({ pod });
    assertEquals(await mountsBelow(pod), []);
  },
});

Deno.test({
  name:
    `renderOverlay() without SELinux takes what was restored without its label as it is${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const request = await mountedWithLabel(dir, "web");
    await restoreOverlays({ pod: request.pod });
    const warnings: string[] = [];
    const { mounted, options } = await renderOverlay(request, {
      warn: (text) => void warnings.push(text),
    });
    assertEquals([mounted, options.includes("context"), warnings], [true, false, [LEFT_OUT]]);
    // Who does not ask for the label is told that the app has one.
    await unmountOverlay({ pod: request.pod });
    await applyPlan(planRender(request), labelling);
    const { label: _, ...plain } = request;
    const error = await assertRejects(() => renderOverlay(plain), RefusedError);
    assertEquals(error.code, "different");
  },
});

Deno.test({
  name:
    `renderPod() says that the image which its apps lie in is mounted without its label${without.suffix}`,
  ignore: without.ignore,
  fn: async () => {
    await using dir = await tempDir();
    const { lower, pod } = await mountedWithLabel(dir, "");
    const app = { lower: `${lower}`, tree: "own", app: "web", options: MARKS };
    const warnings: string[] = [];
    await renderPod({ pod, apps: [{ ...app, dest: `${pod}/rootfs/opt/web` }] }, {
      warn: (text) => void warnings.push(text),
    });
    assertEquals((await mountsBelow(pod)).length, 2);
    assertEquals(warnings, [LEFT_OUT]);
  },
});

Deno.test("a mount with another label than its line is not the line's, unless there is no SELinux", async () => {
  await using dir = await tempDir();
  const pod = dir.join("pod");
  await Deno.mkdir(pod);
  const dirs = "lowerdir=/l,upperdir=/u,workdir=/w";
  const T = "system_u:object_r:container_file_t";
  const state = (
    asked: string | null,
    shown: string,
    selinux: Partial<Mount> | null,
  ): MountState => {
    const context = asked === null ? "" : `,context="${asked}"`;
    const line: AppLine = {
      ...{ app: "web", tree: "t", rootfs: `${pod}/rootfs`, source: "overlay", auto: true },
      options: dirs + context,
    };
    const table: Mount[] = [{
      ...{
        id: 1,
        parent: 0,
        target: line.rootfs,
        fstype: "overlay",
        options: `rw,${shown}${dirs}`,
        flags: [],
      },
    }];
    const fs = {
      id: 2,
      parent: 0,
      target: "/sys/fs/selinux",
      fstype: "selinuxfs",
      options: "rw",
      flags: [],
    };
    if (selinux !== null) table.push({ ...fs, ...selinux });
    return new PodMounts(podLayout(pod), table).stateOf(line);
  };
  const shown = `context="${T}:s0:c1,c2",`;
  const rows: readonly (readonly [MountState, string | null, string, Partial<Mount> | null])[] = [
    ["mounted", `${T}:s0:c1,c2`, shown, {}],
    ["mounted", `${T}:s0:c2,c1`, shown, {}],
    ["mounted", `${T}:s0`, `context=${T}:s0,`, {}],
    ["mounted", null, "seclabel,", {}],
    ["foreign", `${T}:s0:c1,c3`, shown, {}],
    ["foreign", null, shown, {}],
    ["foreign", `${T}:s0:c1,c2`, "seclabel,", {}],
    ["mounted", `${T}:s0:c1,c2`, "", null],
    ["mounted", `${T}:s0:c1,c2`, "seclabel,", { options: "ro", flags: ["ro"] }],
  ];
  for (const [expected, asked, text, selinux] of rows) {
    assertEquals(state(asked, text, selinux), expected, `${asked} and ${text}`);
  }
});

Deno.test("setLabel() does not say that a file system is without labels which is read-only", async () => {
  await using dir = await tempDir();
  await sh("mount", "--bind", "--", dir.path, dir.path);
  await sh("mount", "-o", "remount,bind,ro", "--", dir.path);
  const error = await assertRejects(() => setLabel(dir.path, LABEL), OverlayError);
  assertStringIncludes(error.message, "Read-only file system");
  assertEquals(error.hint, null);
});
