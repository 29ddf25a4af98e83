import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { dirname } from "@std/path/posix/dirname";
import {
  InvalidValueError,
  overlayStatus,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { mountTooDeep } from "../_disks.ts";
import { assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, namesIn } from "../_tree.ts";

/** A place outside the pod that must stay as it is, with everything in it that a render would look for. */
async function makeCanary(dir: TempDir): Promise<string> {
  const canary = dir.join("canary");
  for (const name of ["upper/web", "work/web", "rootfs/opt/stage2/web/rootfs", "opt/stage2/web"]) {
    await Deno.mkdir(`${canary}/${name}`, { recursive: true });
  }
  for (const name of ["file", "manifest", "overlay.fstab", "upper/web/file"]) {
    await Deno.writeTextFile(`${canary}/${name}`, "not ours");
  }
  await Deno.chmod(canary, 0o2777);
  return canary;
}

async function setUp(dir: TempDir): Promise<RenderRequest> {
  const lower = await makeTree(dir.join("image"));
  const manifest = dir.join("manifest.json");
  await Deno.writeTextFile(manifest, "{}");
  return { lower, pod: dir.join("pod"), app: "web", manifest, options: MARKS };
}

/** Names that could leave their directory, end a line or hide what stands behind them. */
const NAMES = [
  ".",
  "..",
  "../canary",
  "a/b",
  "/etc",
  "a/",
  "a\nb",
  "a\0b",
  "a\tb",
  "\u001b[2J",
  "a\u007f",
  "x".repeat(256),
  "ä".repeat(128),
  "\ud800",
];

const BAD: readonly [string, readonly string[]][] = [
  ["app", NAMES],
  ["tree", ["", ...NAMES]],
  ["pod", ["", "/a\0b", "/\ud800", `/${"x/".repeat(2048)}y`]],
  ["dest", ["", "/a\0b", "/\ud800", `/${"x/".repeat(2048)}y`]],
  ["lower", ["", "/a\0b", "/\ud800"]],
  ["manifest", ["", "/a\0b"]],
  ["store", ["", "/a\0b"]],
  ["group", ["", "-1", "4294967295", "4294967296", "0x0", "1.5", "root,wheel", "a b", "../x"]],
  ["dir-mode", ["", "8", "0888", "1777", "02750", "rwx", "-1", "0o750", "75"]],
  ["label", ["", "x", "a:b", 'u:r:t:s0",upperdir=/x,y="', "u:r:t:s0\n", "u:r:t s:s0"]],
  ["profile", ["", "other", "constructor", "__proto__"]],
  ["option", [
    "",
    "ro",
    "remount",
    "bind",
    "loop",
    "upperdir=/etc",
    "lowerdir=/etc",
    "x-mount.mkdir",
    "context=u:r:t:s0",
    "volatile=1",
    "index",
    "index=maybe",
    "xino=on,lowerdir=/etc",
    "volatile,volatile",
    "constructor",
    "volatile\n",
  ]],
];

for (const [flag, values] of BAD) {
  Deno.test(`overlay-render refuses every --${flag} that is not allowed`, async () => {
    await using dir = await tempDir();
    await makeCanary(dir);
    // The store is only asked when no lower is given.
    const { lower, ...rest } = await setUp(dir);
    const request = flag === "store" ? { ...rest, tree: "t" } : { ...rest, lower };
    const others = flagsOf({ ...request, [flag]: undefined } as unknown as RenderRequest);
    for (const value of values) {
      const flags = [...others, `--${flag}=${value}`];
      const code = value === "" ? "usage" : "invalid-value";
      await assertFails(dir.path, ["render", ...flags], { status: 2, code });
      for (const command of ["plan", "prepare"]) {
        const { status, stdout } = await runMain([command, "--json", ...flags]);
        assertEquals([status, JSON.parse(stdout).error.code], [2, code]);
      }
    }
  });
}

Deno.test("overlay-render unmount and status refuse names that are not allowed", async () => {
  await using dir = await tempDir();
  const { pod } = await prepareOverlay(await setUp(dir));
  const bad = { status: 2, code: "invalid-value" };
  for (const name of NAMES) {
    await assertFails(dir.path, ["unmount", `--pod=${pod}`, `--app=${name}`], bad);
  }
  for (const path of ["/a\0b", "/\ud800"]) {
    await assertFails(dir.path, ["unmount", `--pod=${path}`], bad);
    await assertFails(dir.path, ["status", `--pod=${path}`], bad);
  }
});

/** What only a program can hand over: the command takes `..` away and makes paths absolute. */
const PATHS = ["", "relative", "./x", "../x", "/a/../b", "/..", "/a/..", "/a\0", "\0"];

Deno.test("renderOverlay() rejects paths that could lead elsewhere", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const before = await disk(dir.path);
  for (const key of ["pod", "lower", "dest", "manifest"]) {
    for (const path of PATHS) {
      for (const act of [renderOverlay, prepareOverlay]) {
        const error = await assertRejects(
          () => act({ ...request, [key]: path }),
          InvalidValueError,
        );
        assertEquals(error.code, "invalid-value", `${key} ${path}`);
      }
    }
  }
  for (const path of PATHS) {
    await assertRejects(() => unmountOverlay({ pod: path }), InvalidValueError);
    await assertRejects(() => overlayStatus(path), InvalidValueError);
  }
  assertEquals(await disk(dir.path), before);
});

