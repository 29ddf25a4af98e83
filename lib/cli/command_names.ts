/**
 * The names of the commands, and of what they take.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The names of all commands. */
export const COMMANDS = [
  "plan",
  "prepare",
  "render",
  "run",
  "unmount",
  "status",
  "changes",
  "reset",
  "restore",
  "gc",
  "keep",
  "unkeep",
  "export",
  "commit",
  "unshare",
  "doctor",
  "systemd",
  "completion",
  "tree",
] as const;

/** The name of a command. */
export type CommandName = (typeof COMMANDS)[number];

/** The commands whose flags are in modules that only they load. */
export type LateCommand = "run" | "tree";

/** The names of the commands of the tree store. */
export const TREE_ACTIONS = [
  "import",
  "pull",
  "push",
  "list",
  "path",
  "check",
  "verify-all",
  "inspect",
  "tag",
  "untag",
  "remove",
  "gc",
  "prune",
] as const;

/** The name of a command of the tree store. */
export type TreeAction = (typeof TREE_ACTIONS)[number];

/** The shells that command lines can be completed in. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** A shell that command lines can be completed in. */
export type Shell = (typeof SHELLS)[number];
