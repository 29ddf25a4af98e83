import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../lib/cli/command_names.ts";
import { commandRows } from "../../lib/cli/command_rows.ts";
import { EXIT_STATUS } from "../../lib/cli/exit_status.ts";
import { manualPages, writeManual } from "../../tools/man.ts";
import { hasProgram } from "../_shells.ts";
import { tempDir } from "../_temp.ts";

const DATE = new Date("2026-11-27T00:00:00Z");

/** Runs a program on a page, and returns all that it says. */
async function say(page: string, program: string, ...args: string[]): Promise<string> {
  const env = { LC_ALL: "C.UTF-8", MANWIDTH: "80", MANROFFSEQ: "" };
  const output = await new Deno.Command(program, { args: [...args, page], env }).output();
  const text = [output.stdout, output.stderr].map((data) => new TextDecoder().decode(data));
  return text.join("");
}

Deno.test("manualPages() has a page of each command, with each of its flags", () => {
  const pages = manualPages(DATE);
  assertEquals(pages.size, COMMANDS.length + 1);
  for (const { name, flags } of commandRows()) {
    const page = pages.get(`overlay-render-${name.split(" ")[0]}.1`) ?? "";
    for (const { name, short, value, default: without } of flags) {
      const escaped = name.replaceAll("-", "\\-");
      const letter = short === undefined ? "" : `Fl ${short} , `;
      const item = `.It ${letter}Fl \\-${escaped}${value === undefined ? "" : ` Ar ${value}`}\n`;
      assertStringIncludes(page.replaceAll("\\-", "-"), item.replaceAll("\\-", "-"));
      if (without !== undefined) assertStringIncludes(page, "(default: ");
    }
    for (const [status] of EXIT_STATUS) assert(page.includes(`.It ${status.split(",")[0]}`));
    if (name.startsWith("tree ")) assertStringIncludes(page, `.It Cm ${name.slice(5)}`);
  }
});

for (const program of ["mandoc", "lexgrog", "groff"]) {
  const isThere = await hasProgram(program);
  Deno.test({
    name: `${program} reads every page without a warning${
      isThere ? "" : ` [skipped: needs ${program}]`
    }`,
    ignore: !isThere,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      await writeManual(dir.path, DATE);
      for (const name of manualPages(DATE).keys()) {
        const page = dir.join(name);
        const title = name.replace(/\.1$/, "");
        if (program === "mandoc") {
          assertEquals(await say(page, "mandoc", "-Tlint", "-W", "warning"), "");
        } else if (program === "lexgrog") {
          assertStringIncludes(await say(page, "lexgrog"), `: "${title} - `);
        } else {
          const text = await say(page, "groff", "-mdoc", "-ww", "-Tascii", "-P-cbou");
          assert(!text.includes("warning:"), text);
          for (const line of text.split("\n")) assert(line.length <= 83, line);
        }
      }
    },
  });
}
