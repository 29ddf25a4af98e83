/**
 * Mounts that the kernel refuses although nothing spoke against them before, and plans of them: the cause is
 * named, found out by the thorough look.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  MountError,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  restoreOverlays,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { collectFindings } from "../../lib/preflight/run_preflight.ts";
import { planRender } from "../../lib/plan/plan.ts";
import { cli } from "../_cli.ts";
import { mountRamfs, mountTooDeep } from "../_disks.ts";
import { disk, flagsOf, runMain } from "../_main.ts";
import { isRealRoot } from "../_privilege.ts";
import { makeRequest } from "../_scene.ts";
import { mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

/** What the plan of a request warns of, and what it says to do; each warning has its hint. */
async function warnings(request: RenderRequest): Promise<string> {
  const { status, stderr } = await runMain(["plan", ...flagsOf(request)]);
  assertMatch(stderr, /^((warning|error): Cannot .+\nhint: .+\n)*$/);
  // The render of it would fail, or be refused.
  assertEquals(status !== 0, stderr.includes("error: "));
  return stderr;
}

interface Case {
  readonly name: string;
  /** Set if only the machine's root can put it into place. @default {false} */
  readonly root?: boolean;
  readonly arrange: (dir: TempDir, request: RenderRequest) => Promise<RenderRequest>;
  /** What the hint of the error says; the plan says it in the same words. */
  readonly cause: (dir: TempDir) => string;
  /** What a link in the request is called by, and where it leads: the plan keeps the name that is given. */
  readonly link?: readonly [name: string, to: string];
}

const CASES: readonly Case[] = [
  {
    name: "a lower that is an overlay on an overlay",
    arrange: async (dir, request) => ({ ...request, lower: await mountTooDeep(dir.join("deep")) }),
    cause: (dir) => `Cannot use lower "${dir.join("deep")}": it is an overlay on an overlay`,
  },
  {
    name: "the second of two lowers, behind a symlink and below an overlay on an overlay",
    arrange: async (dir, request) => {
      await Deno.mkdir(dir.join("deep-a", "below", "this"), { recursive: true });
      await mountTooDeep(dir.join("deep"));
      await Deno.symlink("deep/below", dir.join("link"));
      return { ...request, lower: [`${request.lower}`, dir.join("link", "this")] };
    },
    cause: (dir) =>
      `Cannot use lower "${dir.join("deep", "below", "this")}": it is an overlay on an overlay`,
    link: ["/link/", "/deep/below/"],
  },
  {
    name: "a lower on proc",
    root: true,
    arrange: async (dir, request) => {
      await Deno.mkdir(dir.join("proc"));
      await sh("mount", "-t", "proc", "proc", dir.join("proc"));
      return { ...request, lower: dir.join("proc", "fs") };
    },
    cause: (dir) =>
      `Cannot use lower "${dir.join("proc", "fs")}": it lies on a file system of type proc`,
  },
  {
    name: "a work that is a mount of its own",
    arrange: async (_, request) => {
      const { work } = await prepareOverlay(request);
      await sh("mount", "--bind", "--", `${work}`, `${work}`);
      return request;
    },
    cause: (dir) => {
      const [upper, work] = ["upper", "work"].map((name) => dir.join("pod/overlay/t", name, "web"));
      return `Cannot mount upper "${upper}": its work "${work}" lies in another mount`;
    },
  },
];

for (const { name, root = false, arrange, cause, link: [given, to] = ["", ""] } of CASES) {
  const ignore = root && !isRealRoot;
  const suffix = ignore ? " [skipped: needs root]" : "";
  Deno.test({
    name: `renderOverlay() that fails names ${name}, and plan says it${suffix}`,
    ignore,
    fn: async () => {
      await using dir = await tempDir();
      const request = await arrange(dir, await makeRequest(dir, { tree: "t" }));
      // What lies in proc changes all the time.
      const look = async () => [await snapshot(dir.path), await mountsBelow(dir.path)];
      const before = await look();
      const error = await assertRejects(() => renderOverlay(request), MountError);
      assertStringIncludes(error.failure.stderr, "wrong fs type");
      assertEquals(error.hint?.slice(0, cause(dir).length), cause(dir));
      const told = (await warnings(request)).replace(given, to);
      assertStringIncludes(told, `error: ${cause(dir)}`);
      assertStringIncludes(error.hint ?? "", told.split("\nhint: ")[1]?.trim() ?? "no hint");
      assertEquals(await look(), before);
    },
  });
}

Deno.test("renderOverlay() and plan take a lower on an overlay, which may be one", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir, { tree: "t" });
  await mountTooDeep(dir.join("deep"));
  const fine = { ...request, lower: dir.join("deep-below") };
  assertEquals(await warnings(fine), "");
  assertEquals((await renderOverlay(fine)).mounted, true);
});

