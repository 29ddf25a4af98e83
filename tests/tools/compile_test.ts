import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { WORKER_SIZE } from "../../lib/image/blob.ts";
import { bundle } from "../../tools/bundle.ts";
import { denortFromNpm } from "../../tools/denort.ts";
import { BAKED, BAKED_PROGRAMS } from "../../tools/flags.ts";
import { archive, concat, file, gzip } from "../_archive.ts";
import { mountOverlay, mountTooDeep } from "../_disks.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const config = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
const { version } = config;
const base = await denortFromNpm();
const reason = "missing" in base ? ` [skipped: ${base.missing}]` : "";

Deno.test("cli.ts and deno.json allow the programs that the command can run, and no others", async () => {
  const [first = ""] = (await Deno.readTextFile(`${ROOT}cli.ts`)).split("\n");
  assertEquals(first, `#!/usr/bin/env -S deno run --no-prompt ${BAKED.join(" ")}`);
  // The kernel cuts the rest off without a word.
  assert(first.length <= 254, `${first.length} bytes`);
  assertEquals(config.permissions.apply.run, BAKED_PROGRAMS);
});

/** Runs a command line in an empty directory, with an environment that helps nobody. */
async function answerOf(
  dir: TempDir,
  argv: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const [program = "", ...args] = argv;
  await Deno.mkdir(dir.join("empty"), { recursive: true });
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: dir.join("empty"),
    clearEnv: true,
    // A library by its name alone: the loader finds it wherever it lies, and says nothing about it.
    env: { PATH: "", LD_PRELOAD: "libc.so.6", DENO_DIR: dir.join("cache"), NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assertEquals(await Array.fromAsync(Deno.readDir(dir.join("empty"))), []);
  const [out = "", err = ""] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: out, stderr: err };
}

/** Runs a command line that succeeds and has nothing to complain about; returns stdout. */
async function outside(dir: TempDir, ...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await answerOf(dir, argv);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

/** What is loaded only when something fails is there: causes, and the way out. */
async function assertFails(dir: TempDir, ...command: string[]): Promise<void> {
  const lower = await mountTooDeep(dir.join("deep"));
  const request = ["--lower", lower, "--pod", dir.join("failed"), "--option", "userxattr"];
  const failed = await answerOf(dir, [...command, "render", ...request]);
  assertEquals([failed.code, failed.stdout], [1, ""]);
  assertMatch(failed.stderr, /^error: Cannot mount overlay at .*\nhint: Cannot use lower /);

  const copied = [...request.slice(0, 2), "--pod", `${await mountOverlay(dir)}/pod`];
  const copy = await answerOf(dir, [...command, "render", ...copied, "--overlay", "auto"]);
  assertEquals(copy.code, 0, copy.stderr);
  assertStringIncludes(copy.stderr, "warning: ");
}

/** An archive that is so large that another thread inflates it, with zeros after it. */
async function largeArchive(dir: TempDir): Promise<string> {
  const path = dir.join("large.tar.gz");
  const content = gzip(archive(file("large", new Uint8Array(WORKER_SIZE))), 0);
  await Deno.writeFile(path, concat(content, new Uint8Array(1 << 20)));
  return path;
}

/**
 * Plans, renders, writes, looks, unmounts, collects and imports with a command line that is the whole
 * command.
 */
async function assertWorks(dir: TempDir, ...command: string[]): Promise<void> {
  const [image, pod] = [dir.join("image"), dir.join("pod")];
  await Deno.mkdir(image);
  await Deno.writeTextFile(`${image}/motd`, "from the tree");
  const request = ["--lower", image, "--pod", pod, "--app", "web", "--option", "userxattr"];

  assertEquals(await outside(dir, ...command, "--version"), `overlay-render ${version}\n`);
  assertStringIncludes(
    await outside(dir, ...command, "plan", ...request),
    `directory ${pod}  0750`,
  );
  assertEquals(await mountsBelow(dir.path), []);

  const rootfs = (await outside(dir, ...command, "render", ...request)).trimEnd();
  assertEquals(await mountsBelow(dir.path), [rootfs]);
  await Deno.writeTextFile(`${rootfs}/motd`, "from the app");
  assertEquals(await Deno.readTextFile(`${pod}/overlay/image/upper/web/motd`), "from the app");
  assertEquals(await Deno.readTextFile(`${image}/motd`), "from the tree");
  const status = await outside(dir, ...command, "status", "--pod", pod);
  assertStringIncludes(status, `web  image  mounted  ${rootfs}`);

  assertEquals(await outside(dir, ...command, "unmount", "--pod", pod), `${rootfs}\n`);
  assertEquals(await mountsBelow(dir.path), []);
  // Nobody holds the lock any more.
  assertEquals((await Deno.readTextFile(`${pod}/overlay.lock`)).trim(), "");
  assertStringIncludes(await outside(dir, ...command, "gc", "--pod", pod), `marked   ${pod} as`);

  const store = ["--store", dir.join("store")];
  const id = (await outside(dir, ...command, "tree", "import", image, "--quiet", ...store))
    .trimEnd();
  const flags = ["--tree", id, ...store, "--pod", pod, "--app", "web", "--option", "userxattr"];
  const again = (await outside(dir, ...command, "render", ...flags)).trimEnd();
  assertEquals(await Deno.readTextFile(`${again}/motd`), "from the tree");
  await outside(dir, ...command, "unmount", "--pod", pod);
  assertEquals(await mountsBelow(dir.path), []);
  await outside(dir, ...command, "tree", "import", await largeArchive(dir), "--quiet", ...store);
  await assertFails(dir, ...command);
}

Deno.test("the bundle works alone in an empty directory, without PATH and with LD_PRELOAD", async () => {
  await using dir = await tempDir();
  const script = dir.join("overlay-render.js");
  await bundle(script);

  const flags = [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-config",
    "--no-remote",
    "--no-npm",
    ...BAKED,
  ];
  await assertWorks(dir, Deno.execPath(), ...flags, script);
});

Deno.test({
  name: `the binary works alone in an empty directory, without PATH and with LD_PRELOAD${reason}`,
  ignore: "missing" in base,
  async fn(): Promise<void> {
    assert(!("missing" in base));
    await using dir = await tempDir();
    const env = { DENORT_BIN: base.denort, DENO_FOR_COMPILE: base.deno };
    const tool = ["run", "--quiet", "--allow-all", `${ROOT}tools/compile.ts`, dir.join("dist")];
    await sh("env", ...Object.entries(env).map(([k, v]) => `${k}=${v}`), Deno.execPath(), ...tool);

    await assertWorks(dir, dir.join("dist/overlay-render"));
  },
});
