/**
 * Completion of command lines: a script for each shell, made from the table of commands and flags. A script
 * starts no program, since a start of Deno for each key would be felt.
 *
 * Requires no permissions.
 *
 * @module
 */
import { bashCompletion } from "./completion_bash.ts";
import { fishCompletion } from "./completion_fish.ts";
import { zshCompletion } from "./completion_zsh.ts";
import type { Shell } from "./command_names.ts";

const MAKERS: Readonly<Record<Shell, () => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Makes the completion script of a shell. */
export function completion(shell: Shell): string {
  return MAKERS[shell]();
}