Deno.test("restoreOverlays() names the option that this kernel does not know", async () => {
  await using dir = await tempDir();
  const request = await makeRequest(dir, { tree: "t" });
  const { options } = await prepareOverlay(request);
  const path = `${request.pod}/overlay.fstab`;
  const text = await Deno.readTextFile(path);
  // As an older kernel sees what a newer one took.
  const line = text.replace(options, `${options},volatile,no_such_option`).replace(",noauto", "");
  await Deno.writeTextFile(path, line);
  const { restored, failed } = await restoreOverlays({ pod: request.pod });
  assertEquals([restored, failed.map(({ code }) => code)], [[], ["mount-failed"]]);
  assertMatch(
    failed[0]?.hint ?? "",
    /^Cannot mount ".*": this kernel does not know option "no_such_option"; leave out "no_such_/,
  );
});

Deno.test("overlay-render plan warns that a label will be left out, and a failed mount does not blame it", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir, { tree: "t" }), label: "u:r:t:s0" };
  assertEquals(
    await warnings(request),
    'warning: Cannot set label "u:r:t:s0": SELinux is not enabled, so it will be left out\n' +
      "hint: leave out --label where there is no SELinux\n",
  );
  const lower = await mountTooDeep(dir.join("deep"));
  const error = await assertRejects(() => renderOverlay({ ...request, lower }), MountError);
  assertMatch(error.hint ?? "", /^Cannot use lower/);
});

Deno.test({
  name:
    "renderOverlay() shows where the kernel's own words are, among what it was asked afterwards",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = { ...await makeRequest(dir, { tree: "t" }), options: ["index=on"] };
    await renderOverlay(request);
    await unmountOverlay({ pod: request.pod });
    // The upper knows which lower it belongs to.
    await Deno.rename(`${request.lower}`, dir.join("old"));
    await makeTree(dir.join("image"));
    const error = await assertRejects(() => renderOverlay(request), MountError);
    assertStringIncludes(error.message, "Stale file handle");
    const [, command = ""] =
      /the kernel's own words are at the end of: (.+)$/.exec(error.hint ?? "") ??
        [];
    const words = (await sh("sh", "-c", command)).trimEnd().split("\n").slice(-200).join("\n");
    assertMatch(words, /overlayfs: .*origin/);
    assertEquals(words.includes("/bin/mount/none"), false);
  },
});

/** What can be in the place of mount(8), and what plan says of it. */
const PROGRAMS: readonly (readonly [name: string, script: string, mode: number, found: RegExp])[] =
  [
    [
      "that is too old",
      "#!/bin/sh\necho mount from util-linux 2.37.4\n",
      0o755,
      /it is of util-linux 2\.37\.4, which is too old$/m,
    ],
    [
      "of another package",
      "#!/bin/sh\necho BusyBox v1.36.1\n",
      0o755,
      /it is not that of util-linux: BusyBox v1\.36\.1$/m,
    ],
    [
      "that cannot be run",
      "no program",
      0o644,
      /it is not that of util-linux: Cannot run "\/bin\/mount": .*Permission denied$/m,
    ],
  ];

for (const [name, script, mode, found] of PROGRAMS) {
  Deno.test(`overlay-render plan warns of a mount ${name}`, async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir, { tree: "t" });
    const [program, log] = [dir.join("program"), dir.join("log")];
    const lines = script.split("\n").toSpliced(1, 0, `echo "$@" >> ${log}`);
    await Deno.writeTextFile(program, lines.join("\n"), { mode });
    await Deno.writeTextFile(log, "");
    // In a mount namespace of its own another program can have that path.
    const replaced = 'mount --bind "$0" /bin/mount && exec "$@"';
    const wrapper = ["unshare", "--mount", "sh", "-c", replaced, program];
    const { status, stderr } = await cli(["plan", ...flagsOf(request)], { wrapper });
    assertEquals(status, 1);
    assertMatch(stderr, /^error: Cannot mount with "\/bin\/mount": /);
    assertMatch(stderr, found);
    assertMatch(stderr, /\nhint: install util-linux 2\.38 or newer\n$/);
    // What another package's would do with an overlay is not known, so it is not told to mount one.
    const asked = (await Deno.readTextFile(log)).split("\n").filter((line) => line !== "");
    assertEquals(
      asked.filter((line) => line !== "--version").length,
      script.includes("2.37") ? 1 : 0,
    );
  });
}

