/**
 * `deno run -A tools/man.ts [DIRECTORY]`: writes the manual pages, `overlay-render(1)` and one for each
 * command, in mdoc(7), from the table of commands and flags and the texts of the help.
 *
 * @module
 */
import { COMMANDS } from "../lib/cli/command_names.ts";
import type { CommandName } from "../lib/cli/command_names.ts";
import { ALL_FLAGS } from "../lib/cli/late_flags.ts";
import { EXIT_STATUS } from "../lib/cli/exit_status.ts";
import { specification, treeFlags } from "../lib/cli/help.ts";
import { ENVIRONMENT, FILES } from "../lib/cli/environment.ts";
import { HELP_TEXTS } from "../lib/cli/help_texts.ts";
import { OVERVIEW, SUMMARIES } from "../lib/cli/summaries.ts";
import type { NamedThing } from "../lib/cli/environment.ts";
import { TREE_COMMANDS } from "../lib/cli/tree_commands.ts";
import type { Flag } from "../lib/request/options.ts";

/** Escapes a line of text: the backslash, and what makes a line a request of roff. */
function escape(line: string): string {
  return line.replaceAll("\\", "\\e").replace(/^(?=[.'])/, "\\&");
}

/** Escapes what a reader copies: each dash is one of ASCII. */
function literal(line: string): string {
  return escape(line).replaceAll("-", "\\-");
}

/** Escapes prose, with flags in bold and the words for values in italics; each sentence begins a line. */
function prose(text: string): string {
  return text.replaceAll(/(?<=\.) (?=[A-Z])/g, "\n").split("\n").map((line) => {
    return escape(line).replaceAll(
      /(?<![\w/-])--?[a-z][\w-]*/g,
      (flag) => `\\fB${literal(flag)}\\fR`,
    )
      .replaceAll(/(?<![\w.=-])[A-Z]{2,}(?![\w-]*[a-z/])\b/g, "\\fI$&\\fR");
  }).join("\n");
}

/** A block of lines that stay as they are. */
function display(lines: readonly string[]): string {
  const text = lines.map((line) => `${literal(line.replace(/^ {2}/, ""))}\n`);
  return `.Bd -literal\n${text.join("")}.Ed\n`;
}

/** Writes paragraphs; in them, lines that begin with two spaces are a display. */
function paragraphs(text: string): string {
  return text.split("\n\n").map((part) => {
    const blocks = part.split(/\n(?= {2})|(?<=^ {2}.*)\n(?! {2})/m);
    return blocks.map((block) => {
      return block.startsWith("  ") ? display(block.split("\n")) : `${prose(block)}\n`;
    }).join("");
  }).join(".Pp\n");
}

function section(title: string, body: string): string {
  return body === "" ? "" : `.Sh ${title}\n${body}`;
}

/** A list of terms, each with its meaning. A term is the arguments of `.It`. */
function list(entries: readonly (readonly [term: string, meaning: string])[]): string {
  if (entries.length === 0) return "";
  const items = entries.map(([term, meaning]) => `.It ${term}\n${prose(meaning)}\n`);
  return `.Bl -tag -width Ds\n${items.join("")}.El\n`;
}

/** Writes a flag as the arguments of `.It`, with its meaning. */
function flagItem(
  { name, short, value, help, repeatable, default: without }: Flag,
): readonly [string, string] {
  const term = [
    ...(short === undefined ? [] : [`Fl ${short} ,`]),
    `Fl \\-${literal(name)}`,
    ...(value === undefined ? [] : [`Ar ${literal(value)}`]),
  ];
  const meaning = `${help}${repeatable ? "; may be given several times" : ""}` +
    (without === undefined ? "" : ` (default: ${without})`);
  return [term.join(" "), meaning];
}

function things(entries: readonly NamedThing[], of: CommandName | null, macro: string): string {
  const wanted = entries.filter(({ commands }) => {
    return of === null || commands === undefined || commands.includes(of);
  });
  return list(wanted.map(({ name, meaning }) => [`${macro} ${literal(name)}`, meaning]));
}

/** Writes the command lines of a command. */
function synopsis(usage: string): string {
  const lines = usage.split(/\n *(?=overlay-render)/);
  return lines.map((line) => {
    return `.Nm overlay-render\n${
      prose(line.replace(/^overlay-render /, "").replaceAll(/\s+/g, " "))
    }\n`;
  }).join("");
}

/** Writes references to other pages, as a list with commas. */
function seeAlso(pages: readonly string[]): string {
  const last = pages.length - 1;
  return pages.map((page, at) => `.Xr ${page}${at < last ? " ," : ""}\n`).join("");
}

const pageName = (name: CommandName): string => `overlay-render-${name}`;

function head(name: string, summary: string, date: Date): string {
  const day = date.toLocaleDateString("en-US", { dateStyle: "long", timeZone: "UTC" });
  return `.Dd ${day}\n.Dt ${name.toUpperCase()} 1\n.Os\n` +
    section("NAME", `.Nm ${name}\n.Nd ${prose(summary)}\n`);
}

const exitStatus = section(
  "EXIT STATUS",
  list(EXIT_STATUS.map(([status, meaning]) => [status.replaceAll(",", " ,"), meaning])),
);

/** The page of all commands. */
function overviewPage(date: Date): string {
  const { purpose, usage, examples } = OVERVIEW;
  const commands = COMMANDS.map((name) => [`Xr ${pageName(name)} 1`, SUMMARIES[name]] as const);
  return [
    head("overlay-render", "turn a read-only image into a writable root filesystem", date),
    section("SYNOPSIS", synopsis(`${usage}\noverlay-render --help | --version`)),
    section("DESCRIPTION", `${paragraphs(purpose)}.Ss Commands\n${list(commands)}`),
    section("ENVIRONMENT", things(ENVIRONMENT, null, "Ev")),
    section("FILES", things(FILES, null, "Pa")),
    exitStatus,
    section("EXAMPLES", display(examples.split("\n"))),
    section(
      "SEE ALSO",
      seeAlso([...COMMANDS.map(pageName).sort().map((name) => `${name} 1`), ...OTHERS]),
    ),
  ].join("");
}

const OTHERS = ["fstab 5", "mount 8"];

function specPart(): string {
  const [example = "", ...words] = specification().trim().split("\n").slice(1);
  return display([example]) + prose(words.map((line) => line.trim()).join("\n")) + "\n";
}

/** The page of a command. */
function commandPage(name: CommandName, date: Date): string {
  const { purpose, usage, examples, notes, permissions } = HELP_TEXTS[name];
  const flags = name === "tree" ? treeFlags() : ALL_FLAGS[name];
  const commands = TREE_COMMANDS.map(([term, meaning]) => {
    const [action, ...operands] = term.split(" ");
    return [`Cm ${action}${operands.map((word) => ` Ar ${word}`).join("")}`, meaning] as const;
  });
  return [
    head(pageName(name), SUMMARIES[name], date),
    section("SYNOPSIS", synopsis(usage)),
    section(
      "DESCRIPTION",
      paragraphs(purpose) + (name === "tree" ? `.Ss Commands\n${list(commands)}` : ""),
    ),
    section("OPTIONS", list(flags.map(flagItem))),
    section("SPEC", flags.some(({ name }) => name === "spec") ? specPart() : ""),
    section("NOTES", notes === undefined ? "" : paragraphs(notes)),
    section("PERMISSIONS", `Flags of deno run:\n${display(permissions.split("\n"))}`),
    section("ENVIRONMENT", things(ENVIRONMENT, name, "Ev")),
    section("FILES", things(FILES, name, "Pa")),
    exitStatus,
    section("EXAMPLES", display(examples.split("\n"))),
    section("SEE ALSO", seeAlso(["overlay-render 1", ...OTHERS])),
  ].join("");
}

/** Makes all manual pages, by the names of their files. */
export function manualPages(date: Date): Map<string, string> {
  return new Map([
    ["overlay-render.1", overviewPage(date)],
    ...COMMANDS.map((name) => [`${pageName(name)}.1`, commandPage(name, date)] as const),
  ]);
}

/** Writes all manual pages into a directory. */
export async function writeManual(directory: string, date: Date): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  for (const [name, text] of manualPages(date)) {
    await Deno.writeTextFile(`${directory}/${name}`, text);
  }
}

if (import.meta.main) {
  const directory = Deno.args[0] ?? new URL("../dist/man", import.meta.url).pathname;
  await writeManual(
    directory,
    new Date(Number(Deno.env.get("SOURCE_DATE_EPOCH") ?? Date.now() / 1000) * 1000),
  );
}
