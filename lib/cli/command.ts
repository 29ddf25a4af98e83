/**
 * A command line as a typed command. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags } from "./args.ts";
import type { Flags, FlagSpec } from "./args.ts";
import { normalize } from "../core/deps.ts";
import { parseDuration } from "../core/duration.ts";
import { InvalidValueError } from "../core/errors.ts";
import { parseLayout, parseOverlayMode, parseProfile } from "../request/names.ts";
import type { OverlayMode } from "../request/names.ts";
import { quote } from "../core/quote.ts";
import type { RenderRequest } from "../request/options.ts";
import type { DoctorRequest } from "../api/doctor.ts";
import type { CollectRequest } from "../api/gc.ts";
import type { PodsRequest } from "../pod/list.ts";
import type { RestoreRequest } from "../api/restore.ts";
import type { StatusRequest } from "../api/status.ts";
import type { UnmountRequest } from "../api/unmount.ts";

/** How a command talks. */
export interface OutputOptions {
  /** Whether stdout is one JSON object. */
  readonly json: boolean;
  /** Whether warnings are left out. */
  readonly quiet: boolean;
  /** Whether each operation and each command that is run is told. */
  readonly verbose: boolean;
}

/** How long a command waits for another one that changes the pod, in milliseconds. */
interface Waiting {
  /** The wait. @default {10000} */
  readonly waitMs?: number;
}

/** What to do. */
export type Command =
  | { readonly kind: "help"; readonly topic: string | null }
  | { readonly kind: "version" }
  | Waiting & {
    readonly kind: "plan" | "prepare" | "render";
    readonly request: RenderRequest;
    readonly voice: OutputOptions;
    /** What `plan` plans: a render, or with `prepare --dry-run` the preparation. */
    readonly mount: boolean;
  }
  | Waiting & {
    readonly kind: "spec";
    readonly action: "plan" | "prepare" | "render";
    /** The spec's file, or `-` for stdin. */
    readonly file: string;
    /** The directory that its relative paths are taken from. */
    readonly cwd: string;
    readonly voice: OutputOptions;
    readonly mount: boolean;
  }
  | Waiting & {
    readonly kind: "unmount";
    readonly request: UnmountRequest;
    readonly voice: OutputOptions;
  }
  | { readonly kind: "status"; readonly request: StatusRequest; readonly voice: OutputOptions }
  | Waiting & {
    readonly kind: "gc";
    readonly request: CollectRequest;
    readonly voice: OutputOptions;
  }
  | Waiting & {
    readonly kind: "gc";
    /** The pod that is brought back, or the path that it has in the garbage. */
    readonly undo: string;
    readonly voice: OutputOptions;
  }
  | Waiting & {
    readonly kind: "keep" | "unkeep";
    readonly pod: string;
    readonly voice: OutputOptions;
  }
  | Waiting & {
    readonly kind: "restore";
    readonly request: RestoreRequest;
    readonly voice: OutputOptions;
  }
  | { readonly kind: "doctor"; readonly request: DoctorRequest; readonly voice: OutputOptions }
  | {
    readonly kind: "tree";
    readonly action: TreeAction;
    readonly args: readonly string[];
    /** The directory that relative paths are taken from. */
    readonly cwd: string;
  };

/** The names of all commands. */
export const COMMANDS = [
  "plan",
  "prepare",
  "render",
  "unmount",
  "status",
  "restore",
  "gc",
  "keep",
  "unkeep",
  "doctor",
  "tree",
] as const;

/** What can be done with the tree store. */
const TREE_ACTIONS = [
  "import",
  "list",
  "path",
  "check",
  "verify-all",
  "remove",
  "gc",
] as const;

/** The name of something that can be done with the tree store. */
export type TreeAction = (typeof TREE_ACTIONS)[number];

const VOICE_FLAGS = ["json", "quiet", "verbose", "help"];

