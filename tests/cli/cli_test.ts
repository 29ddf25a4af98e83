import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { overlayStatus, prepareOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { BAKED } from "../../tools/flags.ts";
import { cli } from "../_cli.ts";
import { assertErrorText, assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** One failure for each exit status; `[]` for its flags means that Deno grants nothing. */
const FAILURES: readonly {
  readonly status: number;
  readonly code: string;
  readonly flags?: readonly string[];
  readonly arrange: (dir: TempDir, good: RenderRequest) => Promise<string[]> | string[];
}[] = [
  {
    status: 1,
    code: "missing",
    arrange: (dir, good) => ["render", ...flagsOf({ ...good, lower: dir.join("none") })],
  },
  { status: 1, code: "missing", arrange: (dir) => ["status", "--pod", dir.join("none")] },
  { status: 1, code: "missing", arrange: (dir) => ["unmount", "--pod", dir.join("none")] },
  {
    status: 1,
    code: "missing",
    arrange: async (_dir, good) => {
      await prepareOverlay(good);
      return ["unmount", "--pod", good.pod, "--app", "db"];
    },
  },
  { status: 2, code: "usage", arrange: () => [] },
  { status: 2, code: "usage", arrange: () => ["mount"] },
  { status: 2, code: "usage", arrange: () => ["render"] },
  { status: 2, code: "usage", arrange: (_dir, { pod }) => ["render", "--pod", pod] },
  { status: 2, code: "usage", arrange: (_dir, good) => ["render", ...flagsOf(good), "--force"] },
  { status: 2, code: "usage", arrange: (_dir, good) => ["render", ...flagsOf(good), "web"] },
  { status: 2, code: "usage", arrange: (_dir, { pod }) => ["status", `--pod=${pod}`, "--app=x"] },
  {
    status: 2,
    code: "invalid-value",
    arrange: (_dir, good) => ["render", ...flagsOf({ ...good, dirMode: "0999" })],
  },
  {
    status: 3,
    code: "symlink",
    arrange: async (dir, good) => {
      await Deno.symlink(dir.path, good.pod);
      return ["render", ...flagsOf(good)];
    },
  },
  {
    status: 4,
    code: "permission",
    flags: [],
    arrange: (_dir, good) => ["render", ...flagsOf(good)],
  },
  {
    status: 4,
    code: "permission",
    flags: [],
    arrange: (_dir, { pod }) => ["status", "--pod", pod],
  },
  {
    status: 4,
    code: "permission",
    flags: [],
    arrange: (_dir, { pod }) => ["unmount", "--pod", pod],
  },
];

for (const [at, { status, code, flags = BAKED, arrange }] of FAILURES.entries()) {
  Deno.test(`overlay-render exits ${status} with code ${code}, case ${at + 1}`, async () => {
    await using dir = await tempDir();
    const args = await arrange(dir, await makeRequest(dir));
    const before = await disk(dir.path);
    const text = await cli(args, { flags });
    assertEquals([text.status, text.stdout], [status, ""]);
    assertErrorText(text.stderr);
    const json = await cli([...args, "--json"], { flags });
    assertEquals([json.status, json.stderr], [status, ""]);
    const { message, path, hint } = JSON.parse(json.stdout).error;
    // Exactly these members, in this order, in one line.
    const object = { version: 1, error: { code, message, path, hint } };
    assertEquals(json.stdout, `${JSON.stringify(object)}\n`);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("overlay-render exits 0, and render prints the rootfs alone", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const rootfs = `${request.pod}/apps/web/rootfs`;
  for (const _ of ["first", "second"]) {
    const { status, stdout, stderr } = await cli(["render", ...flagsOf(request)]);
    assertEquals([status, stdout, stderr], [0, `${rootfs}\n`, ""]);
  }
  const status = await cli(["status", "--pod", request.pod]);
  assertEquals(status, {
    status: 0,
    stdout: `APP  TREE   STATE    ROOTFS\nweb  image  mounted  ${rootfs}\n`,
    stderr: "",
  });
  for (const stdout of [`${rootfs}\n`, ""]) {
    const unmount = await cli(["unmount", "--pod", request.pod]);
    assertEquals(unmount, { status: 0, stdout, stderr: "" });
  }
});

Deno.test("overlay-render render prints a path that cd takes", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const pod = dir.join("-pod $x `y`");
  const script = 'cd -- "$("$@")" && cat file';
  const wrapper = ["bash", "-c", script, "bash"];
  const result = await cli(["render", ...flagsOf({ ...request, pod })], { wrapper });
  assertEquals(result, { status: 0, stdout: "from the tree", stderr: "" });
});

Deno.test("main() answers --json with one object that starts with its version", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const { pod } = request;
  const commands = [
    ["plan", ...flagsOf(request)],
    ["prepare", ...flagsOf(request)],
    ["render", ...flagsOf(request)],
    ["status", "--pod", pod],
    ["unmount", "--pod", pod],
  ];
  const keys: Record<string, string[]> = {};
  for (const args of commands) {
    const { status, stdout, stderr } = await runMain([...args, "--json"]);
    assertEquals([status, stderr], [0, ""]);
    assertMatch(stdout, /^\{"version":1,.*\}\n$/);
    keys[args[0] ?? ""] = Object.keys(JSON.parse(stdout));
  }
  const render = ["pod", "app", "tree", "rootfs", "lower", "upper", "work", "options", "mounted"];
  assertEquals(keys, {
    plan: ["version", "operations", "mount", "flags"],
    prepare: ["version", ...render, "changed"],
    render: ["version", ...render, "changed"],
    status: ["version", "renders"],
    unmount: ["version", "pod", "unmounted"],
  });
});

Deno.test("main() answers --json for a command line that it cannot read", async () => {
  for (const args of [["--json"], ["none", "--json"], ["render", "--json", "--pod"]]) {
    const { status, stdout, stderr } = await runMain(args);
    assertEquals([status, stderr], [2, ""]);
    assertEquals(JSON.parse(stdout).error.code, "usage");
  }
});

Deno.test("overlay-render --version prints the version of deno.json", async () => {
  const { version } = config;
  const result = await cli(["--version"], { flags: [] });
  assertEquals(result, { status: 0, stdout: `overlay-render ${version}\n`, stderr: "" });
});

Deno.test("main() helps with each command on stdout, whatever else is asked for", async () => {
  const overview = await runMain(["--help"]);
  for (const args of [["-h"], ["help"]]) {
    assertEquals(await runMain(args), overview);
  }
  for (const command of COMMANDS) {
    const help = await runMain([command, "--help"]);
    assertEquals([help.status, help.stderr], [0, ""]);
    assertStringIncludes(help.stdout, `\nUsage: overlay-render ${command} `);
    // Examples come before the list of flags.
    const [examples, flags] = ["\nExamples:\n", "\nFlags:\n"].map((part) =>
      help.stdout.indexOf(part)
    );
    assertEquals((examples ?? -1) > 0 && (flags ?? -1) > (examples ?? -1), true);
    assertStringIncludes(overview.stdout, `\n  ${command.padEnd(8)} `);
    // What follows the command of unshare is not for unshare.
    const more = command === "unshare" ? [] : ["x"];
    const others = [
      [command, "-h"],
      ["help", command],
      [command, "--none", ...more, "--help", "--pod"],
    ];
    for (const args of others) assertEquals(await runMain(args), help);
  }
  const real = await cli(["render", "--help"], { flags: [] });
  assertEquals(real, await runMain(["render", "--help"]));
});

Deno.test("main() tells each operation and each command line with --verbose, on stderr", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const args = ["render", ...flagsOf(request)];
  const { operations } = JSON.parse((await runMain(["plan", "--json", ...args.slice(1)])).stdout);
  const { status, stdout, stderr } = await runMain([...args, "--verbose"]);
  assertEquals([status, stdout.split("\n").length], [0, 2]);
  const kinds = stderr.trimEnd().split("\n").map((line) => line.split(" ")[0] ?? "");
  assertEquals(
    kinds.filter((kind) => kind !== "run"),
    (operations as { kind: string }[]).map(({ kind }) => kind),
  );
  assertMatch(stderr, /\nrun \/bin\/mount --fstab overlay\.fstab -- \S+\/rootfs\n$/);
  const told = await runMain(["status", "--verbose", "--pod", request.pod]);
  assertEquals(told.status, 0);
  assertMatch(told.stderr, /^(run \/bin\/findmnt .*\n)+$/);
  // What is planned is told, too.
  const unmounted = await runMain(["unmount", "--verbose", "--pod", request.pod]);
  assertEquals(unmounted.status, 0);
  const steps = unmounted.stderr.trimEnd().split("\n").map((line) => line.split(" ")[0] ?? "");
  assertEquals(steps.filter((step) => step !== "run"), ["open", "unmount", "record"]);
  assertMatch(unmounted.stderr, /^run \/bin\/umount -- /m);
});

Deno.test("overlay-render plan warns of options that exclude each other, and of nothing else", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const options = ["index=off", "nfs_export=on"];
  const { status, stderr } = await runMain(["plan", ...flagsOf({ ...request, options })]);
  assertEquals(status, 3);
  assertMatch(stderr, /^error: Cannot mount "\S+\/rootfs": option "index=off" excludes /);
  assertMatch(
    stderr,
    /\nhint: leave out "index=off" or "nfs_export=on", which exclude each other: .+\n$/,
  );
  const { stderr: nothing } = await runMain(["plan", ...flagsOf(request)]);
  assertEquals(nothing, "");
});

