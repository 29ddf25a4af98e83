/**
 * `deno task docs`: writes `docs/cli.md` from the table of commands and flags and the texts of the help.
 *
 * @module
 */
import { COMMANDS } from "../lib/cli/command_names.ts";
import { ALL_FLAGS } from "../lib/cli/late_flags.ts";
import { TREE_COMMANDS, TREE_FLAGS } from "../lib/cli/tree_commands.ts";
import { specification } from "../lib/cli/help.ts";
import { HELP_TEXTS } from "../lib/cli/help_texts.ts";
import type { Flag } from "../lib/request/options.ts";
import { run } from "./run.ts";

const ROOT = new URL("..", import.meta.url).pathname;

const INTRODUCTION = `# Commands

\`overlay-render COMMAND [FLAGS]\`. \`overlay-render COMMAND --help\` prints the same, with examples.

The value of a flag follows it, or an equals sign: \`--flag VALUE\`, \`--flag=VALUE\`. A value that begins
with a dash needs the second form. Relative paths start at the working directory. Data goes to stdout,
and everything else to stderr. [Errors](errors.md) has the exit statuses.

Variables of the environment stand for flags that are not given, where Deno allows to read them, as the
installed script does: \`OVERLAY_RENDER_STORE\` for \`--store\`, and \`OVERLAY_RENDER_PODS\` for \`--pods\` of
\`run\`, \`status\`, \`restore\` and \`gc\`, where no \`--pod\` is given. A plan shows the paths that they gave. The
flags that \`--flags\` prints do not allow to read them: run with these flags, a command needs \`--store\`.
`;

/** Writes names of flags and of paths as code. */
function marked(text: string): string {
  return text.replaceAll(
    /(?<![\w`/])(--[\w-]+(?: [A-Z]{2,}\b)?|[\w.]*<[\w<>/.]+|overlay\.\w+)/g,
    "`$1`",
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => "---"), ...rows];
  return lines.map((cells) => {
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  }).join("");
}

function termOf({ name, short, value }: Flag): string {
  const long = `\`--${name}${value === undefined ? "" : ` ${value}`}\``;
  return short === undefined ? long : `\`-${short}\`, ${long}`;
}

function meaningOf({ help, repeatable }: Flag): string {
  return marked(help) + (repeatable ? "; may be repeated" : "");
}

function flagTable(flags: readonly Flag[]): string {
  const rows = flags.map((flag) => [termOf(flag), meaningOf(flag), marked(flag.default ?? "")]);
  return table(["flag", "meaning", "default"], rows);
}

/** The flags that all commands have. */
const COMMON = ALL_FLAGS.status.filter((flag) => {
  return Object.values(ALL_FLAGS).every((flags) => flags.includes(flag));
});

type Named = keyof typeof ALL_FLAGS;

const isOwn = (flag: Flag): boolean => !COMMON.includes(flag);

/** Lines of a help text as one paragraph each; what is indented stays as it is. */
function prose(text: string): string {
  return text.split("\n\n").map((part) => marked(part.replaceAll("\n", " "))).join("\n\n");
}

function literal(text: string): string {
  return `\`\`\`text\n${text.replaceAll(/^ {2}/gm, "")}\n\`\`\`\n`;
}

/** Texts of several commands, each once, and after the names of its commands if they differ. */
function perCommand(
  names: readonly Named[],
  textOf: (name: Named) => string | undefined,
): string[] {
  const groups = [...Map.groupBy(names, textOf)];
  return groups.flatMap(([text, of]) => {
    if (text === undefined) return [];
    return [groups.length === 1 ? literal(text) : `${of.join(", ")}:\n\n${literal(text)}`];
  });
}

/** The commands that have the same flags share a section. */
function sections(): string[] {
  const names = COMMANDS.filter((name) => name !== "tree");
  return [...Map.groupBy(names, (name) => ALL_FLAGS[name])].map(([flags, names]) => {
    const usage = names.map((name) => HELP_TEXTS[name].usage).join("\n");
    return [
      `## ${names.join(", ")}\n\n${literal(usage)}`,
      names.map((name) => {
        const { purpose, notes } = HELP_TEXTS[name];
        const text = prose(notes === undefined ? purpose : `${purpose} ${notes}`);
        return names.length === 1 ? `${text}\n` : `- \`${name}\`: ${text}\n`;
      }).join(""),
      flagTable(flags.filter(isOwn)),
      ...flags.some(({ name }) => name === "spec") ? [literal(specification().trim())] : [],
      "Permissions:\n",
      ...perCommand(names, (name) => HELP_TEXTS[name].permissions),
    ].join("\n");
  });
}

function treeSection(): string {
  const { purpose, permissions } = HELP_TEXTS.tree;
  const rows = Object.entries(TREE_FLAGS).flatMap(([action, { flags }]) => {
    return flags.filter(isOwn).map((flag) => ({ action, flag }));
  });
  const byName = Map.groupBy(rows, ({ flag }) => flag.name);
  const flags = [...byName.values()].map((rows) => {
    const [first] = rows;
    if (first === undefined) return [];
    const all = rows.length === Object.keys(TREE_FLAGS).length;
    const of = all ? "all" : rows.map(({ action }) => `\`${action}\``).join(", ");
    return [termOf(first.flag), of, meaningOf(first.flag), marked(first.flag.default ?? "")];
  });
  return [
    "## tree\n",
    `${
      prose(purpose)
    } [Images](images.md) has the details. An ID may also be the name of an image, or the first digits of the id, at least 4.\n`,
    table(
      ["command", "does"],
      TREE_COMMANDS.map(([term, meaning]) => [`\`tree ${term}\``, marked(meaning)]),
    ),
    table(["flag", "of", "meaning", "default"], flags),
    "Permissions:\n",
    literal(permissions),
  ].join("\n");
}

function makePage(): string {
  const common = `## All commands\n\n${flagTable(COMMON)}`;
  return [INTRODUCTION, common, ...sections(), treeSection()].join("\n");
}

/** Makes the page of commands. */
export async function cliPage(): Promise<string> {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/cli.md`;
    await Deno.writeTextFile(path, makePage());
    const { status, stderr } = await run([
      Deno.execPath(),
      "fmt",
      `--config=${ROOT}deno.json`,
      path,
    ]);
    if (status !== 0) throw new Error(`Cannot format ${path}: ${stderr}`);
    return await Deno.readTextFile(path);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) await Deno.writeTextFile(`${ROOT}docs/cli.md`, await cliPage());
