/**
 * A command line as a typed command. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags } from "./args.ts";
import type { Flags, FlagSpec } from "./args.ts";
import { normalize } from "./deps.ts";
import { InvalidValueError } from "./errors.ts";
import { parseProfile } from "./names.ts";
import { quote } from "./quote.ts";
import type { RenderRequest } from "./request.ts";
import type { UnmountRequest } from "./unmount.ts";

/** How a command talks. */
export interface Voice {
  /** Whether stdout is one JSON object. */
  readonly json: boolean;
  /** Whether warnings are left out. */
  readonly quiet: boolean;
  /** Whether each operation and each command that is run is told. */
  readonly verbose: boolean;
}

/** What to do. */
export type Command =
  | { readonly kind: "help"; readonly topic: string | null }
  | { readonly kind: "version" }
  | {
    readonly kind: "plan" | "prepare" | "render";
    readonly request: RenderRequest;
    readonly voice: Voice;
    /** What `plan` plans: a render, or with `prepare --dry-run` the preparation. */
    readonly mount: boolean;
  }
  | { readonly kind: "unmount"; readonly request: UnmountRequest; readonly voice: Voice }
  | { readonly kind: "status"; readonly pod: string; readonly voice: Voice };

/** The names of all commands. */
export const COMMANDS = ["plan", "prepare", "render", "unmount", "status"] as const;

const VOICE_FLAGS = ["json", "quiet", "verbose", "help"];

function spec(command: string): FlagSpec {
  const base = { command, repeated: [], boolean: VOICE_FLAGS, emptyAllowed: ["app"] };
  const alias = { h: "help", q: "quiet" };
  if (command === "status") return { ...base, single: ["pod"], alias };
  if (command === "unmount") return { ...base, single: ["pod", "app"], alias };
  return {
    ...base,
    single: [
      "tree",
      "store",
      "pod",
      "app",
      "dest",
      "profile",
      "dir-mode",
      "group",
      "label",
      "manifest",
    ],
    repeated: ["lower", "option"],
    boolean: [...VOICE_FLAGS, "read-only", "dry-run"],
    alias: { ...alias, o: "option", n: "dry-run" },
  };
}

/** A path as the user names it, from the working directory on. Only there is `..` taken away by name. */
function absolute(path: string, cwd: string): string {
  return path.startsWith("/") ? path : normalize(`${cwd}/${path}`);
}

function requestOf(flags: Flags, cwd: string): RenderRequest {
  const one = (name: string) => flags.values[name]?.[0];
  const path = (name: string) => {
    const value = one(name);
    return value === undefined ? undefined : absolute(value, cwd);
  };
  const profile = one("profile");
  const all = {
    lower: flags.values.lower?.map((lower) => absolute(lower, cwd)),
    tree: one("tree"),
    store: path("store"),
    app: one("app"),
    dest: path("dest"),
    profile: profile === undefined ? undefined : parseProfile(profile).name,
    dirMode: one("dir-mode"),
    group: one("group"),
    label: one("label"),
    manifest: path("manifest"),
    options: flags.values.option,
    readOnly: flags.set.has("read-only"),
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return { pod: podOf(flags, cwd), ...Object.fromEntries(given) };
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

function parseOf(name: (typeof COMMANDS)[number], args: readonly string[], cwd: string): Command {
  // Help wins over whatever else is wrong with the line.
  if (args.includes("--help") || args.includes("-h")) return { kind: "help", topic: name };
  const flags = parseFlags(args, spec(name));
  const voice: Voice = {
    json: flags.set.has("json"),
    quiet: flags.set.has("quiet"),
    verbose: flags.set.has("verbose"),
  };
  if (name === "status") return { kind: name, pod: podOf(flags, cwd), voice };
  if (name === "unmount") {
    const app = flags.values.app?.[0];
    const request = { pod: podOf(flags, cwd), ...(app === undefined ? {} : { app }) };
    return { kind: name, request, voice };
  }
  const kind = flags.set.has("dry-run") ? "plan" : name;
  return { kind, request: requestOf(flags, cwd), voice, mount: name !== "prepare" };
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
