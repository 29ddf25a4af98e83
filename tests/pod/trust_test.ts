import { assert, assertEquals } from "@std/assert";
import {
  collectPods,
  OverlayError,
  prepareOverlay,
  renderOverlay,
  restoreOverlays,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { assertFails, disk, flagsOf, plannedFlags } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { replacing, STRANGER, swapping } from "../_swapper.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** A race that could be won is lost by chance in few of so many rounds. */
const ROUNDS = 200;

const root = { ignore: !isRealRoot };
const needsRoot = "[skipped: needs root]";

async function failureOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return "";
  } catch (error) {
    if (error instanceof OverlayError) return error.code;
    throw error;
  }
}

/** A pod of another user in a directory like /tmp; its line mounts a directory of his over one of root. */
async function strangersPod(dir: TempDir): Promise<{ pods: string; pod: string; etc: string }> {
  await Deno.chmod(dir.path, 0o755);
  const [pods, etc] = [dir.join("pods"), dir.join("etc")];
  const pod = `${pods}/evil`;
  for (const path of [pods, etc, pod, `${pod}/low`]) await Deno.mkdir(path);
  for (const path of ["upper", "work"]) {
    await Deno.mkdir(`${pod}/overlay/t/${path}`, { recursive: true });
  }
  const paths = `lowerdir=${pod}/low,upperdir=${pod}/overlay/t/upper,workdir=${pod}/overlay/t/work`;
  const line =
    `overlay ${etc} overlay ${paths},X-overlay-render.app=,X-overlay-render.tree=t 0 0\n`;
  await Deno.writeTextFile(`${pod}/overlay.fstab`, line);
  await Deno.writeTextFile(`${pod}/overlay.lock`, "");
  await sh("chown", "-R", `${STRANGER}:${STRANGER}`, pod);
  await Deno.chmod(pods, 0o1777);
  return { pods, pod, etc };
}

Deno.test({
  name:
    `restoreOverlays() mounts nothing of another user's pod, whatever he renames in it ${needsRoot}`,
  ...root,
  fn: async () => {
    await using dir = await tempDir();
    const { pods, pod, etc } = await strangersPod(dir);
    await using _racer = replacing(pod, "overlay.probe");
    for (let round = 0; round < 10 * ROUNDS; round++) {
      const { restored, failed } = await restoreOverlays({ pods });
      assertEquals([restored, failed.map(({ code }) => code)], [[], ["shared-pod"]]);
    }
    assertEquals(await mountsBelow(etc), []);
  },
});

Deno.test({
  name: `restoreOverlays() makes no file in a pod that it does not trust ${needsRoot}`,
  ...root,
  fn: async () => {
    await using dir = await tempDir();
    const { pods, pod } = await strangersPod(dir);
    await using watch = watching(pod);
    await restoreOverlays({ pods });
    await Deno.writeTextFile(`${pod}/last`, "");
    assertEquals(await watch.firstCreated(), `${pod}/last`);
  },
});

/** Sees what is made in a directory. */
function watching(directory: string): AsyncDisposable & { firstCreated(): Promise<string> } {
  const watcher = Deno.watchFs(directory, { recursive: false });
  return {
    async firstCreated(): Promise<string> {
      for await (const { kind, paths } of watcher) if (kind === "create") return paths[0] ?? "";
      return "";
    },
    [Symbol.asyncDispose]: () => Promise.resolve(watcher.close()),
  };
}

Deno.test({
  name:
    `collectPods() removes nothing elsewhere, where a group can swap what is above ${needsRoot}`,
  ...root,
  fn: async () => {
    await using dir = await tempDir();
    await Deno.chmod(dir.path, 0o755);
    const lower = await makeTree(dir.join("image"));
    const [pods, victim] = [dir.join("pods"), dir.join("victim")];
    await Deno.mkdir(pods);
    await Deno.mkdir(victim);
    await Deno.writeTextFile(`${victim}/overlay.fstab`, "");
    for (let at = 0; at < 50; at++) await Deno.writeTextFile(`${victim}/file${at}`, "root's");
    await prepareOverlay({ lower, pod: `${pods}/one`, app: "web", options: MARKS });
    await collectPods({ pod: `${pods}/one`, phase: "mark" });
    await Deno.mkdir(`${pods}/other`);
    await Deno.symlink(victim, `${pods}/other/one`);
    await sh("chown", `${STRANGER}:${STRANGER}`, `${pods}/other`);
    await Deno.chown(pods, 0, STRANGER);
    await Deno.chmod(pods, 0o2775);
    const before = await disk(victim);
    await using _racer = swapping(`${pods}/garbage`, `${pods}/other`);
    const codes = new Set<string>();
    for (let round = 0; round < ROUNDS; round++) {
      codes.add(await failureOf(() => collectPods({ pod: `${pods}/one`, phase: "sweep" })));
    }
    assertEquals([...codes], ["shared-pod"]);
    assertEquals(await disk(victim), before);
  },
});