const WEB = "apps/web";

/** Directories of a pod that could be swapped for a symlink. */
const DIRECTORIES = [
  "overlay",
  "overlay/image",
  "overlay/image/upper",
  "overlay/image/upper/web",
  "overlay/image/work",
  "overlay/image/work/web",
  "apps",
  WEB,
  `${WEB}/rootfs`,
];

/** Where a symlink could lead. */
const TARGETS = ["a canary", "where the directory was moved to", "nowhere", "itself"] as const;

async function plant(
  path: string,
  dir: TempDir,
  target: (typeof TARGETS)[number],
): Promise<void> {
  const canary = await makeCanary(dir);
  if (target === "where the directory was moved to") {
    await Deno.rename(path, dir.join("canary", "moved"));
    return await Deno.symlink(dir.join("canary", "moved"), path);
  }
  await Deno.remove(path, { recursive: true });
  const where = { "a canary": canary, nowhere: dir.join("nowhere"), itself: path };
  await Deno.symlink(where[target], path);
}

for (const target of TARGETS) {
  Deno.test(`overlay-render render refuses a directory that is a symlink to ${target}`, async () => {
    for (const name of DIRECTORIES) {
      await using dir = await tempDir();
      const request = await setUp(dir);
      await prepareOverlay(request);
      const path = `${request.pod}/${name}`;
      await plant(path, dir, target);
      for (const command of target === "a canary" ? ["render", "prepare"] : ["render"]) {
        await assertFails(dir.path, [command, ...flagsOf(request)], {
          status: 3,
          code: "symlink",
          path,
          cause: "it is a symlink",
        });
      }
    }
  });
}

Deno.test("overlay-render refuses a pod that is a symlink", async () => {
  for (const target of ["a canary", "where the directory was moved to", "nowhere"] as const) {
    await using dir = await tempDir();
    const request = await setUp(dir);
    await prepareOverlay(request);
    await plant(request.pod, dir, target);
    const refused = { status: 3, code: "symlink", path: request.pod };
    for (const command of ["render", "prepare"]) {
      await assertFails(dir.path, [command, ...flagsOf(request)], refused);
    }
    for (const command of ["unmount", "status"]) {
      await assertFails(dir.path, [command, `--pod=${request.pod}`], refused);
    }
  }
});

