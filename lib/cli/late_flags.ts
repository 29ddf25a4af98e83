/**
 * The flags of `run`, which only it and the help load, and the table of all flags.
 *
 * Requires no permissions.
 *
 * @module
 */
import { DRY_RUN, OUTPUT, POD, PODS, WAIT } from "./flag_rows.ts";
import { FLAGS_OF, REQUEST_FLAGS } from "./commands.ts";
import type { CommandName } from "./command_names.ts";
import { DEFAULT_PODS } from "../request/layout.ts";
import { flag } from "../request/options.ts";
import type { Flag } from "../request/options.ts";
import { NETWORKS, RUNTIME_NAMES } from "../runtime/container.ts";

/** The flags of the process that is run. */
export const PROCESS_FLAGS: readonly Flag[] = [
  flag("name", "env NAME=VALUE", "a variable of the command", {
    short: "e",
    field: "env",
    repeatable: true,
  }),
  flag("name", "workdir DIR", "the working directory, in the rootfs", {
    short: "w",
    field: "workdir",
    default: "that of the image, or /",
  }),
  flag("name", "user USER[:GROUP]", "the user, names or ids", {
    short: "u",
    field: "user",
    default: "that of the image, or root",
  }),
  flag("name", "entrypoint WORD", "the program before the command, empty for none", {
    field: "entrypoint",
    mayBeEmpty: true,
    default: "that of the image",
  }),
  flag("choice", "network NAME", "host, or none: a loopback device of its own", {
    field: "network",
    choices: NETWORKS,
    default: "host",
  }),
  flag("name", "bind SRC:DST[:ro]", "a directory or file of the host that the command sees", {
    field: "bind",
    repeatable: true,
  }),
  flag(
    "choice",
    "runtime NAME",
    "auto, bwrap, runc, crun or chroot, which protects the host from nothing",
    {
      field: "runtime",
      choices: RUNTIME_NAMES,
      default: "auto: bwrap; runc or crun for another user than root",
    },
  ),
  flag(
    "boolean",
    "tty",
    "keep the terminal and its job control; a hostile command could then type into it",
    {
      field: "tty",
    },
  ),
  flag("boolean", "rm", "remove the pod afterwards", { field: "remove" }),
];

const RUN: readonly Flag[] = [
  ...REQUEST_FLAGS.filter(({ name }) => name !== "pod"),
  { ...POD, help: "the pod", default: "a new one, which is removed afterwards" },
  { ...PODS, help: "the directory of a pod that is not named", default: DEFAULT_PODS },
  ...PROCESS_FLAGS,
  ...DRY_RUN,
  WAIT,
  ...OUTPUT.filter(({ name }) => name !== "json"),
];

/** The flags of each command with flags of its own, in the order of its help. */
export const ALL_FLAGS: Readonly<Record<Exclude<CommandName, "tree">, readonly Flag[]>> = {
  ...FLAGS_OF,
  run: RUN,
};
