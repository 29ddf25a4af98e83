/**
 * Rows of the table of flags that several commands have.
 *
 * Requires no permissions.
 *
 * @module
 */
import { flag, RENDER_OPTIONS } from "../request/options.ts";
import type { Flag } from "../request/options.ts";
import { COMPRESSIONS } from "../request/names.ts";

/** The flags of every command. */
export const OUTPUT: readonly Flag[] = [
  flag("boolean", "json", "one JSON object on stdout, errors included"),
  flag("boolean", "quiet", "no warnings", { short: "q" }),
  flag("boolean", "verbose", "each operation and each command run, on stderr"),
  flag("boolean", "help", "print the help", { short: "h" }),
];

export const FLAGS = flag(
  "boolean",
  "flags",
  "print the flags of deno run that it needs, in one line; touch nothing",
);

/** The flags of every command that changes something. */
export const DRY_RUN: readonly Flag[] = [
  flag("boolean", "dry-run", "print the plan, and touch nothing", { short: "n" }),
  FLAGS,
];

export const WAIT = flag(
  "duration",
  "wait TIME",
  "how long to wait for another command on the same pod",
  {
    default: "10s",
  },
);

export const ONE_POD = flag("dir", "pod DIR", "the pod; required", { field: "pod" });

export const POD = flag("dir", "pod DIR", "the pod", { field: "pod" });

export const PODS = flag("dir", "pods DIR", "a directory of pods", { field: "pods" });

export const APP = flag("name", "app NAME", 'the app, "" for the pod\'s own image', {
  field: "app",
  mayBeEmpty: true,
  default: "the only app of the pod",
});

export const APPS = flag("name", "app NAME", 'an app, "" for the pod\'s own image', {
  field: "app",
  repeatable: true,
  mayBeEmpty: true,
  default: "all",
});

/** The flags of what makes a layer of what an app wrote. */
export const LAYER: readonly Flag[] = [
  flag("choice", "compression NAME", "none, gzip or zstd", {
    field: "compression",
    choices: COMPRESSIONS,
    default: "gzip; none with --rootfs",
  }),
  flag(
    "boolean",
    "skip-unrepresentable",
    "leave out what a layer cannot hold, such as a name that begins with .wh.",
    { field: "skipUnrepresentable" },
  ),
  flag("boolean", "prune", "leave out of a layer what differs from the tree only in its time", {
    field: "prune",
  }),
];

export const STORE: Flag = { ...RENDER_OPTIONS.store, field: "store" };

export const STORE_WAIT = flag(
  "duration",
  "wait TIME",
  "how long to wait for another command on the same store",
  { default: "10m" },
);

/** The flags of what makes an image of an app. */
export const IMAGE: readonly Flag[] = [
  STORE,
  flag("boolean", "squash", "make one layer of all of the mounted root", { field: "squash" }),
  flag("name", "message TEXT", "the comment in the history", { field: "message" }),
  flag("name", "author TEXT", "the author", { field: "author", default: "that of the base" }),
  flag("name", "env NAME=VALUE", "a variable", { field: "env", repeatable: true }),
  flag("name", "cmd WORDS", "the command: a JSON list of words, or a line for /bin/sh -c", {
    field: "cmd",
    default: "that of the base",
  }),
  flag("name", "entrypoint WORDS", "the entry point; it resets the command", {
    field: "entrypoint",
    default: "that of the base",
  }),
  flag("name", "user USER", "the user", { field: "user", default: "that of the base" }),
  flag("name", "workdir DIR", "the working directory", {
    field: "workdir",
    default: "that of the base",
  }),
  flag("name", "label NAME=VALUE", "a label", { field: "label", repeatable: true }),
];