/** The flags of a render that a spec has fields for. */
const REQUEST_FLAGS = [
  "tree",
  "image",
  "store",
  "pod",
  "app",
  "dest",
  "layout",
  "profile",
  "dir-mode",
  "group",
  "label",
  "manifest",
  "overlay",
];

/** The same without a value. */
const REQUEST_SWITCHES = ["read-only", "no-overlay", "mtab", "live", "ephemeral"];

function spec(command: (typeof COMMANDS)[number]): FlagSpec {
  const base = {
    command,
    single: ["pod", "wait"],
    repeated: [],
    boolean: VOICE_FLAGS,
    emptyAllowed: ["app"],
    alias: { h: "help", q: "quiet" },
  };
  switch (command) {
    case "status":
      return { ...base, single: ["pod", "pods"], boolean: [...VOICE_FLAGS, "size"] };
    case "doctor":
      return { ...base, single: ["pod"] };
    case "keep":
    case "unkeep":
      return base;
    case "unmount":
      return { ...base, repeated: ["app"], boolean: [...VOICE_FLAGS, "lazy", "foreign"] };
    case "restore":
      return {
        ...base,
        single: ["pod", "pods", "wait"],
        boolean: [...VOICE_FLAGS, "live"],
      };
    case "gc":
      return {
        ...base,
        single: ["pod", "pods", "undo", "older-than", "grace-period", "wait"],
        boolean: [...VOICE_FLAGS, "mark", "sweep", "ignore-missing", "dry-run"],
        alias: { ...base.alias, n: "dry-run" },
      };
    default:
      return {
        ...base,
        single: [...REQUEST_FLAGS, "spec", "wait"],
        repeated: ["lower", "option"],
        boolean: [...VOICE_FLAGS, ...REQUEST_SWITCHES, "dry-run"],
        alias: { ...base.alias, o: "option", n: "dry-run" },
      };
  }
}

/** A path as the user names it, from the working directory on. Only there is `..` taken away by name. */
export function absolute(path: string, cwd: string): string {
  return path.startsWith("/") ? path : normalize(`${cwd}/${path}`);
}

