import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { diagnose, InvalidValueError } from "../../mod.ts";
import type { Check, Diagnosis, DoctorRequest } from "../../mod.ts";
import { isAtLeast } from "../../lib/system/util_linux.ts";
import { cli } from "../_cli.ts";
import {
  hasLoopDevices,
  mountOverlay,
  mountRamfs,
  mountTmpfs,
  mountWithoutTypes,
} from "../_disks.ts";
import { disk, runMain } from "../_main.ts";
import { counter } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { MARKS, namesIn } from "../_tree.ts";

/** Everything that is tried where nothing is missing, in the order in which it is told. */
/** What a render takes in a user namespace. */
const HOW = MARKS.map((option) => ` with --option ${option}`).join("");

const NAMES = [
  ...["Deno", "permissions of Deno", "mount", "umount", "findmnt", "file system", "overlayfs"],
  ...["volatile", "metacopy=on", "redirect_dir=on", "index=on", "xino=on", "userxattr"]
    .map((option) => `overlayfs with ${option}`),
  ...["user namespaces", "overlayfs in a user namespace", "SELinux", "idmapped mounts"],
];

function namesOf(checks: readonly Check[]): string[] {
  return checks.map(({ name }) => name);
}

function checkOf({ checks }: Diagnosis, name: string): Check {
  const check = checks.find((check) => check.name === name);
  assert(check !== undefined, `there is no check of ${name}`);
  return check;
}

/** A check is of use when it says what was done, what came of it, and what to do if it failed. */
function assertTold(checks: readonly Check[]): void {
  assertEquals(new Set(namesOf(checks)).size, checks.length);
  for (const { name, how, found, hint, ok, needed } of checks) {
    for (const text of [name, how, found]) assertMatch(text, /^\S([^\n]*\S)?$/);
    if (ok === false && needed) assertMatch(hint ?? "", /^[a-z]/, name);
    if (ok === true) assertEquals(hint, null, name);
  }
}

/** Looks at a place, and checks that the directory is as it was. */
async function diagnosed(dir: TempDir, request: DoctorRequest): Promise<Diagnosis> {
  const before = await disk(dir.path);
  const diagnosis = await diagnose(request);
  assertEquals(await disk(dir.path), before);
  assertTold(diagnosis.checks);
  return diagnosis;
}

Deno.test("isAtLeast() compares versions by their numbers", { permissions: "none" }, () => {
  const table: readonly (readonly [version: string, least: string, expected: boolean])[] = [
    ["2.38", "2.38", true],
    ["2.38.1", "2.38", true],
    ["2.38", "2.38.0", true],
    ["2.38", "2.38.1", false],
    ["2.4", "2.38", false],
    ["2.100", "2.38", true],
    ["2.37.9", "2.38", false],
    ["3", "2.38", true],
    ["3.0", "2.38", true],
    ["1.99", "2.38", false],
    ["2", "2.0", true],
    ["2.9.6", "2.4", true],
    ["", "0.1", false],
  ];
  for (const [version, least, expected] of table) {
    assertEquals(isAtLeast(version, least), expected, `${version} ${least}`);
  }
});

for (const state of ["there", "not there yet", "a file"]) {
  Deno.test(`diagnose() says that a render will work here, in a pod that is ${state}`, async () => {
    await using dir = await tempDir();
    if (state === "there") await Deno.mkdir(dir.join("pod"));
    if (state === "a file") await Deno.writeTextFile(dir.join("pod"), "");
    const pod = state === "not there yet" ? dir.join("pod", "below") : dir.join("pod");
    const diagnosis = await diagnosed(dir, { pod });
    assertEquals(diagnosis.healthy, true);
    assertEquals(namesOf(diagnosis.checks), NAMES);
    for (const { name, ok } of diagnosis.checks.slice(0, 6)) assertEquals(ok, true, name);
    const place = state === "there" ? pod : dir.path;
    assertStringIncludes(checkOf(diagnosis, "overlayfs").how, `mounted in ${place}/`);
  });
}

