/**
 * Completion for fish.
 *
 * Requires no permissions.
 *
 * @module
 */
import { commandRows, operandForm, treeRows } from "./command_rows.ts";
import type { CommandRow, ValueForm } from "./command_rows.ts";
import type { Flag } from "../request/options.ts";

/** Quotes a word; in quotes, fish reads a backslash only before a quote and another one. */
function quoteFish(text: string): string {
  return `'${text.replaceAll(/[\\']/g, "\\$&")}'`;
}

/** Writes the options of `complete` that offer values of a form. */
function offer({ kind, choices }: ValueForm): string {
  if (choices !== undefined) return `-x -a ${quoteFish(choices.join(" "))}`;
  if (kind === "dir") return "-x -a '(__fish_complete_directories)'";
  return kind === "file" ? "-r -F" : "-x";
}

/** Writes the line that completes a flag, without the condition. */
function flagLine({ name, short, help, ...form }: Flag): string {
  const letter = short === undefined ? "" : `-s ${short} `;
  const values = form.kind === "boolean" ? "" : ` ${offer(form)}`;
  return `${letter}-l ${name}${values} -d ${quoteFish(help)}`;
}

/** Writes the line that completes an operand, without the condition. */
function operandLines(operands: readonly string[]): string[] {
  const { kind, choices } = operandForm(operands[0] ?? "");
  if (choices !== undefined) return [`-a ${quoteFish(choices.join(" "))}`];
  if (kind === "dir") return ["-a '(__fish_complete_directories)'"];
  return kind === "file" ? ["-F"] : [];
}

function line(names: readonly string[], rest: string): string {
  const condition = `__overlay_render_in ${names.map((name) => `"${name}"`).join(" ")}`;
  return `complete -c overlay-render -n '${condition}' ${rest}\n`;
}

/** Writes a line for each command that can follow a word. */
function commandLines(condition: string, rows: readonly CommandRow[]): string {
  return rows.map(({ name, summary }) => {
    const word = name.replace(/^tree /, "");
    return `complete -c overlay-render -n '${condition}' -a ${word} -d ${quoteFish(summary)}\n`;
  }).join("");
}

/** Makes the completion script of fish. */
export function fishCompletion(): string {
  const rows = commandRows();
  const lines = rows.flatMap(({ name, flags, operands }) => {
    return [...flags.map(flagLine), ...operandLines(operands)].map((text) => ({ name, text }));
  });
  const grouped = [...Map.groupBy(lines, ({ text }) => text)].map(([text, of]) => {
    return line(of.map(({ name }) => name), text);
  });
  const commands = rows.filter(({ name }) => !name.startsWith("tree "));
  return `# Completion of overlay-render for fish.

# The command before the cursor; a command of the tree store is two words.
function __overlay_render_command
    set -l words (commandline -opc)
    if test "$words[2]" = tree
        echo "$words[2..3]"
    else
        echo "$words[2]"
    end
end

function __overlay_render_in
    contains -- (__overlay_render_command) $argv
end

function __overlay_render_first
    test (count (commandline -opc)) -eq 1; or test (__overlay_render_command) = help
end

complete -c overlay-render -f
complete -c overlay-render -n '__overlay_render_first' -l help -d 'the help of all'
complete -c overlay-render -n '__overlay_render_first' -s V -l version -d 'the version'
complete -c overlay-render -n '__overlay_render_first' -a help -d 'the help of a command'
${commandLines("__overlay_render_first", commands)}${
    commandLines("__overlay_render_in tree", treeRows())
  }${grouped.join("")}`;
}
