import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  InvalidValueError,
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { cli } from "../_cli.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import { isMissing, kernelOptions, makeTree, MARKS, mountsOn, namesIn } from "../_tree.ts";

/** That nothing can be made, changed or removed there. */
async function assertReadOnly(rootfs: string): Promise<void> {
  const attempts = [
    () => Deno.writeTextFile(`${rootfs}/made`, ""),
    () => Deno.writeTextFile(`${rootfs}/file`, "changed"),
    () => Deno.remove(`${rootfs}/file`),
    () => Deno.chmod(rootfs, 0o777),
  ];
  for (const attempt of attempts) {
    const error = await assertRejects(attempt, Error);
    assertMatch(error.message, /Read-only file system/);
  }
}

for (const app of ["web", ""]) {
  const what = app === "" ? "the pod's own image" : "an app";
  Deno.test(`renderOverlay() of a read-only view of one lower: ${what}`, async () => {
    await using dir = await tempDir();
    const lower = await makeTree(dir.join("image"));
    const pod = dir.join("pod");
    await Deno.chmod(lower, 0o1777);
    const before = await snapshot(lower);
    const view = await renderOverlay({ lower, pod, app, readOnly: true });
    const { upper, work, options, mounted, changed, rootfs } = view;
    assertEquals([upper, work, options], [null, null, "bind,ro"]);
    assertEquals([mounted, changed], [true, true]);
    assertEquals(await isMissing(`${pod}/overlay`), true);
    assertEquals((await snapshot(rootfs)).replaceAll(rootfs, lower), before);
    await assertReadOnly(rootfs);
    assertEquals(await snapshot(lower), before);
    const [status] = await overlayStatus(pod);
    assertEquals([status?.lower, status?.upper, status?.mounted], [[lower], null, true]);

    const second = await renderOverlay({ lower, pod, app, readOnly: true });
    assertEquals([second.changed, await mountsOn(rootfs)], [false, 1]);
    const { unmounted } = await unmountOverlay({ pod });
    assertEquals(unmounted, [{ app, rootfs }]);
    assertEquals([await namesIn(rootfs), modeOf(rootfs)], [[], "1777"]);
    assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [false]);
  });
}

