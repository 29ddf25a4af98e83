/**
 * The commands and their flags: the one table that the parser and the help are made from.
 *
 * Requires no permissions.
 *
 * @module
 */
import { flag, RENDER_OPTIONS } from "../request/options.ts";
import type { Flag } from "../request/options.ts";
import type { CommandName, LateCommand } from "./command_names.ts";
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

const ONE_POD = flag("dir", "pod DIR", "the pod; required", { field: "pod" });
export const POD = flag("dir", "pod DIR", "the pod", { field: "pod" });
export const PODS = flag("dir", "pods DIR", "a directory of pods", { field: "pods" });

/** The flags of what asks a registry. */
export const REGISTRY: readonly Flag[] = [
  flag("file", "authfile FILE", "the credentials file", {
    field: "authFile",
    default: "those of podman and docker",
  }),
  flag("name", "username NAME", "the user at the registry, with --password-stdin", {
    field: "username",
  }),
  flag("boolean", "password-stdin", "read the user's password from stdin"),
  flag("dir", "cert-dir DIR", "certificates for the registry: *.crt, *.cert and *.key", {
    field: "certDir",
    default: "certs.d of podman and docker",
  }),
  flag("boolean", "plain-http", "ask the registry without TLS", { field: "plainHttp" }),
];

/** The flags of a render that a spec has fields for. */
export const REQUEST_FLAGS: readonly Flag[] = [
  ...Object.entries(RENDER_OPTIONS).map(([field, option]) => ({ ...option, field })),
  flag("boolean", "no-overlay", "the same as --overlay never", { field: "overlay", sets: "never" }),
];

const SPEC = flag(
  "file",
  "spec FILE",
  "many apps of a pod from a file of JSON, - for stdin; instead of the flags above",
);

const RENDER: readonly Flag[] = [
  ...REQUEST_FLAGS,
  SPEC,
  ...DRY_RUN,
  WAIT,
  ...OUTPUT,
];

const KEEP: readonly Flag[] = [ONE_POD, ...DRY_RUN, WAIT, ...OUTPUT];

const APP = flag("name", "app NAME", 'the app, "" for the pod\'s own image', {
  field: "app",
  mayBeEmpty: true,
  default: "the only app of the pod",
});

const APPS = flag("name", "app NAME", 'an app, "" for the pod\'s own image', {
  field: "app",
  repeatable: true,
  mayBeEmpty: true,
  default: "all",
});

/** The flags of what makes a layer of what an app wrote. */
const LAYER: readonly Flag[] = [
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
const IMAGE: readonly Flag[] = [
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

/** The operands of each command that takes some; those of the tree store's are with its flags. */
export const OPERANDS_OF: Readonly<Partial<Record<CommandName, readonly string[]>>> = {
  systemd: ["DIR"],
  completion: ["SHELL"],
};

/** The flags of each command, in the order of its help; `run` and `tree` have theirs in modules of their own. */
export const FLAGS_OF: Readonly<Record<Exclude<CommandName, LateCommand>, readonly Flag[]>> = {
  plan: RENDER,
  prepare: RENDER,
  render: RENDER,
  unmount: [
    POD,
    PODS,
    APPS,
    flag(
      "boolean",
      "lazy",
      "also detach a rootfs that is in use; until nothing uses it, the app can be neither rendered " +
        "nor collected",
      { field: "lazy" },
    ),
    flag(
      "boolean",
      "foreign",
      "unmount everything in the pod, also a mount that no line of overlay.fstab names",
      { field: "foreign" },
    ),
    flag(
      "boolean",
      "recursive",
      "also unmount what is mounted inside a rootfs, innermost first; nothing may run in the app",
      { field: "recursive" },
    ),
    flag("boolean", "restorable", "restore mounts again what this unmounts, as after a reboot", {
      field: "restorable",
    }),
    ...DRY_RUN,
    WAIT,
    ...OUTPUT,
  ],
  reset: [
    ONE_POD,
    APPS,
    ...DRY_RUN,
    WAIT,
    ...OUTPUT,
  ],
  status: [
    POD,
    PODS,
    flag("boolean", "size", "measure the disk use of each upper", { field: "size" }),
    flag(
      "boolean",
      "check",
      "print only differences between overlay.fstab and the mounts, one a line; exit 1 if there is one",
    ),
    ...OUTPUT,
  ],
  changes: [
    ONE_POD,
    APP,
    flag("boolean", "all", "also directories that only lead to a change", { field: "all" }),
    FLAGS,
    ...OUTPUT,
  ],
  restore: [
    POD,
    PODS,
    flag(
      "boolean",
      "live",
      "nothing runs in a mounted image, so an app whose destination lies in it may be mounted again",
      { field: "live" },
    ),
    ...DRY_RUN,
    WAIT,
    ...OUTPUT,
  ],
  gc: [
    flag("dir", "pods DIR", "a directory of pods; they are set aside in DIR/garbage", {
      field: "pods",
    }),
    flag("dir", "pod DIR", "one pod", { field: "pod" }),
    flag(
      "duration",
      "older-than TIME",
      "with --pods: also pods that are not ephemeral, if no render, unmount or restore changed " +
        "their overlay.fstab for this time",
      { field: "olderThanMs" },
    ),
    flag(
      "dir",
      "undo DIR",
      "bring back a pod that is set aside, named by its own path or by the one in the garbage; " +
        "restore mounts its apps again",
    ),
    flag("boolean", "mark", "only set pods aside", { field: "phase", sets: "mark" }),
    flag("boolean", "sweep", "only remove pods that are set aside", {
      field: "phase",
      sets: "sweep",
    }),
    flag("duration", "grace-period TIME", "how long a pod is set aside before it is removed", {
      field: "gracePeriodMs",
      default: "30m; 0 with --pod",
    }),
    flag("boolean", "ignore-missing", "a pod or directory that does not exist is no error", {
      field: "ignoreMissing",
    }),
    ...DRY_RUN,
    WAIT,
    ...OUTPUT,
  ],
  keep: KEEP,
  unkeep: KEEP,
  export: [
    ONE_POD,
    APP,
    flag("file", "layer FILE", "write the upper as a layer of an image, - for stdout"),
    flag("file", "rootfs FILE", "write the mounted root as an archive, - for stdout"),
    flag("name", "to oci:DIR[:REF]", "write an image into an OCI image layout"),
    ...IMAGE,
    ...LAYER,
    ...DRY_RUN,
    ...OUTPUT,
  ],
  commit: [
    ONE_POD,
    APP,
    flag("name", "name NAME", "the name of the new image; required", { field: "name" }),
    ...IMAGE,
    flag(
      "name",
      "to PLACE",
      "write the image to oci:DIR[:REF], an OCI image layout, or docker://REF, a registry, too",
    ),
    ...REGISTRY,
    ...LAYER,
    ...DRY_RUN,
    STORE_WAIT,
    ...OUTPUT,
  ],
  unshare: [FLAGS, ...OUTPUT.filter(({ name }) => name === "quiet" || name === "help")],
  doctor: [
    flag("dir", "pod DIR", "the pod to be rendered into; it need not exist", {
      field: "pod",
      default: "/tmp",
    }),
    ...OUTPUT,
  ],
  systemd: [
    STORE,
    flag("file", "command FILE", "the command that the units start", {
      field: "command",
      default: "the one that runs",
    }),
    flag("dir", "out DIR", "write the units into a directory, such as /etc/systemd/system", {
      field: "out",
      default: "print them",
    }),
    ...DRY_RUN,
    ...OUTPUT,
  ],
  completion: OUTPUT,
};
