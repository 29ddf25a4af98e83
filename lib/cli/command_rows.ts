/**
 * All commands in one list, those of the tree store included: completion and man pages are made from it.
 *
 * Requires no permissions.
 *
 * @module
 */
import { COMMANDS, SHELLS, TREE_ACTIONS } from "./command_names.ts";
import { OPERANDS_OF } from "./commands.ts";
import { ALL_FLAGS } from "./late_flags.ts";
import { SUMMARIES } from "./summaries.ts";
import { TREE_COMMANDS, TREE_FLAGS } from "./tree_commands.ts";
import type { Flag } from "../request/options.ts";

/** A command as completion and man pages see it. */
export interface CommandRow {
  /** The words that begin its command line, such as `tree import`. */
  readonly name: string;
  /** The meaning in one line. */
  readonly summary: string;
  readonly flags: readonly Flag[];
  /** The words for its operands. */
  readonly operands: readonly string[];
}

/** The form of a value, as far as completion knows it. */
export type ValueForm = Pick<Flag, "kind" | "choices">;

/** The word for a command with its arguments, which ends a command line. */
export const COMMAND_LINE = "COMMAND...";

/** The commands that end with another command. */
const STARTING: readonly string[] = ["run", "unshare"];

/** The forms of operands, by their words. Any other is a name. */
const OPERAND_FORMS: Readonly<Record<string, ValueForm>> = {
  SOURCE: { kind: "file" },
  [COMMAND_LINE]: { kind: "file" },
  DIR: { kind: "dir" },
  SHELL: { kind: "choice", choices: SHELLS },
};

/** Returns the form of an operand. */
export function operandForm(operand: string): ValueForm {
  return OPERAND_FORMS[operand] ?? { kind: "name" };
}

/** Returns the one line of a command of the tree store: its meaning up to the first full stop. */
function treeSummary(action: string): string {
  const [, meaning = ""] = TREE_COMMANDS.find(([term]) => term.split(" ")[0] === action) ?? [];
  return meaning.replace(/\. [^]*|\.$/, "");
}

/** Lists the commands of the tree store. */
export function treeRows(): CommandRow[] {
  return TREE_ACTIONS.map((action) => {
    const { flags, operands = [] } = TREE_FLAGS[action];
    return { name: `tree ${action}`, summary: treeSummary(action), flags, operands };
  });
}

/** Lists all commands; `tree` stands before its own. */
export function commandRows(): CommandRow[] {
  return COMMANDS.flatMap((name) => {
    const summary = SUMMARIES[name];
    if (name === "tree") return [{ name, summary, flags: [], operands: [] }, ...treeRows()];
    const operands = STARTING.includes(name) ? [COMMAND_LINE] : OPERANDS_OF[name] ?? [];
    return [{ name, summary, flags: ALL_FLAGS[name], operands }];
  });
}