Deno.test("diagnose() without a pod looks at /tmp, and leaves nothing there", async () => {
  const [names, mounts] = [await namesIn("/tmp"), await mountsBelow("/tmp")];
  const { checks } = await diagnose();
  assertTold(checks);
  assert(checks.some(({ how }) => how.includes("/tmp/overlay-render-probe-")));
  const probes = (all: readonly string[]) =>
    all.filter((name) => /overlay-render-probe/.test(name));
  assertEquals(probes(await namesIn("/tmp")), probes(names));
  assertEquals(probes(await mountsBelow("/tmp")), probes(mounts));
});

Deno.test("diagnose() says what overlayfs can do, as the kernel says it", async () => {
  await using dir = await tempDir();
  const diagnosis = await diagnosed(dir, { pod: dir.path });
  const type = (await sh("findmnt", "-no", "FSTYPE", "-T", dir.path)).trim();
  assertEquals(checkOf(diagnosis, "file system").found, type);
  // Without the mark, nothing that was deleted can be made again in a user namespace.
  const { ok, hint } = checkOf(diagnosis, "overlayfs");
  assertEquals([ok, /userxattr/.test(hint ?? "")], [isRealRoot, !isRealRoot]);
  assertEquals(checkOf(diagnosis, "overlayfs with userxattr").ok, true);
  assertEquals(diagnosis.options, MARKS);
  const version = /\d+\.\d+(\.\d+)?/.exec(await sh("mount", "--version"))?.[0];
  assertEquals(checkOf(diagnosis, "mount").found, version);
  assertEquals(checkOf(diagnosis, "Deno").found, Deno.version.deno);
});

Deno.test("diagnose() says that no upper can lie on an overlay, and what to do", async () => {
  await using dir = await tempDir();
  const root = await mountOverlay(dir);
  const diagnosis = await diagnosed(dir, { pod: `${root}/pods/one` });
  assertEquals(diagnosis.healthy, false);
  assertEquals(checkOf(diagnosis, "file system").found, "overlay");
  const { ok, found, hint } = checkOf(diagnosis, "overlayfs");
  assertEquals([ok, found.includes(root)], [false, false]);
  assertStringIncludes(hint ?? "", "ext4, xfs or btrfs, or on a tmpfs");
  assertStringIncludes(hint ?? "", "--overlay never");
});

Deno.test("diagnose() says that a pod can lie on a tmpfs", async () => {
  await using dir = await tempDir();
  const diagnosis = await diagnosed(dir, { pod: await mountTmpfs(dir.join("pod")) });
  assertEquals([diagnosis.healthy, checkOf(diagnosis, "file system").found], [true, "tmpfs"]);
});

Deno.test({
  name: "diagnose() says that no upper can lie on ramfs" +
    (isRealRoot ? "" : " [skipped: needs root]"),
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const diagnosis = await diagnosed(dir, { pod: await mountRamfs(dir.join("pod")) });
    const { ok, hint } = checkOf(diagnosis, "overlayfs");
    assertEquals([diagnosis.healthy, ok], [false, false]);
    assertStringIncludes(hint ?? "", "give a pod on a disk with ext4, xfs or btrfs, or on a tmpfs");
  },
});

const loops = isRealRoot && await hasLoopDevices();

Deno.test({
  name: "diagnose() says that deleted files would be listed still, and how to make the disk anew" +
    (loops ? "" : " [skipped: needs root, mkfs.ext4 and a loop device]"),
  ignore: !loops,
  fn: async () => {
    await using dir = await tempDir();
    const diagnosis = await diagnosed(dir, { pod: await mountWithoutTypes(dir.join("pod")) });
    const { ok, found, hint } = checkOf(diagnosis, "overlayfs");
    assertEquals([diagnosis.healthy, ok], [false, false]);
    assertEquals(found, "a file that was deleted is listed still (d_type)");
    assertStringIncludes(hint ?? "", "mkfs.ext4 -O filetype");
  },
});

