/**
 * A command line as a typed command. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags, splitCommand, UnknownWordError } from "./args.ts";
import type { Flags, FlagSpec } from "./args.ts";
import { COMMANDS, SHELLS, TREE_ACTIONS } from "./command_names.ts";
import { FLAGS_OF, OPERANDS_OF, REQUEST_FLAGS } from "./commands.ts";
import type { CommandName, LateCommand } from "./command_names.ts";
import { normalize } from "../core/deps.ts";
import { parseDuration } from "../core/duration.ts";
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { parseChoice, parsePath } from "../request/names.ts";
import type { Flag, RenderRequest } from "../request/options.ts";
import type { CollectRequest } from "../api/gc.ts";
import type { StatusRequest } from "../api/status.ts";
import type { ChangesRequest } from "../api/changes.ts";
import type { UnmountRequest } from "../request/unmount_request.ts";
import type { Command, Common, Render } from "./typed_command.ts";

/** Makes the error of a command line that is not understood. */
export function usage(message: string, hint: string): InvalidValueError {
  return new InvalidValueError("usage", message, { hint });
}

/** Makes a path absolute from the working directory, and resolves `..` by name. */
export function absolute(path: string, cwd: string): string {
  return path.startsWith("/") ? path : normalize(`${cwd}/${path}`);
}

/** Reads the value of a flag as its kind. Names, modes and groups are for the request's own parsers. */
function parseValue({ name, kind, choices }: Flag, value: string, cwd: string): unknown {
  if (choices !== undefined) return parseChoice(name, value, choices);
  if (kind === "dir" || kind === "file") return absolute(value, cwd);
  return kind === "duration" ? parseDuration(name.replaceAll("-", " "), value) : value;
}

/** Reads the fields of a request that flags set; a flag that was not given sets none. */
export function requestFields(
  { flags: table }: FlagSpec,
  { set, values }: Flags,
  cwd: string,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const flag of table) {
    const { name, field, kind, repeatable } = flag;
    const given = kind === "boolean" ? set.has(name) : (values[name] ?? []).length > 0;
    if (field === undefined || !given) continue;
    const all = (values[name] ?? []).map((value) => parseValue(flag, value, cwd));
    const value = kind === "boolean" ? flag.sets ?? true : repeatable ? all : all[0];
    const before = fields[field];
    if (before !== undefined && before !== value) {
      const message = `Cannot use --${name} with --${field} ${quote(String(before))}`;
      throw usage(message, "leave one of them out");
    }
    fields[field] = value;
  }
  return fields;
}

/** Reads the options of every command. */
export function commonOptions({ set, values }: Flags): Common {
  const wait = values.wait?.[0];
  return {
    output: {
      json: set.has("json"),
      quiet: set.has("quiet"),
      verbose: set.has("verbose"),
      ...(set.has("flags") ? { flags: true } : {}),
    },
    ...(wait === undefined ? {} : { waitMs: parseDuration("wait", wait) }),
    ...(set.has("dry-run") || set.has("flags") ? { dryRun: true } : {}),
  };
}

/** Checks that one pod is given, or a directory of pods, for a command that takes both. */
function checkPod(
  command: Exclude<CommandName, LateCommand>,
  { pod, pods }: Record<string, unknown>,
): void {
  const takesPods = FLAGS_OF[command].some(({ name }) => name === "pods");
  if (pod !== undefined && pods !== undefined) {
    const message = "Cannot use --pod and --pods together: give one of them";
    throw usage(message, `overlay-render ${command} --help lists what it takes`);
  }
  if (pod !== undefined || pods !== undefined) return;
  if (takesPods) {
    const hint = "give one pod (--pod DIR), or the directory that all of them are in (--pods DIR)";
    throw usage(`Cannot run ${command}: --pod or --pods is required`, hint);
  }
  const hint = "give the directory that owns the renders: --pod DIR";
  throw usage(`Cannot run ${command}: --pod is required`, hint);
}

/** Returns the first of these flags that was given. */
function firstGiven({ set, values }: Flags, flags: readonly Flag[]): string | undefined {
  return flags.find(({ name }) => set.has(name) || (values[name] ?? []).length > 0)?.name;
}

function parseCollect(
  flags: Flags,
  request: Record<string, unknown>,
  cwd: string,
): { readonly undo: string } | { readonly request: CollectRequest } {
  const undo = flags.values.undo?.[0];
  if (undo !== undefined) {
    const other = firstGiven(flags, FLAGS_OF.gc.filter(({ field }) => field !== undefined));
    if (other === undefined) return { undo: absolute(undo, cwd) };
    const hint = `leave out --${other}: --undo only brings back`;
    throw usage(`Cannot use --undo and --${other} together`, hint);
  }
  if (request.olderThanMs !== undefined && request.pods === undefined) {
    const hint = "a pod that is named is collected whatever its age";
    throw usage("Cannot use --older-than without --pods", hint);
  }
  checkPod("gc", request);
  return { request: request as unknown as CollectRequest };
}

/** Reads an unmount request, with a single app in place of a list of one. */
function parseUnmount({ app, ...request }: Record<string, unknown>): UnmountRequest {
  if (app !== undefined && request.pods !== undefined) {
    throw usage("Cannot use --app with --pods", "give the pod that the app is in: --pod DIR");
  }
  const apps = (app ?? []) as readonly string[];
  const given = apps.length === 0 ? {} : { app: apps.length === 1 ? apps[0] : apps };
  return { ...request, ...given } as unknown as UnmountRequest;
}

