import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { planPod, unmountOverlay } from "../../mod.ts";
import type { PodApp, PodRequest } from "../../mod.ts";
import { planJson, planText } from "../../lib/cli/plan_output.ts";
import { lacks } from "../_lacks.ts";
import { cli, commandLine } from "../_cli.ts";
import type { CliResult } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { mountTooDeep } from "../_disks.ts";
import { assertErrorText, disk, runMain, runMainWith } from "../_main.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** Runs the command as a child process that reads this on stdin. */
async function piped(
  args: readonly string[],
  input: string | Uint8Array<ArrayBuffer>,
  flags?: readonly string[],
): Promise<CliResult> {
  const [program = "", ...rest] = commandLine(args, flags);
  const child = new Deno.Command(program, {
    args: rest,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  const written = new Response(bytes).body?.pipeTo(child.stdin).catch(() => {});
  const [output] = await Promise.all([child.output(), written]);
  const decoder = new TextDecoder();
  return {
    status: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/** A spec, and the file that it is written in. */
interface Written {
  readonly file: string;
  readonly spec: PodRequest;
}

async function write(dir: TempDir, spec: PodRequest): Promise<Written> {
  const file = dir.join("spec.json");
  await Deno.writeTextFile(file, JSON.stringify(spec));
  return { file, spec };
}

async function setUp(dir: TempDir, change: Partial<PodRequest> = {}): Promise<Written> {
  const lower = [await makeTree(dir.join("image"))];
  const apps = ["web", "db"].map((app): PodApp => ({ app, lower, options: MARKS }));
  return await write(dir, { pod: dir.join("pod"), apps, ...change });
}

/** The pod's own image, and apps in it in any order. */
async function withImage(dir: TempDir): Promise<Written> {
  const { spec } = await setUp(dir);
  const image = { app: "", lower: [await makeTree(dir.join("stage1"))], options: MARKS };
  return await write(dir, { ...spec, layout: "rkt", apps: [...spec.apps, image] });
}

Deno.test("overlay-render render --spec mounts the apps of a file, and prints each rootfs", async () => {
  await using dir = await tempDir();
  const { file, spec } = await withImage(dir);
  const { status, stdout, stderr } = await cli(["render", "--spec", file]);
  assertEquals([status, stderr], [0, ""]);
  const mounts = await mountsBelow(dir.path);
  assertEquals(stdout, mounts.map((rootfs) => `${rootfs}\n`).join(""));
  assertEquals(mounts, planPod(spec).mounts.map(({ rootfs }) => rootfs));
  const again = await cli(["render", "--spec", file]);
  assertEquals(again, { status, stdout, stderr });
  assertEquals(await mountsBelow(dir.path), mounts);
});

Deno.test("overlay-render render --spec - reads stdin", async () => {
  await using dir = await tempDir();
  const { spec } = await setUp(dir);
  const { status, stdout, stderr } = await piped(["render", "--spec", "-"], JSON.stringify(spec));
  assertEquals([status, stderr], [0, ""]);
  const mounts = await mountsBelow(dir.path);
  assertEquals([mounts.length, stdout], [2, mounts.map((rootfs) => `${rootfs}\n`).join("")]);
  const equals = await piped(["render", "--json", "--spec=-"], JSON.stringify(spec));
  assertEquals(
    JSON.parse(equals.stdout).renders.map(({ changed }: { changed: boolean }) => changed),
    [
      false,
      false,
    ],
  );
});

Deno.test("overlay-render render --spec takes relative paths from its own directory, not the file's", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("in"));
  await Deno.mkdir(dir.join("specs"));
  await makeTree(dir.join("image"));
  await Deno.writeTextFile(dir.join("manifest.json"), "{}");
  const spec = {
    pod: "pod",
    apps: [{
      app: "web",
      lower: ["../image"],
      dest: "../dest",
      manifest: "../manifest.json",
      options: MARKS,
    }],
  };
  await Deno.writeTextFile(dir.join("specs/spec.json"), JSON.stringify(spec));
  const args = ["render", "--spec", "../specs/spec.json"];
  const { status, stdout, stderr } = await cli(args, { cwd: dir.join("in") });
  assertEquals([status, stdout, stderr], [0, `${dir.join("dest/rootfs")}\n`, ""]);
  assertEquals(await Deno.readTextFile(dir.join("dest/manifest")), "{}");
  assertEquals(await isMissing(dir.join("in/pod/overlay.fstab")), false);
});

Deno.test("overlay-render render --spec --json is the form that is documented", async () => {
  await using dir = await tempDir();
  const { file, spec } = await withImage(dir);
  const { status, stdout, stderr } = await cli(["render", "--spec", file, "--json"]);
  assertEquals([status, stderr, stdout.split("\n").length], [0, "", 2]);
  const { version, pod, renders, ...rest } = JSON.parse(stdout);
  assertEquals([version, pod, rest], [1, spec.pod, {}]);
  assertEquals(Object.keys(JSON.parse(stdout)), ["version", "pod", "renders"]);
  const fields = ["pod", "app", "tree", "rootfs", "lower", "upper", "work"];
  for (const [at, mount] of planPod(spec).mounts.entries()) {
    assertEquals(Object.keys(renders[at]), [...fields, "options", "mounted", "changed"]);
    const { app, rootfs, upper, mounted, changed } = renders[at];
    assertEquals([app, rootfs, upper], [mount.app, mount.rootfs, mount.upper]);
    assertEquals([mounted, changed], [true, true]);
  }
});

Deno.test("overlay-render prepare --spec makes the directories, and prints what can be mounted", async () => {
  await using dir = await tempDir();
  const { file, spec } = await setUp(dir);
  const { status, stdout, stderr } = await cli(["prepare", "--spec", file]);
  assertEquals([status, stderr, await mountsBelow(dir.path)], [0, "", []]);
  const blocks = planPod(spec).mounts.map(({ rootfs, lower, upper, work, optionString }) =>
    `rootfs   ${rootfs}
lower    ${lower[0]}
upper    ${upper}
work     ${work}
options  ${optionString}
`
  );
  assertEquals(stdout, blocks.join("\n"));
  const json = await cli(["prepare", "--spec", file, "--json"]);
  const { renders } = JSON.parse(json.stdout);
  assertEquals(
    renders.map(({ app, mounted, changed }: Record<string, unknown>) => [app, mounted, changed]),
    [["web", false, false], ["db", false, false]],
  );
  // What was printed can be mounted as it is.
  await sh("mount", "--fstab", dir.join("pod/overlay.fstab"), "--", renders[1].rootfs);
  assertEquals(await mountsBelow(dir.path), [renders[1].rootfs]);
});

Deno.test("overlay-render plan --spec prints the plan and touches nothing", async () => {
  await using dir = await tempDir();
  const { file, spec } = await withImage(dir);
  const before = await disk(dir.path);
  const plan = planPod(spec);
  const text = await cli(["plan", "--spec", file], { flags: [`--allow-read=${file}`] });
  assertEquals(text, { status: 0, stdout: planText(plan), stderr: "" });
  const json = await cli(["plan", "--spec", file, "--json"], { flags: [`--allow-read=${file}`] });
  assertEquals(json, { status: 0, stdout: planJson(plan), stderr: "" });
  assertEquals(Object.keys(JSON.parse(json.stdout)), ["version", "operations", "mounts", "flags"]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render plan --spec - needs no permission", async () => {
  const spec = { pod: "/no/pod", apps: [{ app: "web", lower: ["/no/image"] }] };
  const { status, stdout, stderr } = await piped(["plan", "--spec", "-"], JSON.stringify(spec), []);
  assertEquals([status, stdout, stderr], [0, planText(planPod(spec)), ""]);
});

Deno.test("overlay-render plan --spec reads files alone, and no more than a spec can have", async () => {
  await using dir = await tempDir();
  const [fifo, large] = [dir.join("fifo"), dir.join("large")];
  await sh("mkfifo", fifo);
  await Deno.writeFile(large, new Uint8Array());
  await Deno.truncate(large, 2 ** 40);
  const refused = {
    fifo: "it is neither",
    zero: "it is neither",
    large: "it has more than 16777216",
  };
  for (const [name, reason] of Object.entries(refused)) {
    const file = name === "zero" ? "/dev/zero" : dir.join(name);
    // The permissions are those of a user, who may not write there.
    const flags = [`--allow-read=${dir.path},/dev/zero`];
    const wrapper = ["timeout", "30"];
    const { status, stderr } = await cli(["plan", "--spec", file], { flags, wrapper });
    assertEquals(status, 1, stderr);
    assertStringIncludes(stderr, `Cannot read spec ${JSON.stringify(file)}: ${reason}`);
  }
  const wrapper = ["timeout", "30", "sh", "-c", 'exec "$@" </dev/zero', "sh"];
  const { status, stderr } = await cli(["plan", "--spec", "-"], { flags: [], wrapper });
  assertEquals(status, 1, stderr);
  assertStringIncludes(stderr, 'Cannot read spec "-": it has more than 16777216 bytes');
});

Deno.test("overlay-render --dry-run --spec plans what would be done", async () => {
  await using dir = await tempDir();
  const { file, spec } = await setUp(dir);
  const before = await disk(dir.path);
  for (const [command, mount] of [["render", true], ["prepare", false], ["plan", true]] as const) {
    const expected = planPod(spec, { mount });
    const text = await runMain([command, "-n", "--spec", file]);
    assertEquals(text, { status: 0, stdout: planText(expected), stderr: "" });
    const json = await runMain([command, "--dry-run", "--json", "--spec", file]);
    assertEquals(json, { status: 0, stdout: planJson(expected), stderr: "" });
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render plan --spec reads a large spec whole, from a file and from stdin", async () => {
  await using dir = await tempDir();
  // Characters of several bytes, so that some lie where one read ends and the next begins.
  const lower = (at: number) => [`/images/${"ä😀".repeat(1 + at % 20)}${at}`];
  const apps = Array.from({ length: 2000 }, (_, at) => ({ app: `app-${at}`, lower: lower(at) }));
  const { file, spec } = await write(dir, { pod: "/no/pod", apps });
  assert((await Deno.stat(file)).size > 200_000);
  const expected = planJson(planPod(spec));
  const fromFile = await cli(["plan", "--json", "--spec", file]);
  // None of the lowers is there.
  assertEquals([fromFile.status, fromFile.stdout === expected], [1, true]);
  const fromStdin = await piped(["plan", "--json", "--spec", "-"], JSON.stringify(spec));
  assertEquals([fromStdin.status, fromStdin.stdout === expected], [1, true]);
});

/** Checks what a command line ends with, in words and as JSON. */
async function assertRefusedWith(
  args: readonly string[],
  expected: { readonly status: number; readonly code: string; readonly cause: string },
  input = "",
): Promise<void> {
  const io = { input: () => new TextEncoder().encode(input) };
  const text = await runMain(args, io);
  assertEquals([text.status, text.stdout], [expected.status, ""], text.stderr);
  assertErrorText(text.stderr);
  assertStringIncludes(text.stderr, expected.cause);
  const json = await runMain([...args, "--json"], io);
  const { version, error, ...rest } = JSON.parse(json.stdout);
  assertEquals([json.status, json.stderr, version, rest], [expected.status, "", 1, {}]);
  assertEquals([error.code, Object.keys(error)], [
    expected.code,
    ["code", "message", "path", "hint"],
  ]);
}

const COMMANDS = ["plan", "prepare", "render"] as const;

Deno.test("overlay-render --spec with another flag of a render is a usage error", async () => {
  await using dir = await tempDir();
  const { file } = await setUp(dir);
  const before = await disk(dir.path);
  for (const flag of ["--pod=/p", "--app=", "--lower=/l", "-o=volatile", "--read-only"]) {
    for (const command of COMMANDS) {
      for (const args of [[flag, "--spec", file], ["--spec", file, flag]]) {
        const cause = "with --spec: the spec says it";
        await assertRefusedWith([command, ...args], { status: 2, code: "usage", cause });
      }
    }
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render --spec says what is wrong with a spec, and touches nothing", async () => {
  await using dir = await tempDir();
  const { spec: { pod, apps: [web] } } = await setUp(dir);
  const table: readonly [text: string, cause: string][] = [
    ["", "Cannot use spec: it is not JSON"],
    ["{", "Cannot use spec: it is not JSON"],
    ["[]", "Cannot use spec: it must be an object"],
    [JSON.stringify({ pod }), "Cannot use apps: it is missing"],
    [JSON.stringify({ pod, apps: [] }), "apps is empty"],
    [JSON.stringify({ pod, apps: [web, { ...web, lower: "/l" }] }), "Cannot use apps[1].lower: "],
    [JSON.stringify({ pod, apps: [web, { ...web, app: ".." }] }), 'Cannot use apps[1].app "..": '],
    [JSON.stringify({ pod, apps: [web, web] }), "Cannot use apps[1].app: "],
    [JSON.stringify({ pod, apps: [web], typo: 1 }), 'Cannot use spec field "typo"'],
  ];
  const before = await disk(dir.path);
  for (const [text, cause] of table) {
    const expected = { status: 2, code: "invalid-value", cause };
    for (const command of COMMANDS) {
      await assertRefusedWith([command, "--spec", "-"], expected, text);
    }
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render --spec refuses what is not valid UTF-8, which would name another path", async () => {
  await using dir = await tempDir();
  const { spec } = await setUp(dir);
  const text = JSON.stringify({ ...spec, pod: dir.join("pod-?") });
  const bytes = new TextEncoder().encode(text).map((byte) => byte === 0x3f ? 0xe4 : byte);
  await Deno.writeFile(dir.join("latin1.json"), bytes);
  const before = await disk(dir.path);
  for (
    const { status, stdout, stderr } of [
      await cli(["render", "--spec", dir.join("latin1.json")]),
      await piped(["render", "--spec", "-"], bytes),
    ]
  ) {
    assertEquals([status, stdout], [2, ""], stderr);
    assertErrorText(stderr);
    assertStringIncludes(stderr, "UTF-8");
  }
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render --spec reads the same from a file and from stdin, a byte order mark too", async () => {
  await using dir = await tempDir();
  const text = `\ufeff${JSON.stringify({ pod: "/p", apps: [{ app: "web", lower: ["/l"] }] })}`;
  await Deno.writeTextFile(dir.join("spec.json"), text);
  const fromFile = await cli(["plan", "--spec", dir.join("spec.json")]);
  assertEquals(await piped(["plan", "--spec", "-"], text), fromFile);
});

Deno.test("overlay-render --spec says so when there is no such file", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("directory"));
  const table = [
    [dir.join("none.json"), "it does not exist", "missing"],
    [dir.join("directory"), "it is a directory", "failed"],
    [dir.join("no", "spec"), "it does not exist", "missing"],
  ] as const;
  for (const [file, reason, code] of table) {
    const cause = `Cannot read spec ${JSON.stringify(file)}: ${reason}`;
    for (const command of COMMANDS) {
      await assertRefusedWith([command, "--spec", file], { status: 1, code, cause });
    }
  }
});

for (const command of COMMANDS) {
  Deno.test(`overlay-render ${command} --spec exits 4 and names the spec that it may not read`, async () => {
    await using dir = await tempDir();
    const { file, spec } = await setUp(dir);
    const before = await disk(dir.path);
    for (const flags of [[], [`--allow-read=${spec.pod}`, `--allow-write=${spec.pod}`]]) {
      const text = await runMainWith(flags, [command, "--spec", file]);
      assertEquals([text.status, text.stdout], [4, ""]);
      assertErrorText(text.stderr);
      assertStringIncludes(text.stderr, `missing --allow-read=${file}\n`);
      const json = await runMainWith(flags, [command, "--spec", file, "--json"]);
      assertEquals([json.status, json.stderr], [4, ""]);
      assertEquals(JSON.parse(json.stdout).error.code, "permission");
    }
    // A file that is not there is not told from one that may not be read.
    const none = await runMainWith([], [command, "--spec", dir.join("none")]);
    assertEquals(none.status, 4);
    assertEquals(await disk(dir.path), before);
  });
}

/** The flags that are planned, and the leave to read the spec. */
async function plannedFlags(command: string, file: string, expected = 0): Promise<string[]> {
  const dry = command === "render" ? ["plan"] : ["prepare", "--dry-run"];
  const { status, stdout } = await runMain([...dry, "--json", "--spec", file]);
  assertEquals(status, expected, stdout);
  const flags = JSON.parse(stdout).flags as string[];
  return flags.map((flag) => flag.replace(/^--allow-read=/, `--allow-read=${file},`));
}

async function assertEachNeeded(
  directory: string,
  args: readonly string[],
  flags: readonly string[],
): Promise<void> {
  const before = await disk(directory);
  for (const { missing, flags: less } of lacks(flags)) {
    const { status, stdout, stderr } = await runMainWith(less, args);
    assertEquals([status, stdout], [4, ""], `without ${missing}: ${stderr}`);
    assertErrorText(stderr);
    const [, named = ""] = stderr.split("\n")[0]?.split(": missing ") ?? [];
    assert(/=[/u]./.test(named) && missing.startsWith(named), `without ${missing}: ${stderr}`);
  }
  assertEquals(await disk(directory), before);
}

/** The name of the tests' own group, which may be asked for by name. */
async function ownGroup(): Promise<string> {
  return (await sh("id", "--group", "--name")).trim();
}

interface Case {
  readonly name: string;
  readonly commands: readonly ("render" | "prepare")[];
  /** How many are mounted by a render. */
  readonly mounts: number;
  readonly make: (dir: TempDir) => Promise<Written>;
}

const LEAST: readonly Case[] = [
  { name: "two apps", commands: ["render", "prepare"], mounts: 2, make: (dir) => setUp(dir) },
  { name: "apps in the pod's own image", commands: ["render"], mounts: 3, make: withImage },
  {
    name: "a group, a label, a manifest and destinations outside the pod",
    commands: ["render", "prepare"],
    mounts: 2,
    make: async (dir) => {
      const { spec } = await setUp(dir, { group: await ownGroup(), label: "u:r:t:s0:c1,c2" });
      await Deno.writeTextFile(dir.join("manifest.json"), "{}");
      const [web, db] = spec.apps;
      assert(web !== undefined && db !== undefined);
      const apps = [
        { ...web, manifest: dir.join("manifest.json") },
        { ...db, dest: dir.join("dest") },
      ];
      return await write(dir, { ...spec, apps });
    },
  },
  {
    name: "views, and a tree of the store",
    commands: ["render"],
    mounts: 3,
    make: async (dir) => {
      await makeTree(dir.join("store/tree/debian/rootfs"));
      const { spec } = await setUp(dir, { store: dir.join("store") });
      const lower = [await makeTree(dir.join("a")), await makeTree(dir.join("b"))];
      const apps = [
        { app: "one", lower: [dir.join("image")], readOnly: true },
        { app: "two", lower, options: MARKS, readOnly: true },
        { app: "tree", tree: "debian", options: MARKS },
      ];
      return await write(dir, { ...spec, apps });
    },
  },
];

for (const { name, commands, mounts, make } of LEAST) {
  for (const command of commands) {
    Deno.test(`overlay-render ${command} --spec needs each of the flags that are planned: ${name}`, async () => {
      await using dir = await tempDir();
      const { file, spec } = await make(dir);
      const flags = await plannedFlags(command, file);
      const args = [command, "--spec", file];
      await assertEachNeeded(dir.path, args, flags);
      assertEquals(await isMissing(spec.pod), true);

      const done = await cli([...args, "--quiet"], { flags });
      assertEquals([done.status, done.stderr], [0, ""]);
      assertEquals((await mountsBelow(dir.path)).length, command === "render" ? mounts : 0);
      // The same flags serve the second time, when there is something to look at.
      const again = await cli([...args, "--json", "--quiet"], { flags });
      assertEquals([again.status, again.stderr], [0, ""]);
      const { renders } = JSON.parse(again.stdout);
      assertEquals(renders.some(({ changed }: { changed: boolean }) => changed), false);
    });
  }
}

Deno.test("overlay-render render --spec takes back a failure with the flags that are planned", async () => {
  await using dir = await tempDir();
  const { spec } = await withImage(dir);
  const deep = await mountTooDeep(dir.join("deep"));
  const apps = spec.apps.map((app) => app.app === "db" ? { ...app, lower: [deep] } : app);
  const { file } = await write(dir, { ...spec, apps });
  const flags = await plannedFlags("render", file, 1);
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await cli(["render", "--spec", file], { flags });
  assertEquals([status, stdout], [1, ""]);
  assertErrorText(stderr);
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render render --spec --json names each app that fails", async () => {
  await using dir = await tempDir();
  const { spec } = await setUp(dir);
  const [web, db] = spec.apps;
  assert(web !== undefined && db !== undefined);
  const apps = [{ ...web, lower: [dir.join("x")] }, { ...db, lower: [dir.join("y")] }, {
    ...db,
    app: "good",
  }];
  const { file } = await write(dir, { ...spec, apps });
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await cli(["render", "--spec", file, "--json"]);
  assertEquals([status, stderr], [1, ""]);
  const { version, error, failures } = JSON.parse(stdout);
  assertEquals([version, error.code, error.path], [1, "missing", dir.join("x")]);
  assertEquals(
    failures.map(({ app, code, path }: Record<string, unknown>) => [app, code, path]),
    [["web", "missing", dir.join("x")], ["db", "missing", dir.join("y")]],
  );
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlay-render render --spec --verbose tells each operation once and every program", async () => {
  await using dir = await tempDir();
  const { file, spec } = await setUp(dir);
  const { status, stdout, stderr } = await runMain(["render", "--verbose", "--spec", file]);
  assertEquals([status, stdout.split("\n").length], [0, 3]);
  const lines = stderr.split("\n").filter((line) => line !== "");
  const told = lines.filter((line) => !line.startsWith("run ")).map((line) => line.split(/ +/)[0]);
  assertEquals(told, planPod(spec).operations.map(({ kind }) => kind));
  assertEquals(lines.filter((line) => line.startsWith("run /bin/mount ")).length, 1);
});

Deno.test("overlay-render render --spec says once what is left out of all apps", async () => {
  await using dir = await tempDir();
  const { file } = await setUp(dir, { label: "u:r:t:s0" });
  const first = await runMain(["render", "--spec", file]);
  // Where SELinux is enabled there is nothing to say.
  const warnings = first.stderr.split("\n").filter((line) => line !== "");
  assert(warnings.length <= 1, first.stderr);
  assertEquals(first.status, 0);
});

/** Commands that change a pod, each with what it takes beside `--wait`. */
const WAITING: readonly (readonly [command: string, args: (written: Written) => string[]])[] = [
  ["render", ({ file }) => ["--spec", file]],
  ["prepare", ({ file }) => ["--spec", file]],
  ["unmount", ({ spec }) => ["--pod", spec.pod]],
  ["restore", ({ spec }) => ["--pod", spec.pod]],
  ["gc", ({ spec }) => ["--pod", spec.pod]],
];

for (const [command, argsOf] of WAITING) {
  Deno.test(`overlay-render ${command} refuses a --wait that is no length of time`, async () => {
    await using dir = await tempDir();
    const written = await setUp(dir);
    const before = await disk(dir.path);
    for (const wait of ["", "10", "-1s", "1x", "soon", "1s "]) {
      const code = wait === "" ? "usage" : "invalid-value";
      const cause = wait === ""
        ? "Cannot use --wait with an empty value"
        : `Cannot use wait "${wait}"`;
      const args = [command, ...argsOf(written), `--wait=${wait}`];
      await assertRefusedWith(args, { status: 2, code, cause });
    }
    assertEquals(await disk(dir.path), before);
  });

  Deno.test(`overlay-render ${command} --wait waits no longer than that for another one`, async () => {
    await using dir = await tempDir();
    const written = await setUp(dir);
    assertEquals((await runMain(["render", "--spec", written.file])).status, 0);
    if (command === "restore") await sh("umount", ...await mountsBelow(dir.path));
    const lock = `${written.spec.pod}/overlay.lock`;
    await using holder = await holdLock(lock);
    for (const wait of ["0", "50ms"]) {
      const start = performance.now();
      const result = await runMain([command, ...argsOf(written), "--wait", wait]);
      // Who is told nothing waits for ten seconds.
      assert(performance.now() - start < 10_000);
      assertStringIncludes(result.stderr, `process ${holder.pid} holds it`);
      assertEquals(result.status, 3);
    }
  });
}

Deno.test("overlay-render render --spec --wait goes on as soon as the other one has finished", async () => {
  await using dir = await tempDir();
  const written = await setUp(dir);
  await runMain(["prepare", "--spec", written.file]);
  const holder = await holdLock(`${written.spec.pod}/overlay.lock`);
  const render = runMain(["render", "--spec", written.file, "--wait", "5m"]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assertEquals(await mountsBelow(dir.path), []);
  await holder[Symbol.asyncDispose]();
  assertEquals((await render).status, 0);
  assertEquals((await mountsBelow(dir.path)).length, 2);
  await unmountOverlay({ pod: written.spec.pod });
});
