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
import {
  APP,
  APPS,
  DRY_RUN,
  FLAGS,
  IMAGE,
  LAYER,
  ONE_POD,
  OUTPUT,
  POD,
  PODS,
  STORE,
  STORE_WAIT,
  WAIT,
} from "./flag_rows.ts";

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
