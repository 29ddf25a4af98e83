/**
 * The variables and files that commands use, for the manual pages.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { CommandName } from "./command_names.ts";
import { DEFAULT_STORE } from "../request/layout.ts";

/** A variable or a file that commands read or write. */
export interface NamedThing {
  readonly name: string;
  readonly meaning: string;
  /** The commands that it matters for. @default {all} */
  readonly commands?: readonly CommandName[];
}

/** The variables of the environment that commands read, where Deno allows it; they never ask. */
export const ENVIRONMENT: readonly NamedThing[] = [
  {
    name: "OVERLAY_RENDER_STORE",
    meaning: "The tree store, where neither --store nor a spec names one.",
    commands: ["plan", "prepare", "render", "run", "export", "commit", "tree"],
  },
  {
    name: "OVERLAY_RENDER_PODS",
    meaning: "The directory of pods, where no flag names one, nor a pod.",
    commands: ["run", "status", "restore", "gc"],
  },
  {
    name: "SOURCE_DATE_EPOCH",
    meaning: "The latest time that an entry of a layer or an archive gets, and the time of a new " +
      "image, in seconds since 1970.",
    commands: ["export", "commit"],
  },
  {
    name: "REGISTRY_AUTH_FILE",
    meaning: "The credentials file, as --authfile.",
    commands: ["render", "tree"],
  },
  {
    name: "XDG_DATA_HOME",
    meaning: "The directory of the tree store of a user who is not root, overlay-render; " +
      "~/.local/share, if it is not set.",
    commands: ["plan", "prepare", "render", "run", "export", "commit", "tree"],
  },
  {
    name: "XDG_STATE_HOME",
    meaning:
      "The directory of the pods of a user who is not root, overlay-render; ~/.local/state, " +
      "if it is not set.",
    commands: ["run"],
  },
];

/** The files and directories of commands. */
export const FILES: readonly NamedThing[] = [
  {
    name: DEFAULT_STORE,
    meaning: "The tree store, where --store names no other.",
    commands: ["plan", "prepare", "render", "run", "export", "commit", "tree"],
  },
  {
    name: "overlay.fstab",
    meaning: "The record of a pod, in its directory: one fstab(5) line for each app.",
    commands: ["prepare", "render", "unmount", "status", "reset", "restore", "gc"],
  },
  {
    name: "garbage",
    meaning: "Pods that are set aside, in the directory that the pods are in.",
    commands: ["gc"],
  },
  {
    name: "${XDG_RUNTIME_DIR}/containers/auth.json",
    meaning: "The credentials of registries; after it, those of podman and docker in the home " +
      "directory are looked at.",
    commands: ["render", "tree"],
  },
  {
    name: "/etc/subuid, /etc/subgid",
    meaning: "The ranges of ids of a user who is not root.",
    commands: ["prepare", "run", "unshare", "changes", "reset", "gc", "export", "commit", "tree"],
  },
];