Deno.test("main() warns unless it is told to be quiet", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const labelled = { ...request, label: "u:r:t:s0" };
  for (const [flag, warnings] of [["--json", 1], ["--quiet", 0], ["-q", 0]] as const) {
    const { status, stderr } = await runMain(["render", flag, ...flagsOf(labelled)]);
    assertEquals([status, stderr.split("\n").length - 1], [0, warnings]);
    assertEquals(stderr.startsWith("warning: ") || warnings === 0, true);
  }
  const none = dir.join("none");
  const failed = await runMain(["render", "--quiet", ...flagsOf({ ...request, lower: none })]);
  assertEquals(failed.status, 1);
  assertErrorText(failed.stderr);
});

Deno.test("overlay-render takes relative paths from the working directory", async () => {
  await using dir = await tempDir();
  await makeRequest(dir);
  await Deno.mkdir(dir.join("sub"));
  await Deno.writeTextFile(dir.join("manifest.json"), "{}");
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const paths = ["--lower", "../image/.", "--pod=./../pod//", "--dest", "dest", "--manifest"];
  const args = ["render", ...paths, "../manifest.json", ...marks];
  const options = { cwd: dir.join("sub") };
  const { status, stdout, stderr } = await cli(args, options);
  assertEquals([status, stdout, stderr], [0, `${dir.join("sub", "dest", "rootfs")}\n`, ""]);
  assertEquals(await isMissing(dir.join("sub", "dest", "manifest")), false);
  const shown = await cli(["status", "--pod", "../pod", "--json"], options);
  const [render] = JSON.parse(shown.stdout).renders;
  assertEquals([render.pod, render.lower], [dir.join("pod"), [dir.join("image")]]);
  assertEquals((await cli(["unmount", "--pod", "../pod"], options)).status, 0);
  assertEquals(await mountsBelow(dir.path), []);
});

