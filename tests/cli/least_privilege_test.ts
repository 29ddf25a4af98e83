import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname } from "@std/path/posix/dirname";
import {
  collectPlan,
  collectPods,
  permissionFlags,
  planRender,
  prepareOverlay,
  renderOverlay,
  requiredPermissions,
  undoPlan,
  unmountOverlay,
} from "../../mod.ts";
import type { CollectRequest, RenderRequest } from "../../mod.ts";
import {
  importTree,
  planTreeCollection,
  planTreeRemoval,
  removeTree,
} from "../../lib/store/tree.ts";
import { cli } from "../_cli.ts";
import type { CliOptions } from "../_cli.ts";
import { mountTooDeep } from "../_disks.ts";
import { ATTRIBUTES, layerArchive, makeLayout, smallImage } from "../_image.ts";
import { assertErrorText, disk, flagsOf, plannedFlags, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";
import { assertRefused, lacks } from "../_lacks.ts";

/** The name of the tests' own group, which may be asked for by name. */
async function ownGroup(): Promise<string> {
  return (await sh("id", "--group", "--name")).trim();
}

async function imported(
  dir: TempDir,
  source: string,
  name?: string,
): Promise<{ store: string; id: string }> {
  const store = dir.join("store");
  const named = name === undefined ? {} : { name };
  const { id } = await importTree({ source, store, ...ATTRIBUTES, ...named });
  return { store, id };
}

async function manyLayers(dir: TempDir): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for (let i = 0; i < 100; i++) all.push(await layerArchive(dir.join(`${i}`), { [`${i}`]: "" }));
  return all;
}

interface Case {
  readonly name: string;
  /** Set if preparing it needs other flags than preparing an app does. @default {false} */
  readonly prepare?: boolean;
  readonly change: (dir: TempDir) => Promise<Partial<RenderRequest>> | Partial<RenderRequest>;
}

const CASES: readonly Case[] = [
  { name: "an app", prepare: true, change: () => ({}) },
  { name: "the pod's own image", change: () => ({ app: "" }) },
  { name: "a label", prepare: true, change: () => ({ label: "u:r:t:s0:c1,c2" }) },
  { name: "a group by its id", change: () => ({ group: 0 }) },
  { name: "a group by its name", prepare: true, change: async () => ({ group: await ownGroup() }) },
  {
    name: "a manifest",
    prepare: true,
    change: async (dir) => {
      await Deno.writeTextFile(dir.join("manifest.json"), "{}");
      return { manifest: dir.join("manifest.json"), profile: "manifest" };
    },
  },
  {
    name: "a destination outside the pod",
    prepare: true,
    change: (dir) => ({ dest: dir.join("dest") }),
  },
  { name: "a view", change: () => ({ readOnly: true, options: [] }) },
  {
    name: "a view of two lowers in a destination outside the pod",
    change: async (dir) => {
      const lower = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
      return { lower, readOnly: true, dest: dir.join("dest") };
    },
  },
  {
    name: "a tree of the store",
    change: async (dir) => {
      await makeTree(dir.join("store", "tree", "debian", "rootfs"));
      return { lower: [], store: dir.join("store"), tree: "debian" };
    },
  },
  {
    name: "an image of the store",
    prepare: true,
    change: async (dir) => {
      const { store } = await imported(dir, await smallImage(dir));
      return { lower: [], store, image: "test" };
    },
  },
  {
    name: "a tree of the store that was imported",
    change: async (dir) => {
      const { store, id } = await imported(dir, await smallImage(dir));
      return { lower: [], store, tree: id };
    },
  },
  {
    name: "a tree of the store with more layers than the options hold by their paths",
    change: async (dir) => {
      const source = await makeLayout(dir.join("layout"), await manyLayers(dir));
      const { store, id } = await imported(dir, source);
      return { lower: [], store, tree: id };
    },
  },
  {
    name: "a view of a directory that was imported",
    change: async (dir) => {
      const { store } = await imported(dir, await makeTree(dir.join("directory")), "mine");
      return { lower: [], store, image: "mine", readOnly: true, options: [] };
    },
  },
];

