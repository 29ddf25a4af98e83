/**
 * Every console example of the README is run, in its order, and must print what the README says. The
 * paths it names lie in a temporary directory here.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { filesBelow } from "../../tools/files.ts";
import { commandLine } from "../_cli.ts";
import { isRealRoot } from "../_privilege.ts";
import { tempDir } from "../_temp.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

interface Example {
  readonly command: string;
  readonly output: string;
}

/** The commands of all console blocks, each with what is printed after it. */
function examplesOf(markdown: string): Example[] {
  const blocks = [...markdown.matchAll(/^```console\n(.*?)^```$/gms)].map(([, text = ""]) => text);
  return blocks.flatMap((block) => {
    return block.split(/^\$ /m).slice(1).map((part) => {
      const end = part.indexOf("\n");
      return { command: part.slice(0, end), output: part.slice(end + 1) };
    });
  });
}

async function program(path: string, ...command: string[]): Promise<void> {
  const words = command.map((word) => `'${word}'`).join(" ");
  await Deno.writeTextFile(path, `#!/bin/sh\nexec ${words} "$@"\n`);
  await Deno.chmod(path, 0o755);
}

/** What the command line alone can be wrong about, and what says nothing of its cause. */
const UNLISTED = ["usage", "invalid-value", "failed", "refused", "unmount-failed", "interrupted"];

Deno.test("README.md lists every code", async () => {
  const source = await Deno.readTextFile(`${ROOT}lib/core/errors.ts`);
  const [, union = ""] = /export type ErrorCode =\n(.*?);/s.exec(source) ?? [];
  const codes = [...union.matchAll(/"([a-z-]+)"/g)].map(([, code]) => code);
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const listed = [...readme.matchAll(/^\| `([a-z-]+)` +\| +[\d, –]+\|/gm)].map(([, code]) => code);
  assertEquals([...listed, ...UNLISTED].sort(), codes.sort());
});

Deno.test("README.md names a test with each line of its contract", async () => {
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const [, contract = ""] = /^## Contract.*?$(.*?)^These hold/ms.exec(readme) ?? [];
  const tests = (await filesBelow(ROOT.replace(/\/$/, ""), "tests", "_test.ts")).map((path) =>
    path.replace(/^.*\//, "")
  );
  const lines = contract.split(/^\d+\. /m).slice(1);
  assert(lines.length > 10);
  for (const line of lines) {
    const names = [...line.matchAll(/`([a-z_]+_test)`/g)].map(([, name]) => name);
    assert(names.length > 0, line);
    for (const name of names) assert(tests.includes(`${name}.ts`), name);
  }
});

Deno.test({
  name: `README.md says what the command prints${isRealRoot ? "" : " [skipped: needs root]"}`,
  ignore: !isRealRoot,
  async fn(): Promise<void> {
    await using temp = await tempDir();
    for (const name of ["debian", "web", "mine", "tree/base/rootfs"]) {
      await Deno.mkdir(temp.join("images", name), { recursive: true });
    }
    await Deno.writeTextFile(temp.join("images/mine/motd"), "hello\n");
    for (const name of ["pods", "bin"]) await Deno.mkdir(temp.join(name));
    const deno = Deno.execPath();
    await program(temp.join("bin/deno"), deno);
    await program(temp.join("bin/overlay-render"), ...commandLine([]));
    const here = (text: string) => {
      return text.replaceAll(/(?<![\w/])\/(images|pods)\b/g, `${temp.path}/$1`);
    };

    const examples = examplesOf(await Deno.readTextFile(`${ROOT}README.md`));
    assert(examples.length >= 11, `only ${examples.length} examples found`);
    for (const { command, output } of examples) {
      const result = await new Deno.Command("sh", {
        args: ["-c", here(command)],
        cwd: ROOT,
        env: { PATH: `${temp.join("bin")}:/usr/bin:/bin`, NO_COLOR: "1", DENO_NO_PROMPT: "1" },
        stdin: "null",
      }).output();
      const said = new TextDecoder().decode(result.stderr);
      assertEquals(result.code, 0, `${command}: ${said}`);
      assertEquals(new TextDecoder().decode(result.stdout), here(output), command);
    }
  },
});
