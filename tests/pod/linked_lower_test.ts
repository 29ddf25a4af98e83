import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  overlayStatus,
  planRender,
  PodError,
  RefusedError,
  renderOverlay,
  renderPod,
  requiredPermissions,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { importTree } from "../../lib/store/tree.ts";
import { permissionFlags } from "../../lib/system/permissions.ts";
import { resolveRequest } from "../../lib/api/resolve_request.ts";
import { cli } from "../_cli.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS, namesIn } from "../_tree.ts";

/** Two trees, and where a link to one of them is made. */
async function setUp(dir: TempDir, link: string): Promise<(name: "v1" | "v2") => Promise<void>> {
  for (const name of ["v1", "v2"]) {
    await makeTree(dir.join("images", name, "rootfs"));
    await Deno.writeTextFile(dir.join("images", name, "rootfs", "version"), name);
  }
  const path = dir.join(link);
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  return async (name) => {
    const to = dir.join("images", name, link.endsWith("rootfs") ? "rootfs" : "");
    await sh("ln", "--symbolic", "--force", "--no-dereference", to.replace(/\/$/, ""), path);
  };
}

/** The ways in which a render may come to another tree by the same name. */
const WAYS: readonly [
  what: string,
  link: string,
  more: (dir: TempDir) => Partial<RenderRequest>,
][] = [
  ["a lower that is a link", "current/rootfs", (dir) => ({ lower: dir.join("current/rootfs") })],
  ["a lower below a link", "current", (dir) => ({ lower: dir.join("current/rootfs") })],
  ["the second of two lowers", "current", (dir) => ({
    lower: [dir.join("top"), dir.join("current/rootfs")],
  })],
  ["a view of one lower", "current", (dir) => ({
    lower: dir.join("current/rootfs"),
    readOnly: true,
  })],
  ["a copy", "current", (dir) => ({ lower: dir.join("current/rootfs"), overlay: "never" })],
  ["a tree of a store", "store/tree/base", (dir) => ({ tree: "base", store: dir.join("store") })],
  ["a tree of a store that is a link", "tree/base", (dir) => ({
    tree: "base",
    store: dir.join("link"),
  })],
];

for (const [what, link, more] of WAYS) {
  Deno.test(`an app keeps the tree that it has, when a link leads to another one: ${what}`, async () => {
    await using dir = await tempDir();
    const lead = await setUp(dir, link);
    await Deno.mkdir(dir.join("top"));
    await Deno.symlink(dir.path, dir.join("link"));
    await lead("v1");
    const options = what.startsWith("a view") || what === "a copy" ? [] : MARKS;
    const request = { pod: dir.join("pod"), app: "web", options, ...more(dir) };
    const { rootfs, lower, tree } = await renderOverlay(request);
    assertEquals(lower.at(-1), dir.join("images/v1/rootfs"));
    assertEquals((await overlayStatus(request.pod))[0]?.lower, lower);
    for (const mounted of [true, false]) {
      if (!mounted) await unmountOverlay({ pod: request.pod });
      await lead("v2");
      const before = await snapshot(dir.join("pod/overlay.fstab"));
      const error = await assertRejects(() => renderOverlay(request), RefusedError);
      assertEquals([error.code, error.exitStatus], ["different", 3]);
      assertStringIncludes(error.message, `${dir.join("images/v2/rootfs")}": it has lower "`);
      assertMatch(error.hint ?? "", /another --app/);
      assertEquals(await snapshot(dir.join("pod/overlay.fstab")), before);
      await lead("v1");
      const again = await renderOverlay(request);
      assertEquals([again.changed, again.tree], [!mounted && what !== "a copy", tree]);
      assertEquals(await Deno.readTextFile(`${rootfs}/version`), "v1");
    }
    await unmountOverlay({ pod: request.pod });
  });
}