for (const { name, prepare, change } of CASES) {
  for (const command of prepare ? ["render", "prepare"] : ["render"]) {
    Deno.test(`overlay-render ${command} needs each of the flags that are planned: ${name}`, async () => {
      await using dir = await tempDir();
      const request = { ...await makeRequest(dir), ...await change(dir) };
      const flags = await plannedFlags(command, request);
      const args = [command, ...flagsOf(request)];
      await assertRefused(dir.path, args, lacks(flags));
      assertEquals(await isMissing(request.pod), true);

      const done = await cli(args, { flags });
      assertEquals([done.status, done.stderr.replace(/^warning: label .*\n/, "")], [0, ""]);
      assertEquals((await mountsBelow(dir.path)).length, command === "render" ? 1 : 0);
      // The same flags serve the second time, when there is something to look at.
      const again = await cli([...args, "--json"], { flags });
      assertEquals([again.status, JSON.parse(again.stdout).changed], [0, false]);
    });
  }
}

Deno.test("overlay-render render lays an app into the pod's own image with the flags that are planned", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir), layout: "rkt" } as const;
  await renderOverlay({ ...request, app: "", tree: "base" });
  await unmountOverlay({ pod: request.pod });
  const flags = await plannedFlags("render", request);
  const { status, stderr } = await cli(["render", ...flagsOf(request)], { flags });
  assertEquals([status, stderr], [0, ""]);
  assertEquals((await mountsBelow(dir.path)).length, 2);
});

Deno.test("overlay-render render takes back a failure with the flags that are planned", async () => {
  await using dir = await tempDir();
  const lower = await mountTooDeep(dir.join("deep"));
  const request = { ...await makeRequest(dir), lower };
  // The plan of it exits with 1, too.
  const flags = permissionFlags(requiredPermissions(planRender(request)));
  const before = await disk(dir.path);
  const { status, stderr } = await cli(["render", ...flagsOf(request)], { flags });
  assertEquals(status, 1);
  assertErrorText(stderr);
  // These flags are enough to find the cause, too.
  assertStringIncludes(stderr, `hint: Cannot use lower "${lower}": it is an overlay on an overlay`);
  assertEquals(await disk(dir.path), before);
});

/** Paths that a flag's list cannot say, or that are read in another way. */
const ODD = ["a,b", "a,ro,", "a b=c", "ä:", '-a"b\\c\n'];

Deno.test("overlay-render render works with the flags that are planned for odd paths", async () => {
  for (const name of ODD) {
    await using dir = await tempDir();
    await Deno.mkdir(dir.join("pods"));
    const lower = await makeTree(dir.join("images", name));
    const request = { lower, pod: dir.join("pods", name), app: "web", options: MARKS };
    const flags = await plannedFlags("render", request);
    const { status, stdout, stderr } = await cli(["render", ...flagsOf(request)], { flags });
    assertEquals([status, stderr], [0, ""], name);
    assertEquals(await Deno.readTextFile(`${stdout.slice(0, -1)}/file`), "from the tree");
    // A directory above that has no comma is granted instead, and no more.
    const read = flags.find((flag) => flag.startsWith("--allow-read="))?.slice(13).split(",");
    const above = (path: string) => name.includes(",") ? dirname(path) : path;
    assertEquals(read, [above(lower), above(request.pod)], name);
    await assertRefused(
      dir.path,
      ["render", ...flagsOf(request)],
      name === "a,b" ? lacks(flags) : [],
    );
  }
});

/** The flags that the help of a command documents, with what they stand for in capitals. */
async function documentedFlags(
  command: string,
  values: Readonly<Record<string, string>>,
): Promise<string[]> {
  const { stdout } = await runMain([command, "--help"]);
  const { permissions = "" } = /\nPermissions:\n(?<permissions>[^]*?)\n\n/.exec(stdout)?.groups ??
    {};
  const flags = permissions.match(/--allow-\w+=\S+/g) ?? [];
  const known = flags.map((flag) => flag.replace(/[A-Z]+$/, (word) => values[word] ?? ""));
  return known.filter((flag) => !flag.endsWith("="));
}

