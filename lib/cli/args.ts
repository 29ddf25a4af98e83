/**
 * A strict reader of command lines. `parseArgs` parses; by itself it accepts everything: unknown flags,
 * `--json=0`, a flag that is given twice, and a flag without its value.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseArgs } from "../core/deps.ts";
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import type { Flag } from "../request/options.ts";

/** The flags and operands that a command takes. */
export interface FlagSpec {
  /** The command's name, for messages. */
  readonly command: string;
  /** The flags. */
  readonly flags: readonly Flag[];
  /** The arguments that are no flags, by the words of the help; all of them are required. @default {none} */
  readonly operands?: readonly string[];
  /** The hint for an argument that is not expected. @default {the help of the command} */
  readonly hint?: string;
}

/** Splits arguments into flags and a command, which begins with the first word that is no flag. */
export function splitCommand(
  args: readonly string[],
): readonly [flags: readonly string[], command: readonly string[]] {
  const at = args.findIndex((arg) => !arg.startsWith("-") || arg === "--");
  if (at < 0) return [args, []];
  return [args.slice(0, at), args.slice(args[at] === "--" ? at + 1 : at)];
}

/** The flags that were given. */
export interface Flags {
  /** Values of the flags that take one, in the order given. */
  readonly values: Readonly<Record<string, readonly string[]>>;
  /** The flags without a value that were given. */
  readonly set: ReadonlySet<string>;
  /** The operands, as many as the command takes. */
  readonly operands: readonly string[];
}

/** The error about a word of the command line that is unknown. */
export class UnknownWordError extends InvalidValueError {
  static {
    this.prototype.name = "InvalidValueError";
  }
  /** The word. */
  readonly given: string;
  /** The words that there are. */
  readonly known: readonly string[];
  /** The command that it was given to; empty if it is one itself. */
  readonly command: string;

  constructor(
    message: string,
    hint: string,
    word: Pick<UnknownWordError, "given" | "known" | "command">,
  ) {
    super("usage", message, { hint });
    this.given = word.given;
    this.known = word.known;
    this.command = word.command;
  }
}

function usage(spec: FlagSpec, message: string, hint?: string): InvalidValueError {
  return new InvalidValueError("usage", message, {
    hint: hint ?? `overlay-render ${spec.command} --help lists what it takes`,
  });
}

function unknownFlag(spec: FlagSpec, given: string): InvalidValueError {
  const names = spec.flags.map(({ name }) => `--${name}`).sort();
  const message = `Cannot use flag ${quote(given)}: ${spec.command} has no such flag`;
  const word = { given, known: names, command: spec.command };
  return new UnknownWordError(message, `it has ${names.join(", ")}`, word);
}

function unexpected(spec: FlagSpec, argument: string): InvalidValueError {
  const { operands = [] } = spec;
  const takes = operands.length === 0 ? "flags only" : `flags and ${operands.join(", ")}`;
  const message = `Cannot use argument ${quote(argument)}: ${spec.command} takes ${takes}`;
  return usage(spec, message, spec.hint);
}

/** Tells whether an argument is a flag. A lone dash is a value, which stands for stdin. */
function isFlag(argument: string): boolean {
  return argument.startsWith("-") && argument !== "-";
}

function split(argument: string): readonly [given: string, inline?: string] {
  const equals = argument.indexOf("=");
  return equals < 0 ? [argument] : [argument.slice(0, equals), argument.slice(equals + 1)];
}

/** An argument holds no NUL. With one in front, parseArgs takes "-", "" and "true" for values, too. */
const VALUE = "\0";

/** Writes short names as long ones: parseArgs takes `-no` for `-n -o`, and cuts `-o=…` at a newline. */
function guarded({ flags }: FlagSpec, argument: string): string {
  if (argument === "--") return argument;
  if (!isFlag(argument)) return VALUE + argument;
  const [given, inline] = split(argument);
  const name = flags.find(({ short }) => short !== undefined && given === `-${short}`)?.name;
  const long = name === undefined ? given : `--${name}`;
  return inline === undefined ? long : `${long}=${VALUE}${inline}`;
}

/** Checks that a known flag has a value if it takes one, and only then. */
function checkValue(spec: FlagSpec, argument: string, next: string | undefined): void {
  if (argument === "--") throw unexpected(spec, argument);
  const [given, inline] = split(argument);
  const flag = spec.flags.find(({ name, short }) => [`--${name}`, `-${short}`].includes(given));
  if (flag === undefined) return;
  if (flag.kind === "boolean") {
    if (inline === undefined) return;
    throw usage(spec, `Cannot use ${quote(argument)}: ${given} takes no value`);
  }
  if (inline === undefined && (next === undefined || isFlag(next))) {
    const reason = next === undefined ? "nothing follows" : `${quote(next)} is a flag`;
    throw usage(spec, `Cannot use ${given} without a value: ${reason}`, `write ${given}=VALUE`);
  }
  if ((inline ?? next) === "" && !flag.mayBeEmpty) {
    throw usage(spec, `Cannot use ${given} with an empty value: leave it out, or give one`);
  }
}

function checkRepeated(
  spec: FlagSpec,
  { name, repeatable }: Flag,
  values: readonly string[],
): void {
  const last = values.at(-1);
  if (repeatable || values.length < 2 || last === undefined) return;
  throw usage(spec, `Cannot use --${name} ${quote(last)}: it was given before`);
}

function checkOperands(spec: FlagSpec, operands: readonly string[]): void {
  const { command, operands: wanted = [] } = spec;
  const [extra, missing] = [operands[wanted.length], wanted[operands.length]];
  if (extra !== undefined) throw unexpected(spec, extra);
  if (missing === undefined) return;
  const hint = `write overlay-render ${command} ${missing}`;
  throw usage(spec, `Cannot run ${command}: ${missing} is required`, hint);
}

/**
 * Reads a command line.
 *
 * @param args The arguments after the command's name.
 * @throws {InvalidValueError} If a flag is unknown, lacks its value, has one it does not take, has an
 * empty one or is given twice; or if an operand is missing or too many.
 */
export function parseFlags(args: readonly string[], spec: FlagSpec): Flags {
  for (const [at, arg] of args.entries()) if (isFlag(arg)) checkValue(spec, arg, args[at + 1]);
  const valued = spec.flags.filter(({ kind }) => kind !== "boolean");
  const names = valued.map(({ name }) => name);
  const found: Record<string, unknown> = parseArgs(args.map((arg) => guarded(spec, arg)), {
    string: [...names, "_"],
    collect: names,
    boolean: spec.flags.filter(({ kind }) => kind === "boolean").map(({ name }) => name),
    "--": true,
    unknown: (argument: string, key?: string) => {
      if (key !== undefined) throw unknownFlag(spec, split(argument)[0]);
    },
  });
  const given = (name: string) => (found[name] as string[]).map((value) => value.slice(1));
  const values = Object.fromEntries(names.map((name) => [name, given(name)]));
  for (const flag of valued) checkRepeated(spec, flag, values[flag.name] ?? []);
  const operands = given("_");
  checkOperands(spec, operands);
  // In the order given: parseArgs notes those that were not given last.
  const set = Object.keys(found).filter((name) => found[name] === true);
  return { values, set: new Set(set), operands };
}