Deno.test("overlay-render refuses a destination that is a symlink, or whose rootfs is", async () => {
  for (const name of ["", "/rootfs"]) {
    for (const pod of ["missing", "used"]) {
      await using dir = await tempDir();
      const request = await setUp(dir);
      if (pod === "used") await prepareOverlay({ ...request, app: "db" });
      const canary = await makeCanary(dir);
      const dest = dir.join("dest");
      if (name !== "") await Deno.mkdir(dest);
      await Deno.symlink(canary, `${dest}${name}`);
      for (const command of ["render", "prepare"]) {
        await assertFails(dir.path, [command, ...flagsOf({ ...request, dest })], {
          status: 3,
          code: "symlink",
          path: `${dest}${name}`,
        });
      }
    }
  }
});

/** Puts something that is no file of ours in the place of one. */
const NO_FILES: readonly [string, (path: string, canary: string) => Promise<unknown>][] = [
  ["a symlink to a file", (path, canary) => Deno.symlink(`${canary}/overlay.fstab`, path)],
  ["a symlink to nowhere", (path, canary) => Deno.symlink(`${canary}/made`, path)],
  ["a directory", (path) => Deno.mkdir(`${path}/full`, { recursive: true })],
  ["a pipe that nobody writes to", (path) => sh("mkfifo", path)],
];

for (const [what, put] of NO_FILES) {
  Deno.test(`overlay-render refuses a file of the pod that is ${what}`, async () => {
    for (const name of ["overlay.fstab", "overlay.lock", `${WEB}/manifest`]) {
      await using dir = await tempDir();
      const request = await setUp(dir);
      await prepareOverlay(request);
      const path = `${request.pod}/${name}`;
      await Deno.remove(path);
      await put(path, await makeCanary(dir));
      const refused = { status: 3, code: "symlink", path };
      for (const command of ["render", "prepare"]) {
        await assertFails(dir.path, [command, ...flagsOf(request)], refused);
      }
      if (name.endsWith("manifest")) continue;
      await assertFails(dir.path, ["unmount", `--pod=${request.pod}`], refused);
      if (name.endsWith("lock")) continue;
      await assertFails(dir.path, ["status", `--pod=${request.pod}`], refused);
    }
  });
}

Deno.test("renderOverlay() never writes through a symlink where a file will be written", async () => {
  for (const target of ["overlay.fstab", "made"]) {
    await using dir = await tempDir();
    const request = await setUp(dir);
    await prepareOverlay({ ...request, app: "db" });
    const canary = await makeCanary(dir);
    const before = await snapshot(canary);
    // The temporary names of the two files that are replaced as a whole.
    await Deno.mkdir(`${request.pod}/${WEB}`);
    await Deno.symlink(`${canary}/${target}`, `${request.pod}/overlay.fstab.new`);
    await Deno.symlink(`${canary}/${target}`, `${request.pod}/${WEB}/manifest.new`);
    await renderOverlay(request);
    assertEquals(await snapshot(canary), before);
    assertEquals(await isMissing(`${request.pod}/overlay.fstab.new`), true);
    assertEquals(await namesIn(`${request.pod}/${WEB}`), ["manifest", "rootfs"]);
  }
});

Deno.test("unmountOverlay() and overlayStatus() do not follow a swapped directory", async () => {
  for (const name of ["apps", WEB]) {
    await using dir = await tempDir();
    const request = await setUp(dir);
    const { rootfs } = await renderOverlay(request);
    const canary = await makeCanary(dir);
    const path = `${request.pod}/${name}`;
    await Deno.rename(path, `${canary}/moved`);
    await Deno.symlink(`${canary}/moved`, path);
    const outside = await disk(canary);
    const { unmounted } = await unmountOverlay({ pod: request.pod });
    const before = await disk(dir.path);
    const states = (await overlayStatus(request.pod)).map(({ mounted }) => mounted);
    assertEquals([unmounted, states], [[], [false]]);
    assertEquals(await mountsBelow(dir.path), [rootfs.replace(path, `${canary}/moved`)]);
    const error = await assertRejects(() => renderOverlay(request), RefusedError);
    assertEquals([await disk(dir.path), await disk(canary)], [before, outside]);
    // Its upper is still in use, wherever its rootfs is now.
    assertEquals(error.code, "in-use");
  }
});