Deno.test("overlay-render does not mind that nobody reads what it prints", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const script = '"$@" | true; exit "${PIPESTATUS[0]}"';
  const wrapper = ["bash", "-c", script, "bash"];
  const all = [
    ["plan", ...flagsOf(request)],
    ["render", ...flagsOf(request)],
    ["status", "--pod", request.pod],
    ["unmount", "--pod", request.pod],
    ["--help"],
  ];
  for (const args of all) {
    const { status, stderr } = await cli(args, { wrapper });
    assertEquals([status, stderr], [0, ""], args[0]);
  }
  // A failure is one all the same.
  const failed = await cli(["status", "--json", "--pod", dir.join("none")], { wrapper });
  assertEquals([failed.status, failed.stderr], [1, ""]);
  const unheard = ["bash", "-c", '"$@" 2> >(true)', "bash"];
  assertEquals((await cli(["status", "--pod", dir.join("none")], { wrapper: unheard })).status, 1);
});

Deno.test("overlay-render takes back what it made when Deno denies something inside the pod", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const before = await disk(dir.path);
  // The pod as a whole is granted, and then a part of it is not.
  const flags = [...BAKED, `--deny-write=${request.pod}/overlay`];
  const args = ["render", ...flagsOf(request)];
  const text = await cli(args, { flags });
  assertEquals([text.status, text.stdout], [4, ""]);
  assertErrorText(text.stderr);
  assertStringIncludes(text.stderr, `${request.pod}/overlay`);
  assertEquals(await disk(dir.path), before);
  const json = await cli([...args, "--json"], { flags });
  assertEquals([json.status, json.stderr], [4, ""]);
  assertEquals(JSON.parse(json.stdout).error.code, "permission");
  assertEquals(await disk(dir.path), before);
});

Deno.test("main() shows where an error comes from that it does not expect", async () => {
  const cwd = () => {
    throw new TypeError("a mistake of ours");
  };
  const { status, stdout, stderr } = await runMain(["render", "--pod", "x"], { cwd });
  assertEquals([status, stdout], [1, ""]);
  assertMatch(
    stderr,
    /^error: Internal error: TypeError: a mistake of ours \(please report it\)\n {4}at /,
  );
  const json = await runMain(["render", "--pod", "x", "--json"], { cwd });
  assertEquals(json.status, 1);
  const { version, error } = JSON.parse(json.stdout);
  assertEquals([version, error.code, error.path], [1, "failed", null]);
  assertStringIncludes(error.message, "a mistake of ours");
});

