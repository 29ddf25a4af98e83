import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { copy } from "@std/fs/copy";
import { exists } from "@std/fs/exists";
import { tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const TOOLS = new URL("../../tools", import.meta.url).pathname;

/** Test files, each with the one thing that the runner has to notice. */
const FILES: Readonly<Record<string, string>> = {
  good: `Deno.test("passes", async (t) => { await t.step("a step", () => {}); });
    Deno.test({ name: "can not <run> [skipped: no \\"luck\\"]", ignore: true, fn() {} });`,
  fails: `Deno.test("fails", () => { throw new Error("the reason"); });
    Deno.test("passes beside it", () => {});`,
  crashes: `Deno.test("kills its process", () => Deno.kill(Deno.pid, "SIGKILL"));`,
  broken: `import "./no_such_file.ts";`,
  empty: `export {};`,
  mounts: `Deno.test("leaves a mount", async () => {
    await Deno.mkdir(Deno.env.get("TMPDIR") + "/left");
    await new Deno.Command("mount", { args: ["-t", "tmpfs", "tmpfs", Deno.env.get("TMPDIR") + "/left"] }).output();
  });`,
  process:
    `Deno.test({ name: "leaves a process", sanitizeResources: false, sanitizeOps: false, fn() {
    new Deno.Command("sleep", { args: ["77"], stdin: "null", stdout: "null", stderr: "null" }).spawn().unref();
  } });`,
};

/** Runs the tool on a repository that holds these test files and the tools, and nothing else. */
async function runTool(
  dir: TempDir,
  ...args: string[]
): Promise<{ code: number; lines: string[] }> {
  await copy(TOOLS, dir.join("tools"));
  await Deno.mkdir(dir.join("tests"));
  await Deno.mkdir(dir.join("tmp"));
  for (const [name, text] of Object.entries(FILES)) {
    await Deno.writeTextFile(dir.join("tests", `${name}_test.ts`), text);
  }
  const { code, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", dir.join("tools/test.ts"), ...args],
    cwd: "/",
    env: { TMPDIR: dir.join("tmp"), RUST_BACKTRACE: "1", FORCE_COLOR: "1", NO_COLOR: "" },
    stdin: "null",
  }).output();
  assertEquals(await Array.fromAsync(Deno.readDir(dir.join("tmp"))), []);
  return { code, lines: new TextDecoder().decode(stdout).split("\n") };
}

Deno.test("the test tool counts what passed, failed, crashed, was skipped and was left", async () => {
  await using dir = await tempDir();

  const { code, lines } = await runTool(dir, ...Object.keys(FILES));

  const text = lines.join("\n");
  assertEquals(code, 1);
  assertEquals(lines.slice(-2), ["4 passed, 5 failed, 1 skipped", ""], text);
  for (
    const said of [
      'skipped: can not <run> [skipped: no "luck"]',
      "the reason",
      "tests/mounts_test.ts left a mount: ",
      "tests/mounts_test.ts left a file: left",
    ]
  ) assertStringIncludes(text, said);
  const state = (name: string) => lines.find((line) => line.includes(`tests/${name}_test.ts (`));
  assertStringIncludes(state("good") ?? "", "(1 passed, 1 skipped)");
  assertMatch(state("good") ?? "", /, \d+\.\d s of processor time$/);
  assertStringIncludes(state("fails") ?? "", "(1 failed, 1 passed)");
  for (const name of ["crashes", "broken", "empty"]) {
    assertStringIncludes(state(name) ?? "", "(1 failed, 0 passed)");
  }
  const [, pid] = text.match(/^a test left process (\d+): .*sleep 77$/m) ?? [];
  assert(pid !== undefined, text);
  // Killed at once; its parent has yet to take notice.
  for (let tries = 0; await exists(`/proc/${pid}/exe`) && tries < 3000; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assertEquals(await exists(`/proc/${pid}/exe`), false);
});

Deno.test("the test tool ends with one plain line and status 0 when nothing failed", async () => {
  await using dir = await tempDir();

  const { code, lines } = await runTool(dir, "./tests/good_test.ts");

  assertEquals([code, ...lines.slice(-2)], [0, "2 passed, 0 failed, 1 skipped", ""]);
});

Deno.test("the test tool fails when no test file has the name that was given", async () => {
  await using dir = await tempDir();

  const { code, lines } = await runTool(dir, "no-such");

  assertEquals([code, ...lines.slice(-2)], [1, "1 passed, 1 failed", ""]);
});

Deno.test("the test tool fails, and still counts, when the checks can not be run", async () => {
  await using dir = await tempDir();

  const { code, lines } = await runTool(dir);

  assertEquals(code, 1);
  assertEquals(/^\d+ passed, \d+ failed(, \d+ skipped)?$/.test(lines.at(-2) ?? ""), true);
});