Deno.test("diagnose() says that nothing can be written in a place, and tries no more", async () => {
  await using dir = await tempDir();
  const pod = await mountTmpfs(dir.join("pod"), "ro");
  const { healthy, checks } = await diagnosed(dir, { pod });
  const names = ["Deno", "permissions of Deno", "a place for the pod"];
  assertEquals([healthy, namesOf(checks)], [false, names]);
  const { found, how, hint } = checkOf({ healthy, checks, options: [] }, "a place for the pod");
  assertStringIncludes(found, "Read-only file system");
  assertStringIncludes(how, pod);
  assertMatch(hint ?? "", /writable/);
});

Deno.test("diagnose() takes no relative path", async () => {
  await assertRejects(() => diagnose({ pod: "pod" }), InvalidValueError);
});

Deno.test("diagnose() tells each command line, and runs no other programs", async () => {
  await using dir = await tempDir();
  const { trace, lines } = counter();
  await diagnose({ pod: dir.path }, { trace });
  const programs = lines.map((line) => line.split(" ").slice(0, 2).join(" "));
  assertEquals([...new Set(programs)].sort(), [
    ...["run /bin/findmnt", "run /bin/mount", "run /bin/umount"],
    "run /bin/unshare",
  ]);
});

const RUN = ["mount", "umount", "findmnt", "find"].map((name) => `/bin/${name}`);

/** Too few permissions, and the flags that are missing. */
const LACKING: readonly {
  readonly name: string;
  readonly permissions: Deno.PermissionOptions;
  readonly missing: readonly string[];
}[] = [
  {
    name: "no permission",
    permissions: "none",
    missing: [
      ...RUN.map((path) => `--allow-run=${path}`),
      "--allow-read=/tmp",
      "--allow-write=/tmp",
      "--allow-sys=uid",
    ],
  },
  {
    name: "reading alone",
    permissions: { read: true },
    missing: [...RUN.map((path) => `--allow-run=${path}`), "--allow-write=/tmp", "--allow-sys=uid"],
  },
  {
    name: "nothing but findmnt",
    permissions: {
      read: true,
      write: true,
      run: ["/bin/findmnt", "/bin/find"],
      sys: ["uid"],
    },
    missing: ["--allow-run=/bin/mount", "--allow-run=/bin/umount"],
  },
  {
    name: "a program that only has the name of mount",
    permissions: {
      read: true,
      write: true,
      run: [...RUN.slice(1), "/usr/local/bin/mount"],
      sys: ["uid"],
    },
    missing: ["--allow-run=/bin/mount"],
  },
];

for (const { name, permissions, missing } of LACKING) {
  Deno.test(`diagnose() with ${name} says what is missing, and does nothing`, {
    permissions,
  }, async () => {
    const { trace, lines } = counter();
    const { healthy, checks } = await diagnose({}, { trace });
    assertEquals([healthy, lines], [false, []]);
    assertTold(checks);
    assertEquals(namesOf(checks), ["Deno", "permissions of Deno"]);
    const { ok, needed, found, hint } = checkOf(
      { healthy, checks, options: [] },
      "permissions of Deno",
    );
    assertEquals([ok, needed, found], [false, true, `missing ${missing.join(" ")}`]);
    assertStringIncludes(hint ?? "", "flags of deno run");
  });
}

Deno.test("overlay-render doctor prints a line for each check, and what it comes to", async () => {
  await using dir = await tempDir();
  for (const run of [runMain, cli]) {
    const { status, stdout, stderr } = await run(["doctor", "--pod", dir.path]);
    assertEquals([status, stderr], [0, ""]);
    const lines = stdout.split("\n").filter((line) => !/^ +hint: \S/.test(line));
    assertEquals(lines.splice(-2), [`A render will work${HOW}.`, ""]);
    const named = lines.map((line) =>
      /^(?:yes|no {1}|\? {2}) {2}(\S.*?) {2,}\S.* {2}\(.+\)$/.exec(line)
    );
    assertEquals(named.map((match) => match?.[1]), NAMES, stdout);
    assertEquals(await namesIn(dir.path), []);
  }
});