Deno.test(`overlay-render with the planned flags alone sees that a group can swap what is above`, async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("above", "pods"), { recursive: true });
  const request = { lower, pod: dir.join("above", "pods", "pod"), app: "web", options: MARKS };
  const flags = await plannedFlags("render", request);
  await Deno.chmod(dir.join("above"), 0o775);
  const before = await disk(dir.path);
  const { status, stderr } = await cli(["render", ...flagsOf(request)], { flags });
  assertEquals(status, 3, stderr);
  assert(stderr.includes(`"${dir.join("above")}": its group can write to it (mode 0775)`), stderr);
  assertEquals(await disk(dir.path), before);
});

for (const how of ["with all of the disk to read", "with the planned flags alone"]) {
  Deno.test({
    name: `overlay-render ${how} sees another user's link between two of ours ${needsRoot}`,
    ...root,
    fn: async () => {
      await using dir = await tempDir();
      await Deno.chmod(dir.path, 0o1777);
      const lower = await makeTree(dir.join("image"));
      await Deno.mkdir(dir.join("pods"));
      await Deno.symlink("pods", dir.join("his"));
      await sh("chown", "--no-dereference", String(STRANGER), dir.join("his"));
      await Deno.symlink(dir.join("his"), dir.join("ours"));
      const request = { lower, pod: dir.join("ours", "pod"), app: "web", options: MARKS };
      const flags = how.endsWith("alone") ? { flags: await plannedFlags("render", request) } : {};
      const before = await disk(dir.path);
      const { status, stderr } = await cli(["render", ...flagsOf(request)], flags);
      assertEquals(status, 3, stderr);
      assert(stderr.includes(`"${dir.join("his")}": it belongs to user ${STRANGER}`), stderr);
      assertEquals(await disk(dir.path), before);
    },
  });
}

Deno.test("a tree store in a directory that a group can write to is neither changed nor rendered from", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("above"));
  const store = dir.join("above", "store");
  const imported = await cli(["tree", "import", lower, "--store", store, "--quiet"]);
  assertEquals(imported.status, 0, imported.stderr);
  await Deno.chmod(dir.join("above"), 0o770);
  const tree = imported.stdout.trim();
  const refused = { status: 3, code: "shared-pod", path: dir.join("above") };
  const collected = await cli(["tree", "gc", "--store", store]);
  assertEquals([collected.status, collected.stdout], [3, ""], collected.stderr);
  const args = ["render", "--store", store, "--tree", tree, "--pod", dir.join("pod")];
  await assertFails(dir.path, args, refused);
});

for (
  const [what, step, place] of [
    ["what is missing above a pod", "trust", { pod: "his/pod" }],
    ["what is missing above a destination", "trust", { pod: "pod", dest: "his/dest" }],
    ["a destination", "lock", { pod: "pod", dest: "his" }],
  ] as const
) {
  Deno.test({
    name: `renderOverlay() refuses ${what} that another user makes meanwhile ${needsRoot}`,
    ...root,
    fn: async () => {
      await using dir = await tempDir();
      await Deno.chmod(dir.path, 0o1777);
      const lower = await makeTree(dir.join("image"));
      const his = dir.join("his");
      const checkpoint = (at: string) => {
        if (at !== step) return;
        Deno.mkdirSync(his);
        Deno.chownSync(his, STRANGER, STRANGER);
      };
      const paths = Object.entries(place).map(([name, path]) => [name, dir.join(path)]);
      const request = { lower, app: "web", options: MARKS, ...Object.fromEntries(paths) };
      const code = await failureOf(() => renderOverlay(request, { checkpoint }));
      assertEquals([code, await mountsBelow(dir.path)], ["shared-pod", []]);
      assertEquals(await Array.fromAsync(Deno.readDir(his)), []);
    },
  });
}

for (
  const [what, change] of [
    ["belongs to another user", (path: string) => Deno.chown(path, STRANGER, STRANGER)],
    ["a group can write to", (path: string) => Deno.chmod(path, 0o664)],
  ] as const
) {
  Deno.test({
    name: `no command believes a record that ${what} ${needsRoot}`,
    ...root,
    fn: async () => {
      await using dir = await tempDir();
      const lower = await makeTree(dir.join("image"));
      const pod = dir.join("pod");
      const request = { lower, pod, app: "web", options: MARKS };
      const { rootfs } = await renderOverlay(request);
      await sh("umount", rootfs);
      await change(`${pod}/overlay.fstab`);
      const refused = { status: 3, code: "shared-pod", path: `${pod}/overlay.fstab` };
      for (const command of ["restore", "unmount", "gc"]) {
        await assertFails(dir.path, [command, "--pod", pod], refused);
      }
      await assertFails(dir.path, ["render", ...flagsOf(request)], refused);
    },
  });
}