Deno.test({
  name: `overlay-render plan warns whom may not mount${isRealRoot ? "" : " [skipped: needs root]"}`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = await makeRequest(dir, { tree: "t" });
    const wrapper = ["setpriv", "--bounding-set=-sys_admin"];
    const { stderr } = await cli(["plan", ...flagsOf(request)], { wrapper });
    assertMatch(stderr, /^error: Cannot mount ".*\/rootfs": this user may not mount\n/);
    assertMatch(stderr, /\nhint: run as root, or inside: unshare --user /);
  },
});

Deno.test({
  name: "renderOverlay() refuses a pod on ramfs, which keeps no attributes" +
    (isRealRoot ? "" : " [skipped: needs root]"),
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const request = {
      ...await makeRequest(dir, { tree: "t" }),
      pod: `${await mountRamfs(dir.join("ram"))}/pod`,
    };
    const before = await disk(dir.path);
    const error = await assertRejects(() => renderOverlay(request), RefusedError);
    assertEquals([error.code, error.path], ["upper-without-xattr", request.pod]);
    assertMatch(
      error.message,
      /it lies on a file system of type ramfs, and it keeps no attributes/,
    );
    assertEquals(await disk(dir.path), before);
  },
});

/** How a lower is asked for that may not be read. */
const UNREADABLE: readonly (readonly string[])[] = [
  ["render"],
  ["prepare"],
  ["render", "--read-only"],
  ["render", "--overlay=never"],
  ["render", "--overlay=auto"],
];

for (const args of UNREADABLE) {
  Deno.test({
    name: `overlay-render ${args.join(" ")} refuses a lower that its user may not read` +
      (isRealRoot ? "" : " [skipped: needs root]"),
    ignore: !isRealRoot,
    fn: async () => {
      await using dir = await tempDir();
      const { lower, pod } = await makeRequest(dir, { tree: "t" });
      await Deno.mkdir(dir.join("locked", "tree"), { recursive: true });
      await Deno.chmod(dir.join("locked"), 0);
      // To be looked at by everybody, to be read by its owner alone.
      await Deno.chmod(`${lower}`, 0o711);
      await Deno.chown(`${lower}`, 65534, 65534);
      const before = await snapshot(dir.path);
      for (const path of [`${lower}`, dir.join("locked", "tree")]) {
        // Root without its capabilities may read no more than any user.
        const wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
        const told = await cli([...args, `--pod=${pod}`, `--lower=${path}`, "--json"], { wrapper });
        const { error } = JSON.parse(told.stdout);
        assertEquals([told.status, error.code, error.path], [3, "unreadable", path]);
        assertEquals(error.message, `Cannot use lower "${path}": it may not be read`);
        assertEquals(error.hint, "run as a user who may read it, such as root");
        assertEquals(await snapshot(dir.path), before);
      }
    },
  });
}

Deno.test("overlay-render plan --verbose says what it did not check", async () => {
  await using dir = await tempDir();
  const request = { ...await makeRequest(dir, { tree: "t" }), label: "u:r:t:s0" };
  const args = ["plan", "--verbose", ...flagsOf(request)];
  const { stderr } = await cli(args, { flags: [`--allow-read=${dir.path}`] });
  assertMatch(stderr, /^not checked: [^\n]+\n$/);
  for (const words of ["which mount there is", "whether this user may mount", "SELinux"]) {
    assertStringIncludes(stderr, words);
  }
  const type = (await sh("findmnt", "-no", "FSTYPE", "-T", dir.path)).trim();
  const all = await runMain(args);
  // How a disk was made only shows when it is used, which is for doctor to do.
  const left = /^(ext[234]|xfs)$/.test(type)
    ? /^not checked: .*d_type\), which doctor tries$/m
    : /^$/m;
  assertMatch(all.stderr, left);
});

Deno.test("collectFindings() without permissions finds nothing, and says what it did not look at", {
  permissions: "none",
}, async () => {
  const { mounts: [mount] } = planRender({
    lower: "/images/a",
    pod: "/pods/one",
    options: ["volatile"],
  });
  const { byApp, unchecked } = await collectFindings([mount, mount]);
  assertEquals(byApp.map(({ findings }) => findings), [[], []]);
  assertEquals(unchecked, [
    ...["/images/a", "the file system of the pod", "the type of the file system of the pod"],
    ...["which mount there is", "whether this user may mount, and the kernel takes it"],
    "what the lowers and the pod are mounted from",
  ]);
});

Deno.test("collectFindings() of a copy asks nothing about mounts", async () => {
  await using dir = await tempDir();
  const request = {
    ...await makeRequest(dir, { tree: "t" }),
    options: [],
    overlay: "never" as const,
  };
  const { byApp, unchecked } = await collectFindings([planRender(request).mounts[0]]);
  assertEquals([byApp.map(({ findings }) => findings), unchecked], [[[]], []]);
});