Deno.test("overlay-render doctor --json prints one object", async () => {
  await using dir = await tempDir();
  for (const run of [runMain, cli]) {
    const { status, stdout, stderr } = await run(["doctor", "--json", "--pod", dir.path]);
    assertEquals([status, stderr], [0, ""]);
    assertMatch(stdout, /^{"version":1,"healthy":true,"checks":\[.*\]}\n$/);
    const diagnosis = JSON.parse(stdout) as { checks: Check[] };
    const { checks } = diagnosis;
    assertEquals(Object.keys(diagnosis).sort(), ["checks", "healthy", "options", "version"]);
    assertEquals(namesOf(checks), NAMES);
    for (const check of checks) {
      assertEquals(Object.keys(check).sort(), ["found", "hint", "how", "name", "needed", "ok"]);
    }
  }
});

Deno.test("overlay-render doctor in a user namespace says which option a render takes, as its probe found", async () => {
  await using dir = await tempDir();
  const wrapper = ["unshare", "--user", "--map-root-user", "--mount"];
  const { status, stdout } = await cli(["doctor", "--pod", dir.path], { wrapper });
  assertEquals(status, 0, stdout);
  assertMatch(stdout, /^no {3}overlayfs {2,}\S/m);
  assert(stdout.endsWith("\nA render will work with --option userxattr.\n"), stdout);
  const json = await cli(["doctor", "--pod", dir.path, "--json"], { wrapper });
  const { healthy, options } = JSON.parse(json.stdout);
  assertEquals([healthy, options], [true, ["userxattr"]]);
});

Deno.test("overlay-render doctor exits with 1 where a render will not work", async () => {
  await using dir = await tempDir();
  const pod = `${await mountOverlay(dir)}/pod`;
  for (const run of [runMain, cli]) {
    const text = await run(["doctor", "--pod", pod]);
    assertEquals([text.status, text.stderr], [1, ""]);
    assertMatch(text.stdout, /^no {3}overlayfs {2,}\S.*\n +hint: \S.*$/m);
    assert(text.stdout.endsWith("\nA render will not work.\n"));
    const json = await run(["doctor", "--pod", pod, "--json"]);
    assertEquals([json.status, json.stderr, JSON.parse(json.stdout).healthy], [1, "", false]);
  }
});

Deno.test("overlay-render doctor takes a relative pod from where it is run", async () => {
  await using dir = await tempDir();
  const { stdout } = await runMain(["doctor", "--pod", "pod"], { cwd: () => dir.path });
  assertStringIncludes(stdout, `(mounted in ${dir.path}/overlay-render-probe-`);
  assertEquals((await runMain(["doctor", "--pod="])).status, 2);
});

Deno.test("overlay-render doctor --verbose shows what it runs on stderr", async () => {
  await using dir = await tempDir();
  const { status, stderr } = await runMain(["doctor", "--pod", dir.path, "--verbose"]);
  assertEquals(status, 0);
  for (const line of stderr.trimEnd().split("\n")) assertMatch(line, /^run \/bin\/\w+ /);
  assertStringIncludes(stderr, "run /bin/mount --types overlay ");
});

/** What can be in the place of a program, and what the doctor finds of it. */
const PROGRAMS: readonly (readonly [name: string, script: string, found: RegExp])[] = [
  ["that is too old", "#!/bin/sh\necho findmnt from util-linux 2.37.4\n", /^2\.37\.4$/],
  ["of another package", "#!/bin/sh\necho BusyBox v1.36.1\n", /^not of util-linux: BusyBox/],
  ["that says nothing", "#!/bin/sh\nexit 1\n", /^not of util-linux: it says nothing$/],
  ["that cannot be run", "no program", /^Cannot run "\/bin\/findmnt": /],
];

