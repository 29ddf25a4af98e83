/**
 * The config of an image that is committed: that of its base, with one more layer.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { getOwnPlatform } from "./platform.ts";

/** The changes of a config. */
export interface ConfigChanges {
  /** The comment of the history. @default {none} */
  readonly message?: string;
  /** The author. @default {that of the base} */
  readonly author?: string;
  /** Variables, as `NAME=VALUE`, which are added or replaced. @default {none} */
  readonly env?: readonly string[];
  /** The command: a JSON list of words, or a line for `/bin/sh -c`. @default {that of the base} */
  readonly cmd?: string;
  /** The entry point, in the form of the command; it resets a command of the base. @default {that of the base} */
  readonly entrypoint?: string;
  /** The user. @default {that of the base} */
  readonly user?: string;
  /** The working directory. @default {that of the base} */
  readonly workdir?: string;
  /** Labels, as `NAME=VALUE`, which are added or replaced. @default {none} */
  readonly label?: readonly string[];
}

/** The base of a committed image. */
export interface ConfigBase {
  /** Its config, as JSON; `null` if it has none. */
  readonly config: string | null;
  /** The diff ids of its layers that stay, the lowest first. */
  readonly diffIds: readonly string[];
}

/** The layer that is added. */
export interface AddedLayer {
  /** Its diff id. */
  readonly diffId: string;
  /** The time, in seconds since 1970. */
  readonly created: number;
}

type Json = Readonly<Record<string, unknown>>;

function asRecord(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : {};
}

function parseBase(config: string | null): Json {
  if (config !== null) return asRecord(JSON.parse(config));
  const [os, architecture, variant] = getOwnPlatform().split("/");
  return { architecture, os, ...(variant === undefined ? {} : { variant }) };
}

/** Splits `NAME=VALUE`. */
function parsePair(what: string, pair: string): readonly [name: string, value: string] {
  const equals = pair.indexOf("=");
  if (equals > 0) return [pair.slice(0, equals), pair.slice(equals + 1)];
  throw invalid(what, pair, "it must be NAME=VALUE");
}

function changeEnv(before: unknown, pairs: readonly string[]): readonly string[] {
  const all = new Map<string, string>();
  for (const pair of Array.isArray(before) ? before.map(String) : []) {
    all.set(pair.replace(/=.*$/s, ""), pair);
  }
  for (const pair of pairs) all.set(parsePair("env", pair)[0], pair);
  return [...all.values()];
}

function changeLabels(before: unknown, pairs: readonly string[]): Json {
  const added = pairs.map((pair) => parsePair("label", pair));
  return { ...asRecord(before), ...Object.fromEntries(added) };
}

/** Parses a command, as in a Dockerfile. */
function parseWords(what: string, text: string): readonly string[] {
  if (!text.startsWith("[")) return ["/bin/sh", "-c", text];
  try {
    const words = JSON.parse(text);
    if (Array.isArray(words) && words.every((word) => typeof word === "string")) return words;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw invalid(what, text, "it must be a JSON list of words, or a line for the shell");
}

function changeSettings(before: Json, changes: ConfigChanges): Json {
  const { env, cmd, entrypoint, user, workdir, label } = changes;
  const { Cmd, ...others } = before;
  const kept = entrypoint !== undefined || Cmd === undefined ? others : before;
  return {
    ...kept,
    ...(env === undefined ? {} : { Env: changeEnv(before.Env, env) }),
    ...(entrypoint === undefined ? {} : { Entrypoint: parseWords("entrypoint", entrypoint) }),
    ...(cmd === undefined ? {} : { Cmd: parseWords("cmd", cmd) }),
    ...(user === undefined ? {} : { User: user }),
    ...(workdir === undefined ? {} : { WorkingDir: workdir }),
    ...(label === undefined ? {} : { Labels: changeLabels(before.Labels, label) }),
  };
}

/** Lists the history of the layers that stay; each of them must have an entry. */
function keepHistory(before: unknown, layers: number): readonly unknown[] {
  if (layers === 0) return [];
  const known = Array.isArray(before) ? before : [];
  const counted = known.filter((entry) => asRecord(entry).empty_layer !== true).length;
  if (counted === layers) return known;
  return Array.from({ length: layers }, () => ({ created_by: "unknown" }));
}

/** Formats a time as in a config. */
function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

/**
 * Makes the config of a committed image. The same arguments give the same text.
 *
 * @throws {InvalidValueError} If a change is malformed.
 * @throws {OverlayError} If the config of the base is no JSON.
 */
export function commitConfig(
  { config, diffIds }: ConfigBase,
  { diffId, created }: AddedLayer,
  changes: ConfigChanges,
): string {
  const base = readBase(config);
  const { message, author } = changes;
  const time = formatTime(created);
  const entry = {
    created: time,
    created_by: "overlay-render commit",
    ...(author === undefined ? {} : { author }),
    ...(message === undefined ? {} : { comment: message }),
  };
  return JSON.stringify({
    ...base,
    created: time,
    ...(author === undefined ? {} : { author }),
    config: changeSettings(asRecord(base.config), changes),
    rootfs: { type: "layers", diff_ids: [...diffIds, diffId] },
    history: [...keepHistory(base.history, diffIds.length), entry],
  });
}

function readBase(config: string | null): Json {
  try {
    return parseBase(config);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new OverlayError("bad-store", "Cannot read the config of the image: it is no JSON", {
      hint: "import the image again",
    });
  }
}
