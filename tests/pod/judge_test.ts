/**
 * One judge of a line: what a render refuses to mount, a restore refuses with the same words, and so does
 * the render of an app that lies in it.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { RefusedError, renderOverlay, restoreOverlays } from "../../mod.ts";
import type { ErrorCode, RenderRequest } from "../../mod.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** A user who is neither root nor the tests' own. */
const OTHER = 65534;

/** What makes the mount of an app unsafe while it is not mounted. */
interface Case {
  readonly name: string;
  readonly code: ErrorCode;
  /** Set if it takes another user's id. @default {false} */
  readonly needsRoot?: boolean;
  readonly arrange: (dir: TempDir) => Promise<unknown>;
}

/** Gives the rootfs and its destination to another user, as who made them anew in a shared directory. */
async function giveAway(dir: TempDir): Promise<void> {
  for (const path of ["far/dest/rootfs", "far/dest"]) await Deno.chown(dir.join(path), OTHER, null);
}

async function moveBehindLink(dir: TempDir): Promise<void> {
  await Deno.rename(dir.join("far/dest"), dir.join("far/other"));
  await Deno.symlink(dir.join("far/other"), dir.join("far/dest"));
}

async function putLowerIntoUpper(dir: TempDir): Promise<void> {
  const inside = dir.join("pods/one/overlay/image/upper/web/tree");
  await Deno.rename(dir.join("image"), inside);
  await Deno.symlink(inside, dir.join("image"));
}

const CASES: readonly Case[] = [
  { name: "a destination of another user", code: "shared-pod", needsRoot: true, arrange: giveAway },
  {
    name: "a destination that its group can write to",
    code: "shared-pod",
    arrange: (dir) => Deno.chmod(dir.join("far/dest"), 0o770),
  },
  {
    name: "a destination in a directory that everybody can write to",
    code: "shared-pod",
    arrange: (dir) => Deno.chmod(dir.join("far"), 0o777),
  },
  {
    name: "a destination in a directory of another user",
    code: "shared-pod",
    needsRoot: true,
    arrange: (dir) => Deno.chown(dir.join("far"), OTHER, null),
  },
  { name: "a destination behind a link", code: "symlink", arrange: moveBehindLink },
  {
    name: "an image directory that others can write to",
    code: "shared-pod",
    arrange: (dir) => Deno.chmod(dir.join("pods/one/overlay/image"), 0o777),
  },
  {
    name: "a directory of uppers that its group can write to",
    code: "shared-pod",
    arrange: (dir) => Deno.chmod(dir.join("pods/one/overlay/image/upper"), 0o775),
  },
  {
    name: "a directory of works that another user owns",
    code: "shared-pod",
    needsRoot: true,
    arrange: (dir) => Deno.chown(dir.join("pods/one/overlay/image/work"), OTHER, null),
  },
  {
    name: "a lower that has come to lie in the upper",
    code: "crossing",
    arrange: putLowerIntoUpper,
  },
];

/** A place with an app whose destination lies outside the pod, as it is after a reboot. */
async function rebooted(dir: TempDir): Promise<RenderRequest> {
  // What the tests' own directory lies in is searched by others, as /tmp is.
  await Deno.chmod(dir.path, 0o755);
  await Deno.mkdir(dir.join("pods"));
  await Deno.mkdir(dir.join("far"));
  const lower = await makeTree(dir.join("image"));
  await Deno.mkdir(`${lower}/inner`);
  const dest = dir.join("far/dest");
  const request = { lower, pod: dir.join("pods/one"), app: "web", dest, options: MARKS };
  const { rootfs } = await renderOverlay(request);
  await sh("umount", "--", rootfs);
  return request;
}

for (const { name, code, needsRoot = false, arrange } of CASES) {
  const skipped = needsRoot && !isRealRoot;
  Deno.test({
    name: `a render and a restore refuse ${name} alike${skipped ? " [skipped: not root]" : ""}`,
    ignore: skipped,
    fn: async () => {
      await using dir = await tempDir();
      const request = await rebooted(dir);
      const { pod } = request;
      await arrange(dir);
      const before = await snapshot(dir.path);
      const error = await assertRejects(() => renderOverlay(request), RefusedError);
      assertEquals(error.code, code);
      const { message: reason, hint } = error;
      for (const asked of [{ pod }, { pods: dir.join("pods") }]) {
        const { restored, failed } = await restoreOverlays(asked);
        assertEquals(restored, []);
        assertEquals(failed, [{ pod, app: "web", code, reason, hint }]);
        assertEquals(await mountsBelow(dir.path), []);
      }
      assertEquals(await snapshot(dir.path), before);
    },
  });

  Deno.test({
    name: `a render of an app in it refuses ${name} too${skipped ? " [skipped: not root]" : ""}`,
    ignore: skipped,
    fn: async () => {
      await using dir = await tempDir();
      const request = await rebooted(dir);
      await arrange(dir);
      const before = await snapshot(dir.path);
      const lower = await makeTree(dir.join("second"));
      const dest = dir.join("far/dest/rootfs/inner");
      const inner = { ...request, lower, app: "inner", dest };
      const error = await assertRejects(() => renderOverlay(inner), RefusedError);
      assertEquals(error.code, code);
      assertEquals(await mountsBelow(dir.path), []);
      await Deno.remove(lower, { recursive: true });
      assertEquals(await snapshot(dir.path), before);
    },
  });
}

Deno.test("a restore hides no app that is mounted before it", async () => {
  await using dir = await tempDir();
  const { pod } = await rebooted(dir);
  const lower = await makeTree(dir.join("second"));
  const deep = dir.join("far/deep");
  await Deno.mkdir(deep);
  const request = { lower, pod, app: "deep", dest: `${deep}/rootfs/in`, options: MARKS };
  await Deno.mkdir(`${deep}/rootfs`);
  await renderOverlay(request);
  const fstab = await Deno.readTextFile(`${pod}/overlay.fstab`);
  await Deno.writeTextFile(
    `${pod}/overlay.fstab`,
    fstab.replace("/far/dest/rootfs", "/far/deep/rootfs"),
  );
  const { failed } = await restoreOverlays({ pod });
  assertEquals(failed.map(({ app, code }) => [app, code]), [["web", "in-use"]]);
  assertEquals(await mountsBelow(dir.path), [`${deep}/rootfs/in/rootfs`]);
});

Deno.test("an app is rendered in an image that is a copy, which is not mounted", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const image = await renderOverlay({ lower, pod, overlay: "never" });
  const dest = `${image.rootfs}/etc/app`;
  const request = { lower, pod, app: "web", tree: "app", dest, options: MARKS };
  // Nothing runs in it.
  const app = await renderOverlay({ ...request, live: true });
  assertEquals(await mountsBelow(dir.path), [app.rootfs]);
});
