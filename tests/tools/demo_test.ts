import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { freshDenoDir } from "../_deno_dir.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";

const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");

/** Where the demo is run, and as whom. */
interface Stage {
  /** A directory for its temporary files. */
  readonly tmp: string;
  readonly repository: string;
  readonly deno: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly wrapper?: readonly string[];
}

async function runDemo(stage: Stage): Promise<{ code: number; stdout: string; stderr: string }> {
  const demo = [stage.deno, "run", "-A", "-q", `${stage.repository}/tools/demo.ts`];
  const [program = "", ...args] = [...(stage.wrapper ?? []), ...demo];
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: "/",
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0", ...stage.env, TMPDIR: stage.tmp },
    stdin: "null",
  }).output();
  const decode = (data: Uint8Array) => new TextDecoder().decode(data);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

/** The demo ended well, showed what it is to show, and left nothing in its directory for temporary files. */
async function assertShown(stage: Stage): Promise<string> {
  const { code, stdout, stderr } = await runDemo(stage);
  assertEquals(stderr, "");
  assertEquals(code, 0, stdout);
  const shown = [
    "1777 tmp/",
    "2775 var/mail/",
    "bin/greet -> busybox",
    "overlay-render plan --lower $D/tree --pod $D/pod --app web",
    "--allow-read=$D/tree,$D/pod",
    "mounted  $D/pod/apps/api/rootfs",
    "web   runs bin/greet: greetings from web",
    "api   runs bin/greet: greetings from the tree",
    "etc/hostname (deleted)",
    "unmounted  $D/pod/apps/web/rootfs",
    "Everything is removed again.",
  ];
  for (const text of shown) assertStringIncludes(stdout, text);
  const [, before, after] = stdout.match(/before (\w{16})\n +after +(\w{16}) +unchanged\n/) ?? [];
  assertEquals(before, after);
  assert(before !== undefined);
  assert(stdout.split("\n").length <= 70, "the demo says more than a person reads");
  assertEquals(await Array.fromAsync(Deno.readDir(stage.tmp)), []);
  assertEquals(await mountsBelow(stage.tmp), []);
  return stdout;
}

Deno.test("the demo renders two apps, changes no tree and leaves nothing", async () => {
  await using dir = await tempDir();
  await assertShown({ tmp: dir.path, repository: ROOT, deno: Deno.execPath() });
});

Deno.test({
  name: `the demo does the same for another user${isRealRoot ? "" : " [skipped: needs root]"}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    // The repository and Deno may lie where only root gets to, as with npx.
    for (const name of ["repository", "tmp"]) await Deno.mkdir(dir.join(name));
    await Deno.writeTextFile(dir.join("deno"), "");
    await sh("mount", "--bind", ROOT, dir.join("repository"));
    await sh("mount", "--bind", await Deno.realPath(Deno.execPath()), dir.join("deno"));
    await freshDenoDir(dir.join("cache"));
    await sh("chown", "-R", "65534:65534", dir.join("cache"), dir.join("tmp"));
    await Deno.chmod(dir.path, 0o755);

    const said = await assertShown({
      tmp: dir.join("tmp"),
      repository: dir.join("repository"),
      deno: dir.join("deno"),
      env: { DENO_DIR: dir.join("cache"), HOME: dir.join("tmp") },
      wrapper: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    });

    assertStringIncludes(said, "in a user namespace");
    assertStringIncludes(said, "--option userxattr");
  },
});

Deno.test("the demo says what is missing where no namespace can be made", async () => {
  await using dir = await tempDir();
  const stage = { tmp: dir.path, repository: ROOT, deno: Deno.execPath(), env: { PATH: dir.path } };

  const { code, stdout, stderr } = await runDemo(stage);

  assertEquals([code, stdout], [1, ""]);
  assertStringIncludes(stderr, "error: Cannot mount an overlay here");
  assertStringIncludes(stderr, "Failed to spawn 'unshare'");
  assertStringIncludes(stderr, "util-linux");
  assertEquals(await Array.fromAsync(Deno.readDir(dir.path)), []);
});
