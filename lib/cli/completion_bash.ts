/**
 * Completion for bash. It needs nothing of the package bash-completion.
 *
 * Requires no permissions.
 *
 * @module
 */
import { commandRows, operandForm } from "./command_rows.ts";
import type { CommandRow, ValueForm } from "./command_rows.ts";
import { COMMANDS, TREE_ACTIONS } from "./command_names.ts";
import type { Flag } from "../request/options.ts";

/** Writes the spellings of a flag. */
function spellings({ name, short }: Flag): string[] {
  return [...(short === undefined ? [] : [`-${short}`]), `--${name}`];
}

/** Writes the call that offers values of a form; any other value cannot be guessed. */
function offer({ kind, choices }: ValueForm): string {
  if (choices !== undefined) return `_overlay_render_words '${choices.join(" ")}'`;
  if (kind === "dir") return "_overlay_render_paths -d";
  return kind === "file" ? "_overlay_render_paths -f" : ":";
}

/** Writes the cases of the flags that take a value: flags of one form share a case. */
function valueCases(flags: readonly Flag[]): string {
  const valued = flags.filter(({ kind }) => kind !== "boolean");
  if (valued.length === 0) return "";
  const cases = [...Map.groupBy(valued, offer)].map(([call, flags]) => {
    return `        ${flags.flatMap(spellings).join("|")}) ${call}; return ;;\n`;
  });
  return `      case $prev in\n${cases.join("")}      esac\n`;
}

/** Writes the completion of a command's arguments. */
function body({ flags, operands }: CommandRow): string {
  const [operand] = operands;
  return `${valueCases(flags)}      flags='${flags.flatMap(spellings).join(" ")}'\n` +
    (operand === undefined ? "" : `      operand=${quoteShell(offer(operandForm(operand)))}\n`);
}

function quoteShell(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Makes the completion script of bash. */
export function bashCompletion(): string {
  const groups = Map.groupBy(commandRows().filter(({ name }) => name !== "tree"), body);
  const cases = [...groups].map(([text, rows]) => {
    return `    ${rows.map(({ name }) => `'${name}'`).join("|")})\n${text}      ;;\n`;
  });
  return `# Completion of overlay-render for bash.

_overlay_render_words() {
  local IFS=$' \\t\\n'
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_overlay_render_paths() {
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
  compopt -o filenames
}

_overlay_render() {
  COMPREPLY=()
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} flags= operand=
  local command=\${COMP_WORDS[1]}
  if ((COMP_CWORD == 1)); then
    _overlay_render_words '${COMMANDS.join(" ")} help --help --version -V'
    return
  fi
  if [[ $command == help ]]; then
    _overlay_render_words '${COMMANDS.join(" ")}'
    return
  fi
  if [[ $command == tree ]]; then
    if ((COMP_CWORD == 2)); then
      _overlay_render_words '${TREE_ACTIONS.join(" ")} --help'
      return
    fi
    command="tree \${COMP_WORDS[2]}"
  fi
  # Readline breaks --flag=VALUE at the equals sign.
  if [[ $cur == = ]]; then cur=; fi
  if [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}; fi
  case $command in
${cases.join("")}  esac
  # What follows -- is no flag.
  if [[ " \${COMP_WORDS[*]:0:COMP_CWORD} " == *' -- '* ]]; then flags=; fi
  if [[ $cur == -* ]]; then _overlay_render_words "$flags"; else eval "$operand"; fi
}

complete -F _overlay_render overlay-render
`;
}
