/**
 * The types of a command line that is read: the command, its flags and its values.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { Flags } from "./args.ts";
import type { Shell, TreeAction } from "./command_names.ts";
import type { ChangesRequest } from "../api/changes.ts";
import type { DoctorRequest } from "../api/doctor.ts";
import type { CollectRequest } from "../api/gc.ts";
import type { ResetRequest } from "../api/reset.ts";
import type { RestoreRequest } from "../api/restore_run.ts";
import type { StatusRequest } from "../api/status.ts";
import type { RenderRequest } from "../request/options.ts";
import type { UnmountPodsRequest, UnmountRequest } from "../request/unmount_request.ts";

/** The form and the amount of a command's output. */
export interface OutputOptions {
  /** Set if stdout is one JSON object. */
  readonly json: boolean;
  /** Set if warnings are left out. */
  readonly quiet: boolean;
  /** Set if each operation and each program that is run is printed. */
  readonly verbose: boolean;
  /** Set if of a plan only the flags of `deno run` are printed. */
  readonly flags?: true;
}

/** The options of every command. */
export interface Common {
  readonly output: OutputOptions;
  /** How long it waits for another command on the same pod or store, in milliseconds. @default {10000} */
  readonly waitMs?: number;
  /** Set if the command is only planned. */
  readonly dryRun?: true;
}

/** A command that renders, or plans it. */
export type Render = "plan" | "prepare" | "render";

/** A command with its flags and values. */
export type Command =
  | { readonly kind: "help"; readonly topic: string | null }
  | { readonly kind: "version" }
  | Common & {
    readonly kind: Render;
    readonly request: RenderRequest;
    /** Set if `plan` plans a render; `prepare --dry-run` plans the preparation alone. */
    readonly mount: boolean;
  }
  | Common & {
    readonly kind: "spec";
    readonly action: Render;
    /** The spec's file, or `-` for stdin. */
    readonly file: string;
    /** The directory that its relative paths are taken from. */
    readonly cwd: string;
    readonly mount: boolean;
  }
  | Common & { readonly kind: "unmount"; readonly request: UnmountRequest | UnmountPodsRequest }
  | Common & {
    readonly kind: "status";
    readonly request: StatusRequest;
    /** Set if only drift is printed, and sets the exit status. */
    readonly check?: true;
  }
  | Common & { readonly kind: "changes"; readonly request: ChangesRequest }
  | Common & { readonly kind: "reset"; readonly request: ResetRequest }
  | Common & { readonly kind: "restore"; readonly request: RestoreRequest }
  | Common & { readonly kind: "gc"; readonly request: CollectRequest }
  | Common & {
    readonly kind: "gc";
    /** The pod that is brought back, or the path that it has in the garbage. */
    readonly undo: string;
  }
  | Common & { readonly kind: "keep" | "unkeep"; readonly pod: string }
  | Common & {
    readonly kind: "export" | "commit";
    /** The fields of the request that flags set. */
    readonly fields: Readonly<Record<string, unknown>>;
    /** The flags that say what is written, and where. */
    readonly flags: Flags;
    /** The directory that relative paths are taken from. */
    readonly cwd: string;
  }
  | Common & { readonly kind: "doctor"; readonly request: DoctorRequest }
  | Common & {
    readonly kind: "unshare";
    /** The command and its arguments; empty if only the flags of `deno run` are printed. */
    readonly argv: readonly string[];
  }
  | Common & { readonly kind: "completion"; readonly shell: Shell }
  | Common & {
    readonly kind: "systemd";
    /** The directory of pods. */
    readonly pods: string;
    readonly store?: string;
    /** The command that the units start. @default {the one that runs} */
    readonly command?: string;
    /** The directory that the units are written into. @default {they are printed} */
    readonly out?: string;
  }
  | {
    readonly kind: "run";
    readonly args: readonly string[];
    /** The directory that relative paths are taken from. */
    readonly cwd: string;
  }
  | {
    readonly kind: "tree";
    readonly action: TreeAction;
    readonly args: readonly string[];
    /** The directory that relative paths are taken from. */
    readonly cwd: string;
  };