function requestOf(flags: Flags, cwd: string): RenderRequest {
  const one = (name: string) => flags.values[name]?.[0];
  const path = (name: string) => {
    const value = one(name);
    return value === undefined ? undefined : absolute(value, cwd);
  };
  const [profile, layout] = [one("profile"), one("layout")];
  const all = {
    lower: flags.values.lower?.map((lower) => absolute(lower, cwd)),
    tree: one("tree"),
    image: one("image"),
    store: path("store"),
    app: one("app"),
    dest: path("dest"),
    layout: layout === undefined ? undefined : parseLayout(layout),
    profile: profile === undefined ? undefined : parseProfile(profile).name,
    dirMode: one("dir-mode"),
    group: one("group"),
    label: one("label"),
    manifest: path("manifest"),
    options: flags.values.option,
    readOnly: flags.set.has("read-only"),
    overlay: overlayOf(flags),
    mtab: flags.set.has("mtab") ? true : undefined,
    live: flags.set.has("live") ? true : undefined,
    ephemeral: flags.set.has("ephemeral") ? true : undefined,
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return { pod: podOf(flags, cwd), ...Object.fromEntries(given) };
}

function overlayOf(flags: Flags): OverlayMode | undefined {
  const mode = flags.values.overlay?.[0];
  if (!flags.set.has("no-overlay")) return mode === undefined ? undefined : parseOverlayMode(mode);
  if (mode === undefined || mode === "never") return "never";
  throw new InvalidValueError("usage", `Cannot use --no-overlay with --overlay ${quote(mode)}`, {
    hint: "leave one of them out",
  });
}

function podOf(flags: Flags, cwd: string): string {
  const pod = flags.values.pod?.[0];
  if (pod !== undefined) return absolute(pod, cwd);
  throw new InvalidValueError("usage", "Cannot go on without a pod: --pod is missing", {
    hint: "give the directory that owns the renders: --pod DIR",
  });
}

function unknownCommand(name: string): InvalidValueError {
  if (name.startsWith("-")) {
    return new InvalidValueError(
      "usage",
      `Cannot go on without a command: ${quote(name)} is a flag`,
      {
        hint: `start with one of ${COMMANDS.join(", ")}`,
      },
    );
  }
  if (name === "umount") {
    return new InvalidValueError("usage", `Cannot use command "umount": there is none`, {
      hint: "it is called unmount here",
    });
  }
  return new InvalidValueError("usage", `Cannot use command ${quote(name)}: there is none`, {
    hint: `it must be one of ${COMMANDS.join(", ")}; overlay-render --help says what they do`,
  });
}

/** One pod, or all pods in a directory. */
function podsOf(flags: Flags, cwd: string): PodsRequest {
  const [pod, pods] = [flags.values.pod?.[0], flags.values.pods?.[0]];
  if (pod !== undefined && pods !== undefined) {
    throw new InvalidValueError("usage", "Cannot use --pod and --pods together: give one of them");
  }
  if (pods !== undefined) return { pods: absolute(pods, cwd) };
  if (pod !== undefined) return { pod: absolute(pod, cwd) };
  throw new InvalidValueError("usage", "Cannot go on without a pod: --pod and --pods are missing", {
    hint: "give one pod (--pod DIR), or the directory that all of them are in (--pods DIR)",
  });
}

function waitOf(flags: Flags): Waiting {
  const wait = flags.values.wait?.[0];
  return wait === undefined ? {} : { waitMs: parseDuration("wait", wait) };
}

function unmountOf(flags: Flags, cwd: string): UnmountRequest {
  const [first, ...more] = flags.values.app ?? [];
  return {
    pod: podOf(flags, cwd),
    ...(first === undefined ? {} : { app: more.length === 0 ? first : [first, ...more] }),
    ...(flags.set.has("lazy") ? { lazy: true } : {}),
    ...(flags.set.has("foreign") ? { foreign: true } : {}),
  };
}

function collectOf(flags: Flags, cwd: string): CollectRequest {
  const grace = flags.values["grace-period"]?.[0];
  const age = flags.values["older-than"]?.[0];
  if (age !== undefined && flags.values.pods?.[0] === undefined) {
    throw new InvalidValueError("usage", "Cannot use --older-than without --pods", {
      hint: "a pod that is named is collected whatever its age",
    });
  }
  if (flags.set.has("mark") && flags.set.has("sweep")) {
    throw new InvalidValueError("usage", "Cannot use --mark and --sweep together: gc does both", {
      hint: "leave both out",
    });
  }
  return {
    ...podsOf(flags, cwd),
    ...(flags.set.has("mark") ? { phase: "mark" as const } : {}),
    ...(flags.set.has("sweep") ? { phase: "sweep" as const } : {}),
    ...(age === undefined ? {} : { olderThanMs: parseDuration("older-than", age) }),
    ...(grace === undefined ? {} : { gracePeriodMs: parseDuration("grace period", grace) }),
    ...(flags.set.has("ignore-missing") ? { ignoreMissing: true } : {}),
    ...(flags.set.has("dry-run") ? { dryRun: true } : {}),
  };
}

function gcOf(flags: Flags, cwd: string, voice: OutputOptions): Command {
  const undo = flags.values.undo?.[0];
  if (undo === undefined) {
    return { kind: "gc", request: collectOf(flags, cwd), voice, ...waitOf(flags) };
  }
  const other = ["pod", "pods", "older-than", "grace-period"].find((name) => {
    return flags.values[name]?.[0] !== undefined;
  }) ?? ["mark", "sweep", "ignore-missing", "dry-run"].find((name) => flags.set.has(name));
  if (other === undefined) {
    return { kind: "gc", undo: absolute(undo, cwd), voice, ...waitOf(flags) };
  }
  throw new InvalidValueError("usage", `Cannot use --undo and --${other} together`, {
    hint: `leave out --${other}: --undo only brings back`,
  });
}

/** A render from a spec, which has fields for what is given by flags otherwise. */
function specOf(file: string, flags: Flags): { readonly file: string } {
  const given = [...REQUEST_FLAGS, "lower", "option"].find((name) => {
    return (flags.values[name]?.length ?? 0) > 0;
  }) ?? REQUEST_SWITCHES.find((name) => flags.set.has(name));
  if (given === undefined) return { file };
  throw new InvalidValueError("usage", `Cannot use --${given} with --spec: the spec says it`, {
    hint: "leave it out, and put it in the spec",
  });
}

function treeOf(args: readonly string[], cwd: string): Command {
  const [name, ...rest] = args;
  const action = TREE_ACTIONS.find((action) => action === name);
  if (action !== undefined) return { kind: "tree", action, args: rest, cwd };
  const given = name === undefined ? "none was given" : `${quote(name)} is none`;
  throw new InvalidValueError("usage", `Cannot use tree without its own command: ${given}`, {
    hint: `it must be one of ${TREE_ACTIONS.join(", ")}; overlay-render tree --help says more`,
  });
}

function parseOf(name: (typeof COMMANDS)[number], args: readonly string[], cwd: string): Command {
  // Help wins over whatever else is wrong with the line.
  if (args.includes("--help") || args.includes("-h")) return { kind: "help", topic: name };
  // Has commands of its own, which only it loads.
  if (name === "tree") return treeOf(args, cwd);
  const flags = parseFlags(args, spec(name));
  const voice: OutputOptions = {
    json: flags.set.has("json"),
    quiet: flags.set.has("quiet"),
    verbose: flags.set.has("verbose"),
  };
  switch (name) {
    case "status": {
      const size = flags.set.has("size") ? { size: true } : {};
      return { kind: name, request: { ...podsOf(flags, cwd), ...size }, voice };
    }
    case "unmount":
      return { kind: name, request: unmountOf(flags, cwd), voice, ...waitOf(flags) };
    case "doctor": {
      const request = flags.values.pod?.[0] === undefined ? {} : { pod: podOf(flags, cwd) };
      return { kind: name, request, voice };
    }
    case "restore": {
      const live = flags.set.has("live") ? { live: true } : {};
      return { kind: name, request: { ...podsOf(flags, cwd), ...live }, voice, ...waitOf(flags) };
    }
    case "gc":
      return gcOf(flags, cwd, voice);
    case "keep":
    case "unkeep":
      return { kind: name, pod: podOf(flags, cwd), voice, ...waitOf(flags) };
  }
  const action = flags.set.has("dry-run") ? "plan" : name;
  const common = { voice, mount: name !== "prepare", ...waitOf(flags) };
  const file = flags.values.spec?.[0];
  if (file === undefined) return { kind: action, request: requestOf(flags, cwd), ...common };
  return { kind: "spec", action, ...specOf(file, flags), cwd, ...common };
}

/**
 * Reads a command line.
 *
 * @param args The arguments, the command's name first.
 * @param cwd The directory that relative paths are taken from.
 * @throws {InvalidValueError} If it is not a command with flags and values that are allowed.
 */
export function parseCommand(args: readonly string[], cwd: string): Command {
  const [first, ...rest] = args;
  if (first === undefined) {
    throw new InvalidValueError("usage", "Cannot go on without a command: none was given", {
      hint: `give one of ${COMMANDS.join(", ")}; overlay-render --help says what they do`,
    });
  }
  if (first === "--help" || first === "-h" || first === "help") {
    const topic = COMMANDS.find((name) => name === rest[0]);
    if (first === "help" && rest[0] !== undefined && topic === undefined) {
      throw unknownCommand(rest[0]);
    }
    return { kind: "help", topic: topic ?? null };
  }
  if (first === "--version") return { kind: "version" };
  const name = COMMANDS.find((name) => name === first);
  if (name === undefined) throw unknownCommand(first);
  return parseOf(name, rest, cwd);
}