Deno.test("restore mounts the tree that an app had, wherever the link leads by now", async () => {
  await using dir = await tempDir();
  const lead = await setUp(dir, "current");
  await lead("v1");
  const lower = dir.join("current/rootfs");
  const pod = dir.join("pod");
  const { rootfs } = await renderOverlay({ lower, pod, app: "web", options: MARKS });
  await sh("umount", rootfs);
  await lead("v2");
  assertEquals((await restoreOverlays({ pod })).restored.length, 1);
  assertEquals(await Deno.readTextFile(`${rootfs}/version`), "v1");
});

Deno.test("each app of a spec keeps the tree that it has, and the one that differs is named", async () => {
  await using dir = await tempDir();
  const lead = await setUp(dir, "current");
  await lead("v1");
  const [fixed, linked] = [dir.join("images/v1/rootfs"), dir.join("current/rootfs")];
  const apps = [
    { app: "a", lower: fixed, tree: "a", options: MARKS },
    { app: "b", lower: linked, tree: "b", options: MARKS },
  ];
  const request = { pod: dir.join("pod"), apps };
  const { renders } = await renderPod(request);
  assertEquals(renders.map(({ lower }) => lower), [[fixed], [fixed]]);
  await unmountOverlay({ pod: request.pod });
  await lead("v2");
  const error = await assertRejects(() => renderPod(request), PodError, 'app "b"');
  assertEquals(error.failures.map(({ app, code }) => [app, code]), [["b", "different"]]);
});

Deno.test("a tree that was imported is the same one behind whatever link the store is", async () => {
  await using dir = await tempDir();
  const [source, store] = [await smallImage(dir), dir.join("link")];
  await importTree({ source, store: dir.join("store"), ...ATTRIBUTES });
  await Deno.symlink("store", store);
  const request = { image: "test", store, pod: dir.join("pod"), app: "web", options: MARKS };
  const { rootfs } = await renderOverlay(request);
  await Deno.writeTextFile(`${rootfs}/made`, "here");
  await unmountOverlay({ pod: request.pod });
  await Deno.rename(dir.join("store"), dir.join("moved"));
  await Deno.remove(store);
  await Deno.symlink("moved", store);
  await renderOverlay(request);
  assertEquals(await Deno.readTextFile(`${rootfs}/made`), "here");
});

for (const readOnly of [false, true]) {
  Deno.test(`a linked lower takes the permissions that plan prints${readOnly ? ", as a view" : ""}`, async () => {
    await using dir = await tempDir();
    const lead = await setUp(dir, "current");
    await lead("v1");
    const pod = dir.join("pod");
    const request = { lower: dir.join("current"), pod, app: "web", options: [], readOnly };
    const real = dir.join("images/v1");
    const plan = planRender(await resolveRequest(request));
    const needed = requiredPermissions(plan);
    assertEquals(needed.read, [request.lower, ...readOnly ? [real] : [], pod]);
    const flags = permissionFlags(needed);
    const args = ["--lower", request.lower, "--pod", pod, "--app", "web"];
    const marks = readOnly ? ["--read-only"] : MARKS.map((mark) => `--option=${mark}`);
    for (const changed of [true, false, true]) {
      const { status, stderr, stdout } = await cli(["render", ...args, ...marks, "--json"], {
        flags,
      });
      assertEquals([status, stderr], [0, ""]);
      const render = JSON.parse(stdout);
      assertEquals([render.changed, render.lower], [changed, [real]]);
      if (!changed) await unmountOverlay({ pod });
    }
  });
}

