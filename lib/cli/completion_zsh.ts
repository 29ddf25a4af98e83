/**
 * Completion for zsh.
 *
 * Requires no permissions.
 *
 * @module
 */
import { COMMAND_LINE, commandRows, operandForm, treeRows } from "./command_rows.ts";
import type { CommandRow, ValueForm } from "./command_rows.ts";
import type { Flag } from "../request/options.ts";

function quoteShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Escapes what divides the parts of a spec of `_arguments`. */
function escape(text: string): string {
  return text.replaceAll(/[\\:[\]]/g, "\\$&");
}

/** Writes the action of `_arguments` that offers values of a form. */
function action({ kind, choices }: ValueForm): string {
  if (choices !== undefined) return `(${choices.join(" ")})`;
  if (kind === "dir") return "_files -/";
  // A lone space, which shows a message, would keep flags from being put in.
  return kind === "file" ? "_files" : "()";
}

/** Writes the specs of `_arguments` for a flag. */
function flagSpecs({ name, short, help, value, repeatable, ...form }: Flag): string[] {
  const valued = value === undefined ? "" : `:${escape(value)}:${action(form)}`;
  const text = `[${escape(help)}]${valued}`;
  const forms = [
    ...(short === undefined ? [] : [`-${short}${value === undefined ? "" : "+"}`]),
    `--${name}${value === undefined ? "" : "="}`,
  ];
  const names = short === undefined ? `--${name}` : `-${short} --${name}`;
  const before = repeatable ? "*" : `(${names})`;
  return forms.map((form) => quoteShell(`${before}${form}${text}`));
}

/** Writes the call that completes a command's arguments. */
function body({ flags, operands }: CommandRow): string {
  const places = operands.map((operand, at) => {
    const place = operand === COMMAND_LINE ? "*" : at + 1;
    return quoteShell(`${place}:${operand}:${action(operandForm(operand))}`);
  });
  const specs = [...flags.flatMap(flagSpecs), ...places];
  return `      _arguments -S ${specs.join(" \\\n        ")}\n`;
}

/** Writes names with their meanings for `_describe`. */
function described(rows: readonly CommandRow[]): string {
  return rows.map(({ name, summary }) => {
    const word = name.replace(/^tree /, "");
    return `    ${quoteShell(`${word}:${summary.replaceAll(":", "\\:")}`)}\n`;
  }).join("");
}

/** Makes the completion script of zsh, which autoload takes by the name `_overlay-render`. */
export function zshCompletion(): string {
  const rows = commandRows();
  const commands = rows.filter(({ name }) => !name.startsWith("tree "));
  const groups = Map.groupBy(rows.filter(({ name }) => name !== "tree"), body);
  const cases = [...groups].map(([text, rows]) => {
    return `    ${rows.map(({ name }) => `${quoteShell(name)}`).join("|")})\n${text}      ;;\n`;
  });
  return `#compdef overlay-render
# Completion of overlay-render for zsh.

_overlay-render() {
  local -a commands actions
  commands=(
${described(commands)}    'help:the help of a command'
  )
  actions=(
${described(treeRows())}  )
  if ((CURRENT == 2)) || [[ $words[2] == help && CURRENT -eq 3 ]]; then
    if [[ $PREFIX == -* ]]; then compadd -- --help --version -V; return; fi
    _describe command commands
    return
  fi
  local command=$words[2]
  if [[ $command == tree ]]; then
    if ((CURRENT == 3)); then _describe command actions; return; fi
    command="tree $words[3]"
    shift words
    ((CURRENT--))
  fi
  shift words
  ((CURRENT--))
  case $command in
${cases.join("")}  esac
}

# Autoload runs the file as the function; source only defines it.
if [[ $funcstack[1] == _overlay-render ]]; then
  _overlay-render "$@"
else
  compdef _overlay-render overlay-render
fi
`;
}