Deno.test("renderOverlay() mounts what a lower leads to whose own name could only be written twice", async () => {
  await using dir = await tempDir();
  const request = await setUp(dir);
  const lower = dir.join('odd"name');
  await Deno.symlink(`${request.lower}`, lower);
  const { rootfs, options } = await renderOverlay({ ...request, lower });
  assertEquals(options.startsWith(`lowerdir=${request.lower},`), true, options);
  assertEquals(await namesIn(rootfs), await namesIn(`${request.lower}`));
});

/** Directory names that mount(8) or the kernel could take for more than a name. */
const OPTION_NAMES = [
  "a,ro",
  "a,remount",
  "a,bind",
  "a,move",
  "a,nosuid",
  "a,user",
  "a,loop",
  "a,offset=1",
  "a,x-mount.mkdir",
  "a,noauto",
  "a,_netdev",
  "a,upperdir=u",
  "a,lowerdir=u,upperdir=u,workdir=u",
  "a:b",
  ":",
  'a",ro,"',
  'a"',
  "a\\",
  "a\\,ro",
  "ro,",
  "-o",
  "--bind",
  "--",
  "#",
  "none",
  "LABEL=x",
  "UUID=x",
  "a b 0 0\netc x none bind 0 0",
  "$(touch x)",
  "`touch x`",
  "%2C",
  "\\054ro",
];

for (const name of OPTION_NAMES) {
  Deno.test(`renderOverlay() takes a name for a name only: ${JSON.stringify(name)}`, async () => {
    await using dir = await tempDir();
    const base = dir.join("base");
    await Deno.mkdir(base);
    // Where a misread name would lead.
    for (const sibling of ["a", "u", "b", "a/u"]) await Deno.mkdir(`${base}/${sibling}`);
    const before = await snapshot(base);
    const [odd, pods] = [dir.join("lowers", name), dir.join("pods")];
    await Deno.mkdir(dirname(odd), { recursive: true });
    await Deno.mkdir(pods);
    const lower = await makeTree(odd);
    const plainName = name.includes("\n") ? "web" : name;
    const { rootfs, upper } = await renderOverlay({
      lower,
      pod: `${pods}/${name}`,
      app: plainName,
      options: MARKS,
    });
    await Deno.writeTextFile(`${rootfs}/made`, "here");
    assertEquals(await Deno.readTextFile(`${upper}/made`), "here");
    assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
    assertEquals(await mountsBelow(dir.path), [rootfs]);
    const args = ["--json", "--mountpoint", rootfs, "--output", "FSTYPE,VFS-OPTIONS"];
    const { filesystems } = JSON.parse(await sh("findmnt", ...args));
    assertEquals(filesystems, [{ fstype: "overlay", "vfs-options": "rw,relatime" }]);
    assertEquals((await overlayStatus(`${pods}/${name}`)).map((one) => one.mounted), [true]);
    await unmountOverlay({ pod: `${pods}/${name}` });
    assertEquals(await mountsBelow(dir.path), []);
    assertEquals(await snapshot(base), before);
    assertEquals(await isMissing(`${upper}/made`), false);
  });
}

/** What a terminal would act on: clear the screen, title, bidi override, C1, a new line. */
const LOUD = "\u001b[2J\u001b]0;t\u0007\u202etxt.\u2066\u009b31m\r\nerror: not ours\u2028";

/** That nothing but line ends can move a terminal's cursor. */
function assertQuiet(text: string, lines: number): void {
  // deno-lint-ignore no-control-regex
  const loud = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
  assertEquals(loud.exec(text)?.[0], undefined, JSON.stringify(text));
  assertEquals(text.split("\n").length - 1, lines, text);
}