Deno.test("renderOverlay() of a read-only view shows several lowers, the first on top", async () => {
  await using dir = await tempDir();
  const pod = dir.join("pod");
  const lower = ["top", "middle", "bottom"].map((name) => dir.join(name));
  const [top = "", middle = "", bottom = ""] = lower;
  for (const [i, path] of lower.entries()) {
    await Deno.mkdir(path);
    for (const name of ["all", ...["a", "b", "c"].slice(i)]) {
      await Deno.writeTextFile(`${path}/${name}`, path);
    }
    await Deno.writeTextFile(`${path}/file`, "");
  }
  await Deno.chmod(top, 0o1777);
  const before = await snapshot(dir.path);
  const view = await renderOverlay({ lower, pod, app: "web", readOnly: true, options: MARKS });
  const paths = await Promise.all(["all", "a", "b", "c"].map((name) => {
    return Deno.readTextFile(`${view.rootfs}/${name}`);
  }));
  assertEquals(paths, [top, top, top, top]);
  assertEquals([view.upper, view.work], [null, null]);
  assertEquals(view.options, ["ro", `lowerdir=${top}:${middle}:${bottom}`, ...MARKS].join(","));
  assertEquals(modeOf(view.rootfs), "1777");
  assertEquals(await isMissing(`${pod}/overlay`), true);
  await assertReadOnly(view.rootfs);
  const again = await renderOverlay({ lower, pod, app: "web", readOnly: true, options: MARKS });
  assertEquals([again.changed, await mountsOn(view.rootfs)], [false, 1]);

  const turned = { lower: [bottom, middle, top], pod, app: "db", readOnly: true, options: MARKS };
  const { rootfs } = await renderOverlay(turned);
  assertEquals(await Deno.readTextFile(`${rootfs}/all`), bottom);
  assertEquals(await Deno.readTextFile(`${rootfs}/c`), bottom);
  assertEquals(await Deno.readTextFile(`${rootfs}/b`), middle);
  assertEquals(await Deno.readTextFile(`${rootfs}/a`), top);
  assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [true, true]);
  await unmountOverlay({ pod });
  assertEquals(await mountsBelow(dir.path), []);
  await Deno.remove(pod, { recursive: true });
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("renderOverlay() hides what an upper lower deleted or replaced", async () => {
  await using dir = await tempDir();
  const bottom = await makeTree(dir.join("bottom"));
  // What an app wrote is a lower too: it deleted a file, and made a directory anew.
  const pod = dir.join("first");
  const layer = await renderOverlay({ lower: bottom, pod, app: "web", options: MARKS });
  await Deno.remove(`${layer.rootfs}/gone`);
  await Deno.remove(`${layer.rootfs}/etc`, { recursive: true });
  await Deno.mkdir(`${layer.rootfs}/etc`);
  await Deno.writeTextFile(`${layer.rootfs}/etc/own`, "only this");
  await unmountOverlay({ pod });

  const lower = [`${layer.upper}`, bottom];
  for (const readOnly of [true, false]) {
    const pod = dir.join(readOnly ? "view" : "writable");
    const { rootfs } = await renderOverlay({ lower, pod, app: "web", readOnly, options: MARKS });
    assertEquals(await namesIn(rootfs), ["etc", "file", "link"]);
    assertEquals(await namesIn(`${rootfs}/etc`), ["own"]);
  }
});

Deno.test("renderOverlay() writes above several lowers, and the first decides about the root", async () => {
  await using dir = await tempDir();
  const [top, bottom] = [await makeTree(dir.join("top")), await makeTree(dir.join("bottom"))];
  await Deno.writeTextFile(`${top}/file`, "from the top");
  await Deno.writeTextFile(`${bottom}/below`, "from the bottom");
  await Deno.chmod(top, 0o751);
  await Deno.chmod(bottom, 0o700);
  const before = await snapshot(dir.path);
  const pod = dir.join("pod");
  const request = { lower: [top, bottom], pod, app: "web", options: MARKS };
  const { rootfs, upper, tree } = await renderOverlay(request);
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the top");
  assertEquals(await Deno.readTextFile(`${rootfs}/below`), "from the bottom");
  assertEquals([modeOf(rootfs), tree], ["0751", "top"]);
  await Deno.writeTextFile(`${rootfs}/below`, "changed");
  assertEquals(await Deno.readTextFile(`${upper}/below`), "changed");
  await unmountOverlay({ pod });
  await Deno.remove(pod, { recursive: true });
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("renderOverlay() mounts views with nodev, nosuid and noexec", async () => {
  await using dir = await tempDir();
  const [a, b] = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
  const options = ["nodev", "nosuid", "noexec"];
  for (const [app, lower, more] of [["bind", [a], []], ["overlay", [a, b], MARKS]] as const) {
    const request = { lower, pod: dir.join("pod"), app, readOnly: true };
    const { rootfs } = await renderOverlay({ ...request, options: [...options, ...more] });
    const shown = await sh("findmnt", "-n", "-o", "VFS-OPTIONS", "--mountpoint", rootfs);
    for (const option of ["ro", ...options]) {
      assertEquals([app, option, shown.trim().split(",").includes(option)], [app, option, true]);
    }
  }
});

Deno.test("renderOverlay() hands overlayfs's options to a view of several lowers", async () => {
  await using dir = await tempDir();
  const lower = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
  const options = ["xino=off", ...MARKS];
  const { rootfs } = await renderOverlay({ lower, pod: dir.join("pod"), readOnly: true, options });
  assertMatch(await kernelOptions(rootfs), /^ro,lowerdir=/);
  const error = await assertRejects(
    () => renderOverlay({ lower, pod: dir.join("other"), readOnly: true, options: ["volatile"] }),
    InvalidValueError,
  );
  assertEquals(error.exitStatus, 2);
});

Deno.test("renderOverlay() refuses overlayfs's options for a view of one lower", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  for (const option of ["volatile", "index=on", "metacopy=on", "userxattr", "xino=off"]) {
    await assertRejects(
      () => renderOverlay({ lower, pod, readOnly: true, options: [option] }),
      InvalidValueError,
      option,
    );
  }
  assertEquals(await isMissing(pod), true);
});

Deno.test("renderOverlay() does not turn an app into a view, nor a view into an app", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  await renderOverlay({ lower, pod, app: "view", readOnly: true });
  await renderOverlay({ lower, pod, app: "web", options: MARKS });
  for (const mounted of [true, false]) {
    if (!mounted) await unmountOverlay({ pod });
    const before = [await snapshot(pod), await mountsBelow(pod)];
    const requests = [
      { lower, pod, app: "view", options: MARKS },
      { lower, pod, app: "web", readOnly: true },
    ];
    for (const request of requests) {
      const error = await assertRejects(() => renderOverlay(request), RefusedError);
      assertEquals(error.code, "different");
    }
    assertEquals([await snapshot(pod), await mountsBelow(pod)], before);
  }
});

Deno.test("overlay-render render --read-only prints a view", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const args = ["--lower", lower, "--pod", pod, "--app", "web", "--read-only"];
  const prepared = await cli(["prepare", ...args]);
  const rootfs = `${pod}/apps/web/rootfs`;
  assertEquals(prepared.stdout.split("\n"), [
    `rootfs   ${rootfs}`,
    `lower    ${lower}`,
    "upper    none",
    "work     none",
    "options  bind,ro",
    "",
  ]);
  const rendered = await cli(["render", ...args]);
  assertEquals([rendered.status, rendered.stdout, rendered.stderr], [0, `${rootfs}\n`, ""]);
  await assertReadOnly(rootfs);
});

Deno.test("prepareOverlay() of a view makes mount --fstab work", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join('a b,ro"#\t'));
  const pod = dir.join("pod");
  const { rootfs } = await prepareOverlay({ lower, pod, app: "web", readOnly: true });
  await sh("mount", "--fstab", `${pod}/overlay.fstab`, "--", rootfs);
  await assertReadOnly(rootfs);
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
  assertEquals((await overlayStatus(pod)).map(({ mounted }) => mounted), [true]);
});
