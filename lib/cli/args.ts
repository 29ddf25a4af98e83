/**
 * A strict reader of command lines over `parseArgs`, which by itself accepts everything: unknown flags,
 * `--json=0`, a flag given twice, and a flag that eats the next one as its value.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseArgs } from "../core/deps.ts";
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** Which flags a command takes; all by their long names, without dashes. */
export interface FlagSpec {
  /** The command's name, for messages. */
  readonly command: string;
  /** Flags with a value, given at most once. */
  readonly single: readonly string[];
  /** Flags with a value that may be given several times. */
  readonly repeated: readonly string[];
  /** Flags without a value. */
  readonly boolean: readonly string[];
  /** Flags whose value may be empty. */
  readonly emptyAllowed: readonly string[];
  /** What is given without a flag, by the words of the help; all of it must be given. @default {nothing} */
  readonly operands?: readonly string[];
  /** One-letter names. */
  readonly alias: Readonly<Record<string, string>>;
}

/** The flags that were given. */
export interface Flags {
  /** Values of the flags that take one, in the order given. */
  readonly values: Readonly<Record<string, readonly string[]>>;
  /** The flags without a value that were given. */
  readonly set: ReadonlySet<string>;
  /** What was given without a flag, as many as the command takes. */
  readonly operands: readonly string[];
}

function usage(spec: FlagSpec, message: string, hint?: string): InvalidValueError {
  return new InvalidValueError("usage", message, {
    hint: hint ?? `overlay-render ${spec.command} --help lists what it takes`,
  });
}

function dashes(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`;
}

function unknownFlag(spec: FlagSpec, given: string): InvalidValueError {
  const names = [...spec.single, ...spec.repeated, ...spec.boolean].map(dashes).sort();
  const message = `Cannot use flag ${quote(given)}: ${spec.command} has no such flag`;
  return usage(spec, message, `it has ${names.join(", ")}`);
}

function unexpected(spec: FlagSpec, argument: string): InvalidValueError {
  const takes = ["flags only", ...spec.operands ?? []].join(", and ").replace("only, and", "and");
  return usage(spec, `Cannot use argument ${quote(argument)}: ${spec.command} takes ${takes}`);
}

function missing(spec: FlagSpec, operand: string): InvalidValueError {
  const hint = `write overlay-render ${spec.command} ${operand}`;
  return usage(spec, `Cannot go on without ${operand}: ${spec.command} needs one`, hint);
}

/** The long name of a flag; a letter has one dash, and a word two. */
function nameOf(spec: FlagSpec, given: string): string {
  const bare = given.slice(given.startsWith("--") ? 2 : 1);
  const isShort = bare.length === 1;
  if (given.startsWith("--") === isShort) throw unknownFlag(spec, given);
  const name = Object.hasOwn(spec.alias, bare) ? spec.alias[bare] ?? bare : bare;
  const known = [...spec.boolean, ...spec.single, ...spec.repeated];
  if (!known.includes(name)) throw unknownFlag(spec, given);
  return name;
}

/** The value of a flag that takes one: after the equals sign, or the next argument. */
function valueOf(
  spec: FlagSpec,
  name: string,
  given: { readonly flag: string; readonly inline: string | null; readonly next?: string },
): string {
  const { flag, inline, next } = given;
  if (inline === null && (next === undefined || (next.startsWith("-") && next !== "-"))) {
    const reason = next === undefined ? "nothing follows" : `${quote(next)} is a flag`;
    throw usage(spec, `Cannot use ${flag} without a value: ${reason}`, `write ${flag}=VALUE`);
  }
  const value = inline ?? next ?? "";
  if (value === "" && !spec.emptyAllowed.includes(name)) {
    throw usage(spec, `Cannot use ${flag} with an empty value: leave it out, or give one`);
  }
  return value;
}

/**
 * Checks every argument, and writes it in the one way that `parseArgs` always understands:
 * `--name=value`, and `--name` for an empty value.
 */
function checked(
  spec: FlagSpec,
  args: readonly string[],
): {
  readonly canonical: string[];
  readonly given: ReadonlySet<string>;
  readonly operands: readonly string[];
} {
  const canonical: string[] = [];
  const given = new Set<string>();
  const operands: string[] = [];
  const wanted = spec.operands ?? [];
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? "";
    if (!argument.startsWith("-") || argument === "-" || argument === "--") {
      if (operands.length >= wanted.length || argument === "--") throw unexpected(spec, argument);
      operands.push(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const inline = equals < 0 ? null : argument.slice(equals + 1);
    const name = nameOf(spec, flag);
    given.add(name);
    if (spec.boolean.includes(name)) {
      if (inline !== null) {
        throw usage(spec, `Cannot use ${quote(argument)}: ${flag} takes no value`);
      }
      canonical.push(`--${name}`);
      continue;
    }
    const next = args[at + 1];
    const value = valueOf(spec, name, { flag, inline, ...(next === undefined ? {} : { next }) });
    if (inline === null) at++;
    canonical.push(value === "" ? `--${name}` : `--${name}=${value}`);
  }
  const open = wanted[operands.length];
  if (open !== undefined) throw missing(spec, open);
  return { canonical, given, operands };
}

/**
 * Reads a command line.
 *
 * @param args What follows the command's name.
 * @throws {InvalidValueError} If a flag is unknown, lacks its value, has one it does not take, has an
 * empty one or is given twice; or if there is an argument that is no flag.
 */
export function parseFlags(args: readonly string[], spec: FlagSpec): Flags {
  const { canonical, given, operands } = checked(spec, args);
  // Told of those that were given it is done sooner; of the others there is nothing to parse.
  const [boolean, valued]: [string[], string[]] = [[], []];
  for (const name of given) (spec.boolean.includes(name) ? boolean : valued).push(name);
  const parsed = parseArgs(canonical, { string: valued, collect: valued, boolean });
  const values: Record<string, readonly string[]> = {};
  for (const name of [...spec.single, ...spec.repeated]) values[name] = [];
  for (const name of valued) {
    const all = parsed[name] as string[];
    const last = all.at(-1);
    if (spec.single.includes(name) && all.length > 1 && last !== undefined) {
      throw usage(spec, `Cannot use --${name} ${quote(last)}: it was given before`);
    }
    values[name] = all;
  }
  return { values, set: new Set(boolean), operands };
}
