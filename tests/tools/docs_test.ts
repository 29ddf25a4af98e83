/**
 * README.md and docs/: each example runs, and prints what its document shows; each list of flags, codes and
 * tests is complete; each link leads somewhere.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { EXIT_STATUS } from "../../lib/cli/exit_status.ts";
import { cliPage } from "../../tools/cli_page.ts";
import { filesBelow } from "../../tools/files.ts";
import { assertAnswer, fencesOf, makeScene, runExamples } from "../_docs.ts";
import { isRealRoot } from "../_privilege.ts";
import { tempDir } from "../_temp.ts";

const ROOT = new URL("../..", import.meta.url).pathname;
const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...await filesBelow(ROOT, "docs", ".md"),
];

const read = (path: string): Promise<string> => Deno.readTextFile(`${ROOT}/${path}`);

const HAS_RUNTIME = await Deno.stat("/bin/bwrap").then(() => true, () => false);

/** Codes of the command line itself, and codes that name no cause; errors.md lists them too, in words. */
const UNLISTED = ["usage", "invalid-value", "failed", "refused", "unmount-failed", "interrupted"];

Deno.test("docs/errors.md lists every code", async () => {
  const source = await read("lib/core/errors.ts");
  const [, union = ""] = /export type ErrorCode =\n(.*?);/s.exec(source) ?? [];
  const codes = [...union.matchAll(/"([a-z-]+)"/g)].map(([, code]) => code);
  const text = await read("docs/errors.md");
  const listed = [...text.matchAll(/^\| `([a-z-]+)` +\| +[\d, –]+\|/gm)].map(([, code]) => code);
  assertEquals([...listed, ...UNLISTED].sort(), codes.sort());
  for (const code of UNLISTED) assert(text.includes(`\`${code}\``), code);
});

Deno.test("docs/errors.md has the table of exit statuses that the help has", async () => {
  const [, section = ""] = (await read("docs/errors.md")).split("## Exit statuses");
  const rows = [...section.matchAll(/^\| ([\d, ]+?) +\| (.*?) +\|$/gm)];
  assertEquals<unknown>(rows.map(([, status, meaning]) => [status, meaning]), EXIT_STATUS);
});

Deno.test("docs/cli.md is made from the table of flags: deno task docs", async () => {
  assertEquals(await read("docs/cli.md"), await cliPage());
});

Deno.test("docs/security.md names a test with each line of its contract", async () => {
  const text = await read("docs/security.md");
  const [, contract = ""] = /^## The contract$(.*?)^## /ms.exec(text) ?? [];
  const tests = (await filesBelow(ROOT, "tests", "_test.ts")).map((path) =>
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

Deno.test("README.md is at most 8 KB, and its tasks are there", async () => {
  const text = await read("README.md");
  assert(new TextEncoder().encode(text).length <= 8192, `${text.length} characters`);
  const { tasks } = JSON.parse(await read("deno.json"));
  const named = [...text.matchAll(/deno(?:@[\d.]+)? task ([a-z:]+)/g)].map(([, name = ""]) => name);
  assert(named.includes("demo") && named.includes("test"));
  for (const name of named) assert(Object.hasOwn(tasks, name), name);
});

Deno.test("documents link only to files and headings that are there", async () => {
  for (const path of [...DOCUMENTS, "bench/README.md"]) {
    for (const [, target = ""] of (await read(path)).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [file = "", heading] = target.split("#");
      const to = file === "" ? path : new URL(file, `file:///${path}`).pathname.slice(1);
      const text = await read(to).catch(() => null);
      assert(text !== null, `${path} links to ${target}`);
      const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, title = ""]) =>
        title.toLowerCase().replaceAll(/[^\w\- ]/g, "").replaceAll(" ", "-")
      );
      assert(heading === undefined || headings.includes(heading), `${path} links to ${target}`);
    }
  }
});

Deno.test("documents name only files that are there", async () => {
  for (const path of DOCUMENTS) {
    for (
      const [, file = ""] of (await read(path)).matchAll(
        /`((?:lib|tests|tools|std|bench)\/[\w./]*)`/g,
      )
    ) {
      assert(await Deno.stat(`${ROOT}/${file}`).catch(() => null), `${path} names ${file}`);
    }
  }
});

Deno.test("docs/development.md has every room, in its order", async () => {
  const rooms = [...(await read("docs/development.md")).matchAll(/^\| `lib\/(\w+)\/` /gm)];
  const test = await read("tests/tools/rooms_test.ts");
  const [, list = ""] = /const ROOMS = \[(.*?)\]/s.exec(test) ?? [];
  assertEquals(
    rooms.map(([, room]) => room),
    [...list.matchAll(/"(\w+)"/g)].map(([, room]) => room),
  );
});

Deno.test("each fenced block is an example that is run, or says that it is text", async () => {
  for (const path of DOCUMENTS) {
    for (const { language, text } of fencesOf(await read(path))) {
      const known = ["console", "sh", "ini", "ts", "ts ignore", "text"].includes(language);
      assert(known, `${path} has a block of ${JSON.stringify(language)}: ${text.slice(0, 60)}`);
    }
  }
});

for (const path of DOCUMENTS) {
  const examples = fencesOf(await read(path)).filter(({ language }) => {
    return ["console", "sh", "ini", "ts ignore"].includes(language);
  });
  if (examples.length === 0) continue;
  const runs = examples.some(({ text }) => /overlay-render run|runInOverlay/.test(text));
  const why = !isRealRoot
    ? "needs root"
    : runs && !HAS_RUNTIME
    ? "bubblewrap is not installed"
    : null;
  Deno.test({
    name: `${path} shows what its commands print${why === null ? "" : ` [skipped: ${why}]`}`,
    ignore: why !== null,
    async fn(): Promise<void> {
      await using temp = await tempDir();
      for (const answer of await runExamples(examples, await makeScene(temp))) assertAnswer(answer);
    },
  });
}