/** A flag given twice holds the values of both. */
function merged(flags: readonly string[]): string[] {
  const byName = Map.groupBy(flags, (flag) => flag.split("=")[0] ?? "");
  return [...byName].map(([name, all]) => {
    return `${name}=${all.map((flag) => flag.slice(name.length + 1)).join(",")}`;
  });
}

for (const where of ["below the pod", "outside the pod"]) {
  Deno.test(`overlay-render status needs each of the flags that its help names: app ${where}`, async () => {
    await using dir = await tempDir();
    const dest = where === "outside the pod" ? { dest: dir.join("dest") } : {};
    const { pod } = await renderOverlay({ ...await makeRequest(dir), ...dest });
    const values = { POD: pod, ...("dest" in dest ? { DEST: dest.dest ?? "" } : {}) };
    const flags = merged(await documentedFlags("status", values));
    const args = ["status", `--pod=${pod}`];
    await assertRefused(dir.path, args, lacks(flags));
    const { status, stdout, stderr } = await cli(args, { flags });
    assertEquals([status, stderr], [0, ""]);
    assertMatch(stdout, /\nweb +image +mounted +\//);
  });

  Deno.test(`overlay-render unmount needs each of the flags that its help names: app ${where}`, async () => {
    await using dir = await tempDir();
    const dest = where === "outside the pod" ? { dest: dir.join("dest") } : {};
    const { pod, rootfs } = await renderOverlay({ ...await makeRequest(dir), ...dest });
    const values = { POD: pod, ...("dest" in dest ? { DEST: dest.dest ?? "" } : {}) };
    const flags = merged(await documentedFlags("unmount", values));
    const args = ["unmount", `--pod=${pod}`];
    await assertRefused(dir.path, args, lacks(flags));
    const { status, stdout, stderr } = await cli(args, { flags });
    assertEquals([status, stdout, stderr], [0, `${rootfs}\n`, ""]);
    assertEquals(await mountsBelow(dir.path), []);
  });
}

/** What prints and what answers questions of the command line alone needs nothing at all. */
const FREE = [["plan"], ["--help"], ["--version"], ["render", "--help"], ["render", "--dry-run"]];

for (const args of FREE) {
  Deno.test(`overlay-render ${args.join(" ")} needs no permission`, async () => {
    const request = args.includes("plan") || args.includes("--dry-run")
      ? ["--lower=/no/image", "--pod=/no/pod"]
      : [];
    const { status, stdout, stderr } = await cli([...args, ...request], { flags: [] });
    assertEquals([status, stdout !== "", stderr], [0, true, ""]);
  });
}

const noTerminal = !await hasScript();

for (const command of ["render", "prepare", "unmount", "status"]) {
  Deno.test({
    name:
      `overlay-render ${command} never prompts, on a terminal either [skipped: needs script(1)]`,
    ignore: noTerminal,
    fn: async () => {
      await using dir = await tempDir();
      const request = await makeRequest(dir);
      await prepareOverlay({ ...request, app: "db" });
      const renders = command === "render" || command === "prepare";
      const args = [command, ...(renders ? flagsOf(request) : [`--pod=${request.pod}`])];
      const before = await disk(dir.path);
      const tried = [[], [`--allow-read=${dir.path}`], [
        `--allow-read=${dir.path}`,
        `--allow-write=${dir.path}`,
      ]];
      for (const flags of tried) {
        const { status, stdout } = await onTerminal(args, flags);
        assertEquals(status, 4, stdout);
        assertErrorText(stdout);
      }
      assertEquals(await disk(dir.path), before);
    },
  });
}

Deno.test({
  name: "overlay-render render does not prompt on a terminal with the flags that are planned " +
    "[skipped: needs script(1)]",
  ignore: noTerminal,
  fn: async () => {
    await using dir = await tempDir();
    const request = { ...await makeRequest(dir), label: "u:r:t:s0", group: await ownGroup() };
    const flags = await plannedFlags("render", request);
    const { status, stdout } = await onTerminal(["render", "--quiet", ...flagsOf(request)], flags);
    assertEquals([status, stdout], [0, `${(await mountsBelow(dir.path))[0]}\n`]);
  },
});

/** Variables that Deno refuses to hand down, or by which a program could be another one. */
const ENVIRONMENTS: readonly Readonly<Record<string, string>>[] = [
  { LD_PRELOAD: "libm.so.6" },
  { LD_LIBRARY_PATH: "/no/such/directory" },
  { LD_BIND_NOW: "1" },
  { LIBMOUNT_FSTAB: "/dev/null", LIBMOUNT_MTAB: "/dev/null" },
  { LIBMOUNT_FORCE_MOUNT2: "never" },
  { LC_ALL: "de_DE.UTF-8", LANGUAGE: "de" },
  { POSIXLY_CORRECT: "1" },
];

for (const env of ENVIRONMENTS) {
  Deno.test(`overlay-render works with ${Object.keys(env).join(", ")} in the environment`, async () => {
    await using dir = await tempDir();
    const request = { ...await makeRequest(dir), label: "u:r:t:s0" };
    const flags = await plannedFlags("render", request);
    const options: CliOptions = { flags, env };
    const done = await cli(["render", "--quiet", ...flagsOf(request)], options);
    assertEquals([done.status, done.stderr], [0, ""]);
    const gone = await cli(["unmount", `--pod=${request.pod}`], options);
    assertEquals([gone.status, gone.stdout, gone.stderr], [0, done.stdout, ""]);
  });
}

Deno.test("overlay-render render runs the programs that the flags name, whatever PATH says", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  await Deno.mkdir(dir.join("bin"));
  for (const name of ["mount", "umount", "findmnt", "chcon"]) {
    const path = dir.join("bin", name);
    await Deno.writeTextFile(path, `#!/bin/sh\ntouch ${dir.join("hijacked")}\n`);
    await Deno.chmod(path, 0o755);
  }
  const flags = await plannedFlags("render", request);
  const options = { flags, env: { PATH: dir.join("bin") } };
  assertEquals((await cli(["render", ...flagsOf(request)], options)).status, 0);
  assertEquals((await cli(["unmount", `--pod=${request.pod}`], options)).status, 0);
  assertEquals(await isMissing(dir.join("hijacked")), true);
});