Deno.test("a lower that leads to a name that is not UTF-8 is refused: it could not be recorded", async () => {
  await using dir = await tempDir();
  await sh("sh", "-c", 'cd "$1" && mkdir "$(printf "t\\344")" && ln -s t* link', "sh", dir.path);
  const before = await snapshot(dir.path);
  const args = ["--lower", dir.join("link"), "--pod", dir.join("pod")];
  const { status, stderr, stdout } = await cli(["render", ...args]);
  assertEquals([status, stdout], [2, ""]);
  assertStringIncludes(
    stderr,
    `Cannot use lower "${dir.join("link")}": it leads to a path that is not`,
  );
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("gc does not take a pod with the tree in it, by whatever links the two are named", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("pods/one"), { recursive: true });
  await makeTree(dir.join("pods/one/image"));
  await Deno.symlink("pods", dir.join("link"));
  const pod = dir.join("link/one");
  await renderOverlay({ lower: dir.join("pods/one/image"), pod, app: "web", options: MARKS });
  await unmountOverlay({ pod });
  await assertRejects(() => collectPods({ pod }), RefusedError, "lies in it");
  assertEquals((await namesIn(dir.join("pods/one"))).includes("image"), true);
});

for (const more of [{}, { readOnly: true }, { lower: ["top", "image"] }] as const) {
  const what = JSON.stringify(more);
  Deno.test(`a lower that is replaced by another directory is seen: ${what}`, async () => {
    await using dir = await tempDir();
    const [image, other, pod] = [dir.join("image"), dir.join("other"), dir.join("pod")];
    for (const name of ["image", "other", "top"]) {
      await makeTree(dir.join(name));
      await Deno.writeTextFile(dir.join(name, "version"), name);
    }
    await Deno.remove(dir.join("top/version"));
    const { lower = ["image"], ...kind } = { lower: undefined, ...more };
    const named = lower.map((name) => dir.join(name));
    const options = "readOnly" in more && lower.length === 1 ? [] : MARKS;
    const warnings: string[] = [];
    const render = (app = "web") => {
      const request = { lower: named, pod, app, options, ...kind };
      return renderOverlay(request, { warn: (text) => warnings.push(text) });
    };
    const { rootfs } = await render();
    assertEquals((await render()).changed, false);
    await Deno.rename(image, dir.join("old"));
    await Deno.rename(other, image);
    const before = await snapshot(dir.join("pod/overlay.fstab"));
    const error = await assertRejects(() => render(), RefusedError);
    assertEquals([error.code, error.exitStatus], ["different", 3]);
    assertStringIncludes(error.message, `lower "${image}" was replaced by another directory`);
    const [status] = await overlayStatus(pod);
    assertEquals([status?.mounted, status?.drift], [true, "replaced"]);
    assertEquals(await snapshot(dir.join("pod/overlay.fstab")), before);
    // Another app of the pod is not concerned.
    await render("db");
    await unmountOverlay({ pod });
    assertEquals(warnings, []);
    await render();
    assertEquals(warnings, [
      `lower "${image}" of app "web" was replaced by another directory since it was mounted last`,
    ]);
    assertEquals(await Deno.readTextFile(`${rootfs}/version`), "other");
    assertEquals((await render()).changed, false);
    // What is put back is the same directory again; a restore does not ask for it.
    await unmountOverlay({ pod });
    await render();
    assertEquals(warnings.length, 1);
    await unmountOverlay({ pod });
  });
}

/** The file systems of a lower: one that knows when a directory was made, and one that does not. */
for (const type of ["disk", "ramfs"]) {
  Deno.test(`a lower whose content changes in place is the same directory: ${type}`, async () => {
    await using dir = await tempDir();
    await Deno.mkdir(dir.join("images"));
    if (type === "ramfs") await sh("mount", "-t", type, type, dir.join("images"));
    const lower = await makeTree(dir.join("images/debian"));
    const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
    await renderOverlay(request);
    const { birthtime } = await Deno.stat(lower);
    assertEquals(birthtime === null, type === "ramfs");
    await Deno.writeTextFile(`${lower}/new`, "");
    await Deno.chmod(lower, 0o700);
    await Deno.utime(lower, 1, 1);
    assertEquals((await renderOverlay(request)).changed, false);
    await unmountOverlay({ pod: request.pod });
    if (type === "ramfs") await sh("umount", dir.join("images"));
  });
}
