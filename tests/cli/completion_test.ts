import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { completion } from "../../lib/cli/completion.ts";
import { commandRows } from "../../lib/cli/command_rows.ts";
import { SHELLS } from "../../lib/cli/command_names.ts";
import { helpText } from "../../lib/cli/help.ts";
import { runMain } from "../_main.ts";
import { hasProgram, type } from "../_shells.ts";
import { hasScript } from "../_terminal.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

/** The words before a tab, and the arguments that the shell then has. */
const CASES: readonly (readonly [typed: string, args: readonly string[]])[] = [
  ["ren", ["render"]],
  ["help ren", ["help", "render"]],
  ["render --pro", ["render", "--profile"]],
  ["render --profile man", ["render", "--profile", "manifest"]],
  ["render --profile=fix", ["render", "--profile=fixed-mode"]],
  ["render --lower dirs/on", ["render", "--lower", "dirs/one/"]],
  ["render --manifest dirs/fi", ["render", "--manifest", "dirs/file"]],
  ["render --no", ["render", "--no-overlay"]],
  ["tree im", ["tree", "import"]],
  ["tree import dirs/fi", ["tree", "import", "dirs/file"]],
  ["tree pull --mir", ["tree", "pull", "--mirror"]],
  ["unmount --la", ["unmount", "--lazy"]],
  ["export --compression zs", ["export", "--compression", "zstd"]],
  ["completion f", ["completion", "fish"]],
  ["run --runt", ["run", "--runtime"]],
  ["run -- cat dirs/fi", ["run", "--", "cat", "dirs/file"]],
  ["unshare -- dirs/fi", ["unshare", "--", "dirs/file"]],
];

/** A directory with the script of a shell, and paths to complete. */
async function scene(dir: TempDir, shell: (typeof SHELLS)[number]): Promise<void> {
  await Deno.mkdir(dir.join("dirs/one"), { recursive: true });
  await Deno.writeTextFile(dir.join("dirs/file"), "");
  await Deno.writeTextFile(dir.join("script"), completion(shell));
}

/** The line that a shell shows for arguments. */
const shownAs = (args: readonly string[]): string => args.map((arg) => `<${arg}>`).join("");

const hasTerminal = await hasScript();
const SETUP = `overlay-render() { printf '<%s>' "$@"; echo; }`;
const STARTS = {
  bash: ["source ./script"],
  zsh: ["autoload -U compinit; compinit -D -u", "source ./script"],
};

for (const shell of ["bash", "zsh"] as const) {
  const isThere = hasTerminal && await hasProgram(shell);
  const why = isThere ? "" : ` [skipped: needs ${shell} and script]`;
  Deno.test({
    name: `completion ${shell} completes in a ${shell} on a terminal${why}`,
    ignore: !isThere,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      await scene(dir, shell);
      const lines = CASES.map(([typed]) => `overlay-render ${typed}\t`);
      const shown = await type(shell, [...STARTS[shell], SETUP, ...lines], dir.path);
      for (const [typed, args] of CASES) {
        // When the line is entered, zsh takes away the slash that it put after a directory.
        const wanted = args.map((arg) => shell === "zsh" ? arg.replace(/\/$/, "") : arg);
        assertStringIncludes(shown, `${shownAs(wanted)}\r\n`, `${typed}: ${shown}`);
      }
    },
  });
}

const hasFish = await hasProgram("fish");

Deno.test({
  name: `completion fish completes in fish${hasFish ? "" : " [skipped: needs fish]"}`,
  ignore: !hasFish,
  async fn(): Promise<void> {
    await using dir = await tempDir();
    await scene(dir, "fish");
    const complete = async (typed: string) => {
      const program = `cd $argv[1]; source script; complete -C "overlay-render $argv[2]"`;
      const lines = (await sh("fish", "--no-config", "-c", program, dir.path, typed)).split("\n");
      return lines.filter((line) => line !== "").map((line) => line.split("\t")[0]);
    };
    for (const [typed, args] of CASES) assertEquals(await complete(typed), [args.at(-1)], typed);
    const letters = await complete("render -");
    for (const flag of ["-o", "-n", "-q", "-h", "--option"]) assert(letters.includes(flag), flag);
  },
});

for (const shell of SHELLS) {
  Deno.test(`completion ${shell} prints the script`, async () => {
    const { status, stdout, stderr } = await runMain(["completion", shell]);
    assertEquals([status, stdout, stderr], [0, completion(shell), ""]);
    const json = await runMain(["completion", shell, "--json"]);
    assertEquals(JSON.parse(json.stdout), { version: 1, shell, script: completion(shell) });
  });

  Deno.test(`completion ${shell} has each command, each flag, and each letter`, () => {
    const script = completion(shell);
    const has = (...forms: string[]) => {
      const isThere = forms.some((form) => new RegExp(`(^|[\\s'|+*)])${form}`, "m").test(script));
      assert(isThere, forms[0]);
    };
    for (const { name, flags } of commandRows()) {
      assertStringIncludes(script, name);
      for (const { name, short, choices = [] } of flags) {
        has(`--${name}\\b`, `-l ${name}\\b`);
        if (short !== undefined) has(`-${short}\\b`, `-s ${short} `);
        assertStringIncludes(script, choices.join(" "));
      }
    }
  });
}

Deno.test("completion takes one shell, and no other", async () => {
  for (const args of [[], ["csh"], ["bash", "zsh"]]) {
    const { status, stdout } = await runMain(["completion", ...args]);
    assertEquals([status, stdout], [2, ""]);
  }
});

Deno.test("commandRows() has what the help has", () => {
  for (const { name, flags } of commandRows()) {
    const text = helpText(name.split(" ")[0] ?? "");
    for (const { name, short } of flags) {
      assertStringIncludes(text, `${short === undefined ? "" : `-${short}, `}--${name}`);
    }
  }
});