Deno.test("overlay-render works through a symlink above the pod with the flags that are planned", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  // Deno grants by name: the real name of a pod does not stand for the one through a link.
  await Deno.mkdir(dir.join("real"));
  await Deno.symlink(dir.join("real"), dir.join("link"));
  const linked = { ...request, pod: dir.join("link", "pod") };
  const flags = await plannedFlags("render", { ...request, pod: dir.join("real", "pod") });
  const before = await disk(dir.path);
  const { status, stderr } = await cli(["render", ...flagsOf(linked)], { flags });
  assertEquals(status, 4);
  assertStringIncludes(stderr, `--allow-write=${dir.join("link", "pod")}`);
  assertEquals(await disk(dir.path), before);
  const done = await cli(["render", ...flagsOf(linked)], {
    flags: await plannedFlags("render", linked),
  });
  assertEquals(done.status, 0, done.stderr);
  const flagsToUnmount = [
    `--allow-read=${linked.pod}`,
    `--allow-write=${linked.pod}`,
    "--allow-run=/bin/umount,/bin/findmnt,/bin/find",
    "--allow-sys=uid",
  ];
  const gone = await cli(["unmount", `--pod=${linked.pod}`], { flags: flagsToUnmount });
  assertEquals([gone.status, gone.stdout], [0, done.stdout], gone.stderr);
});

Deno.test({
  name: "overlay-render render works with the flags that are planned for a pod that another made " +
    "[skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir);
    await Deno.mkdir(request.pod, { mode: 0o2755 });
    await Deno.chown(request.pod, 0, 65534);
    await Deno.chmod(request.pod, 0o2755);
    const flags = await plannedFlags("render", request);
    const { status, stderr } = await cli(["render", ...flagsOf(request)], { flags });
    assertEquals([status, stderr], [0, ""]);
  },
});