function parseRender(name: Render, flags: Flags, cwd: string): Command {
  const { dryRun, ...options } = commonOptions(flags);
  const action = dryRun ? "plan" : name;
  const common = { ...options, mount: name !== "prepare" };
  const file = flags.values.spec?.[0];
  if (file === undefined) {
    const request = requestFields({ command: name, flags: REQUEST_FLAGS }, flags, cwd);
    checkPod(name, request);
    return { kind: action, request: request as unknown as RenderRequest, ...common };
  }
  const given = firstGiven(flags, REQUEST_FLAGS);
  if (given === undefined) return { kind: "spec", action, file, cwd, ...common };
  const hint = "leave it out, and put it in the spec";
  throw usage(`Cannot use --${given} with --spec: the spec says it`, hint);
}

function parseTree(args: readonly string[], cwd: string): Command {
  const [name, ...rest] = args;
  const action = TREE_ACTIONS.find((action) => action === name);
  if (action !== undefined) return { kind: "tree", action, args: rest, cwd };
  const what = name === undefined
    ? "a subcommand is required"
    : `unknown subcommand ${quote(name)}`;
  const hint = `it must be one of ${TREE_ACTIONS.join(", ")}; overlay-render tree --help says more`;
  const word = { given: name ?? "", known: TREE_ACTIONS, command: "tree" };
  throw new UnknownWordError(`Cannot run tree: ${what}`, hint, word);
}

/** Returns the arguments that are not for a command that is run. */
export function own(args: readonly string[]): readonly string[] {
  const end = args.indexOf("--");
  return end < 0 ? args : args.slice(0, end);
}

function parseUnshare(args: readonly string[]): Command {
  const [own, argv] = splitCommand(args);
  const flags = parseFlags(own, { command: "unshare", flags: FLAGS_OF.unshare });
  const { output } = commonOptions(flags);
  if (argv.length > 0 || output.flags) return { kind: "unshare", argv, output };
  throw usage("Cannot run unshare: a command is required", "write it: overlay-render unshare sh");
}

function parseNamed(name: CommandName, args: readonly string[], cwd: string): Command {
  // Help takes precedence over errors in the line.
  const before = name === "unshare" ? splitCommand(args)[0] : own(args);
  if (before.includes("--help") || before.includes("-h")) return { kind: "help", topic: name };
  // Its flags are for a module that only it loads.
  if (name === "tree") return parseTree(args, cwd);
  if (name === "run") return { kind: name, args, cwd };
  if (name === "unshare") return parseUnshare(args);
  const spec = { command: name, flags: FLAGS_OF[name], operands: OPERANDS_OF[name] ?? [] };
  const flags = parseFlags(args, spec);
  if (name === "plan" || name === "prepare" || name === "render") {
    return parseRender(name, flags, cwd);
  }
  if (flags.set.has("mark") && flags.set.has("sweep")) {
    throw usage("Cannot use --mark and --sweep together: gc does both", "leave both out");
  }
  const fields = requestFields(spec, flags, cwd);
  const common = commonOptions(flags);
  if (name === "gc") return { kind: name, ...parseCollect(flags, fields, cwd), ...common };
  if (name === "completion") {
    const shell = parseChoice("shell", flags.operands[0] ?? "", SHELLS);
    return { kind: name, shell, output: common.output };
  }
  if (name === "systemd") {
    const pods = absolute(flags.operands[0] ?? "", cwd);
    return { kind: name, pods: parsePath("directory of pods", pods), ...fields, ...common };
  }
  if (name !== "doctor") checkPod(name, fields);
  if (name === "reset" || name === "unmount") {
    return { kind: name, request: parseUnmount(fields), ...common };
  }
  if (name === "keep" || name === "unkeep") {
    return { kind: name, pod: String(fields.pod), ...common };
  }
  if (name === "status" && flags.set.has("check")) {
    return { kind: name, request: fields as unknown as StatusRequest, check: true, ...common };
  }
  if (name === "changes") {
    // It changes nothing, so there is no plan.
    const { dryRun: _, ...options } = common;
    return { kind: name, request: fields as unknown as ChangesRequest, ...options };
  }
  if (name === "export" || name === "commit") {
    return { kind: name, fields, flags, cwd, ...common };
  }
  // The table and the tests of it hold that each field is one of the request.
  return { kind: name, request: fields, ...common } as unknown as Command;
}

function unknownCommand(name: string): InvalidValueError {
  if (name.startsWith("-")) {
    const message = `Cannot run overlay-render: ${
      quote(name)
    } is a flag, and a command is required`;
    return usage(message, `start with one of ${COMMANDS.join(", ")}`);
  }
  const hint = `it must be one of ${COMMANDS.join(", ")}; overlay-render --help says what they do`;
  const word = { given: name, known: COMMANDS, command: "" };
  return new UnknownWordError(
    `Cannot run overlay-render: unknown command ${quote(name)}`,
    hint,
    word,
  );
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
    const hint = `give one of ${COMMANDS.join(", ")}; overlay-render --help says what they do`;
    throw usage("Cannot run overlay-render: a command is required", hint);
  }
  if (first === "--version" || first === "-V") return { kind: "version" };
  if (first === "--help" || first === "-h" || first === "help") {
    const topic = COMMANDS.find((name) => name === rest[0]);
    if (topic !== undefined || first !== "help" || rest[0] === undefined) {
      return { kind: "help", topic: topic ?? null };
    }
    throw unknownCommand(rest[0]);
  }
  const name = COMMANDS.find((name) => name === first);
  if (name === undefined) throw unknownCommand(first);
  return parseNamed(name, rest, cwd);
}