for (const [name, script, found] of PROGRAMS) {
  Deno.test(`overlay-render doctor finds a findmnt ${name}, and mounts nothing`, async () => {
    await using dir = await tempDir();
    const [program, pod] = [dir.join("findmnt"), dir.join("pod")];
    await Deno.mkdir(pod);
    await Deno.writeTextFile(program, script, {
      mode: found.source.includes("Cannot") ? 0o644 : 0o755,
    });
    // In a mount namespace of its own another program can have that path.
    const replaced = 'mount --bind "$0" /bin/findmnt && exec "$@"';
    const wrapper = ["unshare", "--mount", "sh", "-c", replaced, program];
    const { status, stdout } = await cli(["doctor", "--json", "--pod", pod], { wrapper });
    const diagnosis = JSON.parse(stdout) as Diagnosis;
    assertEquals([status, diagnosis.healthy], [1, false]);
    assertEquals(namesOf(diagnosis.checks), NAMES.slice(0, 5));
    const check = checkOf(diagnosis, "findmnt");
    assertEquals([check.ok, check.hint], [false, "install util-linux 2.38 or newer"]);
    assertMatch(check.found, found);
    assertEquals(await namesIn(pod), []);
  });
}

Deno.test({
  name: "overlay-render doctor tells who may not mount how to do so [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const wrapper = ["setpriv", "--bounding-set=-sys_admin"];
    const { status, stdout } = await cli(["doctor", "--pod", dir.path], { wrapper });
    assertEquals(status, 1);
    assertMatch(stdout, /^no {3}overlayfs {2}.*\n +hint: run as root, or inside: unshare --user /m);
    assertEquals(await namesIn(dir.path), []);
  },
});

/** The flags that the help names, for a directory; those of the same name made one. */
async function documentedFlags(directory: string): Promise<string[]> {
  const { stdout } = await runMain(["doctor", "--help"]);
  const [, permissions = ""] = stdout.split("\nPermissions");
  const flags = permissions.match(/--allow-\w+=\S+/g) ?? [];
  const byName = Map.groupBy(flags, (flag) => flag.split("=")[0] ?? "");
  return [...byName].map(([name, all]) => {
    const values = all.map((flag) => flag.slice(name.length + 1).replace(/^DIR$/, directory));
    return `${name}=${values.join(",")}`;
  });
}

const noTerminal = !await hasScript();
const suffix = noTerminal ? " [skipped: needs script(1)]" : "";

for (const isThere of [true, false]) {
  Deno.test({
    name:
      `overlay-render doctor works on a terminal with the flags that its help names, for a pod ` +
      `that is ${isThere ? "there" : "not there yet"}${suffix}`,
    ignore: noTerminal,
    fn: async () => {
      await using dir = await tempDir();
      const flags = await documentedFlags(dir.path);
      assertEquals(flags.map((flag) => flag.split("=")[0]), [
        ...["--allow-read", "--allow-write", "--allow-run", "--allow-sys"],
      ]);
      const pod = isThere ? dir.path : dir.join("pods", "one");
      const { status, stdout } = await onTerminal(["doctor", "--pod", pod], flags);
      assertEquals([status, stdout.endsWith(`\nA render will work${HOW}.\n`)], [0, true], stdout);
      // With all of them there is nothing that could not be tried.
      assertEquals(/^\?/m.test(stdout), false, stdout);
      assertEquals(await namesIn(dir.path), []);
    },
  });
}

Deno.test("overlay-render doctor needs each of the flags that its help names, but for unshare", async () => {
  await using dir = await tempDir();
  const flags = await documentedFlags(dir.path);
  const lacks = flags.flatMap((flag, at) => {
    const [name = "", list = ""] = flag.split("=");
    return list.split(",").map((value) => {
      const rest = list.split(",").filter((other) => other !== value).join(",");
      const less = rest === "" ? flags.toSpliced(at, 1) : flags.with(at, `${name}=${rest}`);
      return { missing: `${name}=${value}`, less };
    });
  });
  assertEquals(lacks.length, 8);
  for (const { missing, less } of lacks) {
    const { status, stdout, stderr } = await cli(["doctor", "--pod", dir.path], { flags: less });
    assertEquals([await namesIn(dir.path), stderr], [[], ""]);
    if (missing.endsWith("/unshare")) {
      assertEquals(status, 0);
      assertEquals(stdout.match(new RegExp(`^\\?.*not tried without ${missing}`, "gm"))?.length, 2);
    } else {
      assertEquals(status, 1, missing);
      assertStringIncludes(stdout, `missing ${missing}  (`);
    }
  }
});