/** Something that gc does, and the flags of its plan. */
const COLLECTIONS: readonly {
  readonly name: string;
  readonly arrange: (request: RenderRequest, dir: TempDir) => Promise<CollectRequest>;
}[] = [
  {
    name: "a pod that is mounted",
    arrange: async (request) => ({ pod: (await renderOverlay(request)).pod }),
  },
  {
    name: "a pod that is mounted outside, by a render that made the destination",
    arrange: async (request, dir) => {
      return { pod: (await renderOverlay({ ...request, dest: dir.join("dest") })).pod };
    },
  },
  {
    name: "a pod that is set aside alone",
    arrange: async (request) => {
      return { pod: (await prepareOverlay(request)).pod, phase: "mark" };
    },
  },
  {
    name: "many pods, of which one is set aside",
    arrange: async (request, dir) => {
      const pods = dir.join("pods");
      await Deno.mkdir(pods);
      const ephemeral = { ...request, ephemeral: true };
      const { pod } = await prepareOverlay({ ...ephemeral, pod: `${pods}/aside` });
      await collectPods({ pod, phase: "mark" });
      await prepareOverlay({ ...ephemeral, pod: `${pods}/idle` });
      await renderOverlay({ ...ephemeral, pod: `${pods}/mounted` });
      return { pods, gracePeriodMs: 0 };
    },
  },
];

/** The command line of a collection. */
function gcArgs(request: CollectRequest): string[] {
  return [
    "gc",
    ..."pod" in request ? [`--pod=${request.pod}`] : [`--pods=${request.pods}`],
    ...request.gracePeriodMs === undefined ? [] : [`--grace-period=${request.gracePeriodMs}`],
    ...request.phase === undefined ? [] : [`--${request.phase}`],
  ];
}

for (const { name, arrange } of COLLECTIONS) {
  Deno.test(`overlay-render gc needs each of the flags that are planned: ${name}`, async () => {
    await using dir = await tempDir();
    const request = await arrange(await makeRequest(dir), dir);
    const before = await disk(dir.path);
    const plan = await collectPlan(request);
    assertEquals(await disk(dir.path), before);
    const flags = permissionFlags(requiredPermissions(plan));
    await assertRefused(dir.path, gcArgs(request), lacks(flags));

    const { status, stdout, stderr } = await cli([...gcArgs(request), "--json"], { flags });
    assertEquals([status, stderr], [0, ""]);
    const { marked, removed } = JSON.parse(stdout);
    assertEquals([marked, removed], [plan.marked, plan.removed]);
    assertEquals(marked.length + removed.length > 0, true);
  });
}

Deno.test("overlay-render gc --undo needs each of the flags that are planned", async () => {
  await using dir = await tempDir();
  const { pod } = await prepareOverlay(await makeRequest(dir));
  await collectPods({ pod, phase: "mark" });
  const flags = permissionFlags(requiredPermissions(await undoPlan(pod)));
  await assertRefused(dir.path, ["gc", `--undo=${pod}`], lacks(flags));
  const { status, stderr } = await cli(["gc", `--undo=${pod}`], { flags });
  assertEquals([status, stderr, await isMissing(pod)], [0, "", false]);
});

Deno.test("overlay-render tree gc needs each of the flags that are planned", async () => {
  await using dir = await tempDir();
  const { store, id } = await imported(dir, await smallImage(dir));
  await removeTree({ store, tree: id });
  const args = ["tree", "gc", `--store=${store}`];
  for (const left of [2, 0]) {
    const before = await disk(dir.path);
    const plan = await planTreeCollection({ store });
    assertEquals([plan.layers.length, await disk(dir.path)], [left, before]);
    const flags = permissionFlags(requiredPermissions(plan));
    await assertRefused(dir.path, args, lacks(flags));
    const { status, stderr } = await cli(args, { flags });
    assertEquals([status, stderr], [0, ""]);
  }
});

Deno.test("overlay-render tree remove needs each of the flags that are planned", async () => {
  await using dir = await tempDir();
  const { store, id } = await imported(dir, await smallImage(dir));
  const args = ["tree", "remove", `--store=${store}`, id];
  const flags = permissionFlags(requiredPermissions(await planTreeRemoval({ store, tree: id })));
  await assertRefused(dir.path, args, lacks(flags));
  const { status, stderr } = await cli(args, { flags });
  assertEquals([status, stderr], [0, ""]);
});