Deno.test("main() escapes foreign text in what each command prints", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join(LOUD));
  const request = {
    lower: await makeTree(dir.join(LOUD, "image")),
    pod: dir.join(LOUD, "pod"),
    app: "\u202eweb",
    options: MARKS,
  };
  const flags = flagsOf(request);
  const plan = await runMain(["plan", ...flags]);
  const operations = plan.stdout.split("\nflags:\n").map((part) => part.split("\n").length);
  assertQuiet(plan.stdout, (operations[0] ?? 0) + (operations[1] ?? 0));
  assertStringIncludes(plan.stdout, "\\u001b[2J");
  assertStringIncludes(plan.stdout, "\\u202etxt.");

  const prepared = await runMain(["prepare", "--verbose", ...flags]);
  assertQuiet(prepared.stdout, 5);
  assertQuiet(prepared.stderr, prepared.stderr.split("\n").length - 1);
  assertEquals((await runMain(["render", ...flags])).stdout.includes(LOUD), true);

  const status = await runMain(["status", "--verbose", `--pod=${request.pod}`]);
  assertQuiet(status.stdout, 2);
  assertQuiet(status.stderr, 1);
  assertStringIncludes(status.stdout, '"\\u202eweb"');
  const unmounted = await runMain(["unmount", `--pod=${request.pod}`]);
  assertQuiet(unmounted.stdout, 1);
  assertStringIncludes(unmounted.stdout, "\\u202eweb");
});

Deno.test("main() prints the flags of plan so that a shell reads the same paths", async () => {
  await using dir = await tempDir();
  const lower = dir.join(LOUD, "it's $HOME `a`");
  const flags = flagsOf({ lower, tree: "t", pod: dir.join("pod") });
  const json = JSON.parse((await runMain(["plan", "--json", ...flags])).stdout);
  const text = (await runMain(["plan", ...flags])).stdout;
  const printed = text.slice(text.indexOf("flags:\n") + "flags:\n".length);
  assertQuiet(printed, json.flags.length);
  const words = printed.trimEnd().split("\n").map((line) => line.trim()).join(" ");
  // A shell's `$'…'` is the only quoting that can say a control character without being one.
  const read = await sh("bash", "-c", `printf '%s\\0' ${words}`);
  assertEquals(read.split("\0").slice(0, -1), json.flags);
});

Deno.test("main() escapes foreign text in errors, hints and warnings", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join(LOUD));
  await Deno.writeTextFile(dir.join(LOUD, "file"), "");
  const lower = await makeTree(dir.join(LOUD, "image"));
  const good = { lower, pod: dir.join(LOUD, "pod"), app: "web", options: MARKS };
  const bad: Partial<RenderRequest>[] = [
    { lower: dir.join(LOUD, "none") },
    { lower: await mountTooDeep(dir.join(LOUD, "deep")) },
    { pod: dir.join(LOUD, "file", "pod") },
    { app: LOUD },
    { label: LOUD },
    { options: [LOUD] },
    { options: ["metacopy=on", "redirect_dir=off"] },
    { group: LOUD },
    { manifest: dir.join(LOUD) },
  ];
  for (const change of bad) {
    const { status, stdout, stderr } = await runMain([
      "render",
      ...flagsOf({ ...good, ...change }),
    ]);
    assertEquals([status !== 0, stdout], [true, ""], JSON.stringify(change));
    assertQuiet(stderr, stderr.includes("\nhint: ") ? 2 : 1);
  }
  for (
    const args of [[LOUD], ["render", LOUD], ["render", `--${LOUD}`], ["status", "--json", LOUD]]
  ) {
    const { status, stderr } = await runMain(args);
    assertEquals(status, 2);
    if (!args.includes("--json")) assertQuiet(stderr, 2);
  }
});
