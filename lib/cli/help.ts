/**
 * The help of a command, made from the table of its flags and its texts.
 *
 * Requires no permissions.
 *
 * @module
 */
import { COMMANDS } from "./command_names.ts";
import { ALL_FLAGS } from "./late_flags.ts";
import { TREE_COMMANDS, TREE_FLAGS } from "./tree_commands.ts";
import { EXIT_STATUS } from "./exit_status.ts";
import { HELP_TEXTS } from "./help_texts.ts";
import { OVERVIEW, SUMMARIES } from "./summaries.ts";
import { RENDER_OPTIONS } from "../request/options.ts";
import type { Flag, RenderOption } from "../request/options.ts";

const WIDTH = 80;
/** The column in which the meaning of a flag begins. */
const MEANING = 21;

/** Breaks text into lines. */
function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines.push(`${lines.pop()} ${word}`);
    } else lines.push(word);
  }
  return lines;
}

/** Writes an entry of a list: a term, and its meaning in a column of its own. */
function entry(term: string, meaning: string, column: number): string {
  const head = `  ${term}`;
  const lines = wrapped(meaning, WIDTH - column);
  const text = lines.join(`\n${" ".repeat(column)}`);
  return head.length < column
    ? `${head.padEnd(column)}${text}\n`
    : `${head}\n${" ".repeat(column)}${text}\n`;
}

function flagEntry({ short, name, value, help, repeatable, default: without }: Flag): string {
  const term = [
    ...(short === undefined ? [] : [`-${short},`]),
    `--${name}`,
    ...(value === undefined ? [] : [value]),
  ];
  const meaning = [
    help,
    repeatable ? "; may be given several times" : "",
    without === undefined ? "" : ` (default: ${without})`,
  ];
  return entry(term.join(" "), meaning.join(""), MEANING);
}

/** Lists the flags of all commands of the tree store; each names its commands, unless all have it. */
export function treeFlags(): Flag[] {
  const found = new Map<string, { readonly flag: Flag; readonly actions: string[] }>();
  const all = Object.entries(TREE_FLAGS);
  for (const [action, { flags }] of all) {
    for (const flag of flags) {
      const known = found.get(flag.name) ?? { flag, actions: [] };
      known.actions.push(action);
      found.set(flag.name, known);
    }
  }
  const rows = [...found.values()].map(({ flag, actions }) => {
    if (actions.length === all.length) return { flag, isCommon: true };
    return { flag: { ...flag, help: `${actions.join(", ")}: ${flag.help}` }, isCommon: false };
  });
  const [store, ...common] = rows.filter(({ isCommon }) => isCommon);
  const own = rows.filter(({ isCommon }) => !isCommon);
  return [...(store === undefined ? [] : [store]), ...own, ...common].map(({ flag }) => flag);
}

/** Describes a spec: an example, and its fields from the table of options. */
export function specification(): string {
  const named = (fields: readonly string[], isWanted: (option: RenderOption) => boolean) => {
    const wanted = Object.entries(RENDER_OPTIONS).filter(([field, option]) => {
      return isWanted(option) && !fields.includes(field);
    });
    return wanted.map(([field, { repeatable }]) => `${field}${repeatable ? " (a list)" : ""}`);
  };
  const words = `A pod may have ${named(["pod"], ({ of }) => of !== "app").join(", ")}; an app ` +
    `${named(["app", "lower"], ({ of }) => of !== "pod").join(", ")}. They mean what the flags ` +
    "mean. All apps are mounted by one mount process, or none is.";
  const example = '{"pod": DIR, "apps": [{"app": NAME, "lower": [DIR]}, ...]}';
  return `\nSpec:\n  ${[example, ...wrapped(words, WIDTH - 2)].join("\n  ")}\n`;
}

function exitStatus(): string {
  const lines = EXIT_STATUS.map(([status, meaning]) => {
    return `  ${wrapped(`${status} ${meaning}`, WIDTH - 4).join("\n    ")}\n`;
  });
  return `\nExit status:\n${lines.join("")}`;
}

function overview(): string {
  const { purpose, usage, examples, notes } = OVERVIEW;
  const commands = COMMANDS.map((name) => entry(name, SUMMARIES[name], 14)).join("");
  return `${purpose}\n\nUsage: ${usage}\n\nExamples:\n${examples}\n\nCommands:\n${commands}\n${notes}\n${exitStatus()}`;
}

/** Returns the help of a command, or of all of it. */
export function helpText(topic: string | null): string {
  const name = COMMANDS.find((name) => name === topic);
  if (name === undefined) return overview();
  const { purpose, usage, examples, notes, permissions } = HELP_TEXTS[name];
  const commands = name === "tree"
    ? `\nCommands:\n${TREE_COMMANDS.map(([term, meaning]) => entry(term, meaning, 17)).join("")}` +
      "  An ID may also be the name of an image, or the first digits of the id, at\n" +
      "  least 4.\n"
    : "";
  const flags = name === "tree" ? treeFlags() : ALL_FLAGS[name];
  return [
    `${purpose}\n\nUsage: ${usage}\n\nExamples:\n${examples}\n`,
    commands,
    `\nFlags:\n${flags.map(flagEntry).join("")}`,
    flags.some(({ name }) => name === "spec") ? specification() : "",
    notes === undefined ? "" : `\n${notes}\n`,
    `\nPermissions:\n${permissions}\n`,
    exitStatus(),
  ].join("");
}