Deno.test("main() takes its handler of signals back, whether it succeeds or fails", async () => {
  await using dir = await tempDir();
  const good = await makeRequest(dir);
  const none = dir.join("none");
  for (const request of [good, { ...good, app: "db", lower: none }]) {
    let listening = 0;
    const onSignal = () => {
      listening++;
      return () => void listening--;
    };
    await runMain(["render", ...flagsOf(request)], { onSignal });
    await runMain(["unmount", "--pod", request.pod], { onSignal });
    assertEquals(listening, 0);
  }
});

Deno.test("main() says how a command line is wrong, and what is allowed", async () => {
  await using dir = await tempDir();
  const pod = `--pod=${dir.join("pod")}`;
  const cases = [
    [["render", pod, pod], "it was given before"],
    [["render", pod, "--json=1"], "--json takes no value"],
    [["render", pod, "--lower"], "nothing follows"],
    [["render", "--lower", pod], "is a flag"],
    [["render", pod, "--lower="], "with an empty value"],
    [["render", pod, "-x"], "has no such flag"],
    [["render", pod, "--"], "takes flags only"],
    [["render", pod, "--profile=none"], "it must be rootfs-mode, fixed-mode or manifest"],
    [["render", pod, "--lower=/x", "--dir-mode=9"], "three or four octal digits"],
  ] as const;
  for (const [args, cause] of cases) {
    const code = cause.startsWith("it must be") || cause.includes("octal")
      ? "invalid-value"
      : "usage";
    await assertFails(dir.path, [...args], { status: 2, code, cause });
  }
});

Deno.test("overlay-render on a full stdout says that the work is done, and it is", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const pod = dir.join("pod");
  const marks = MARKS.map((mark) => `--option=${mark}`);
  const wrapper = ["sh", "-c", 'exec "$@" >/dev/full', "sh"];
  for (const [app, more] of [["web", []], ["db", ["--json"]]] as const) {
    const args = ["render", "--lower", lower, "--pod", pod, "--app", app, ...marks, ...more];
    const { status, stderr } = await cli(args, { wrapper });
    assertEquals(status, 1);
    assertMatch(
      stderr,
      /^error: Cannot write the result: .*; what was asked for is done, and stays\nhint: .*\n$/,
    );
    assertEquals((await overlayStatus(pod)).find((found) => found.app === app)?.mounted, true);
  }
  // An error that cannot be told on stdout is told on stderr.
  const { status, stderr } = await cli(["unmount", "--pod", "/no/pod", "--json"], { wrapper });
  assertEquals(status, 1);
  assertMatch(stderr, /^error: Cannot use pod "\/no\/pod": it does not exist\nhint: .*\n$/);
});

Deno.test("overlay-render plan exits as the render of it would", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir);
  const lower = `${request.lower}`;
  await Deno.symlink(lower, dir.join("link"));
  const cases: readonly (readonly [Partial<RenderRequest>, number])[] = [
    [{}, 0],
    [{ lower: dir.join("none") }, 1],
    [{ lower: `${lower}/file` }, 1],
    [{ lower: [lower, dir.join("link")] }, 3],
    [{ pod: dir.join("link/pod") }, 3],
    [{ options: ["index=off", "nfs_export=on"] }, 3],
  ];
  for (const [more, expected] of cases) {
    const flags = flagsOf({ ...request, ...more });
    for (
      const args of [["plan"], ["plan", "--json"], ["render", "--dry-run"], ["plan", "--quiet"]]
    ) {
      const { status, stdout, stderr } = await runMain([...args, ...flags]);
      assertEquals([status, stdout !== ""], [expected, true], `${args} ${flags}`);
      assertEquals(stderr.startsWith("error: Cannot "), expected !== 0, stderr);
    }
    const render = await runMain(["render", ...flags]);
    assertEquals(render.status, expected, render.stderr);
  }
});

Deno.test("main() prints with --flags the flags of the plan alone, in one line for a shell", async () => {
  await using dir = await tempDir();
  const { lower, ...request } = await makeRequest(dir);
  const odd = { ...request, lower: `${lower}`, pod: dir.join("pod 1") };
  for (const command of ["plan", "prepare", "render"]) {
    const dry = await runMain([command, "--dry-run", "--json", ...flagsOf(odd)]);
    const { flags } = JSON.parse(dry.stdout) as { flags: string[] };
    const args = [command, "--flags", ...flagsOf(odd)];
    const { status, stdout, stderr } = await runMain(args);
    assertEquals([status, stderr, stdout.split("\n").length], [0, "", 2]);
    assertEquals(await sh("sh", "-c", `printf '%s\\n' ${stdout.trim()}`), `${flags.join("\n")}\n`);
    const json = await runMain([...args, "--json"]);
    assertEquals(JSON.parse(json.stdout), { version: 1, flags });
  }
  assertEquals(await isMissing(odd.pod), true);
});
