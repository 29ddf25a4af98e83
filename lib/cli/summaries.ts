/**
 * Each command in one line, for help, completion and manual pages.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { CommandName } from "./command_names.ts";
import type { HelpText } from "./help_text.ts";

/** Each command in one line. */
export const SUMMARIES: Readonly<Record<CommandName, string>> = {
  plan: "print what a render would do and the flags it needs; touch nothing",
  prepare: "make the directories; print the mount configuration; do not mount",
  render: "prepare and mount",
  run: "render if need be, and run a command in it",
  unmount: "unmount a pod's apps, or some of them",
  status: "list renders, whether they are mounted, and any drift",
  changes: "list what an app added, changed and deleted in its tree",
  reset: "throw away what an app wrote, and keep the app",
  restore: "mount again what was mounted, as after a reboot",
  gc: "unmount and remove pods",
  keep: "keep a pod: gc does not collect it",
  unkeep: "let gc collect a pod again",
  export: "write what an app wrote, or its root, as an archive",
  commit: "make an image of an app, in the tree store",
  unshare: "run a command as root of a user namespace of your own",
  doctor: "test what this machine can do, and say how to mend the rest",
  systemd: "print units that restore pods at boot and collect them",
  completion: "print the completion of command lines for a shell",
  tree:
    "images as trees: import, pull, push, list, path, inspect, tag, untag, check, remove, gc, prune",
};

/** The texts of the help of all. */
export const OVERVIEW: Omit<HelpText, "permissions"> = {
  purpose: "overlay-render turns a read-only image tree into a writable root filesystem.",
  usage: "overlay-render COMMAND [FLAGS]",
  examples: `  # What would happen, and which Deno permissions it takes:
  overlay-render plan --lower /images/debian --pod /run/pods/one --app web
  # A writable root filesystem:
  R=$(overlay-render render --lower /images/debian --pod /run/pods/one)
  # Take it away again, and keep what was written:
  overlay-render unmount --pod /run/pods/one`,
  notes: "  overlay-render COMMAND --help says more; --version (-V) prints the version.",
};
