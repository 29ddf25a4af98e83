/**
 * The spec of a pod: a {@linkcode PodRequest} as JSON. What its fields mean is what the flags of the same
 * names mean; whether their values can be used is for the request's own parsers to say.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "./errors.ts";
import type { PodApp, PodRequest } from "./pod_request.ts";
import { printable, quote } from "./quote.ts";

/** What a value of the spec can be. */
type Kind = "path" | "name" | "number or name" | "paths" | "names" | "flag" | "apps";

const POD_FIELDS: Readonly<Record<keyof PodRequest, Kind>> = {
  pod: "path",
  store: "path",
  group: "number or name",
  layout: "name",
  profile: "name",
  dirMode: "name",
  label: "name",
  ephemeral: "flag",
  apps: "apps",
};

const APP_FIELDS: Readonly<Record<Exclude<keyof PodApp, "stored" | "real">, Kind>> = {
  app: "name",
  tree: "name",
  image: "name",
  lower: "paths",
  dest: "path",
  manifest: "path",
  label: "name",
  options: "names",
  readOnly: "flag",
  overlay: "name",
  mtab: "flag",
  live: "flag",
  ephemeral: "flag",
};

const WORDS: Readonly<Record<Kind, string>> = {
  path: "a path",
  name: "a string",
  "number or name": "a number or a string",
  paths: "a list of paths",
  names: "a list of strings",
  flag: "true or false",
  apps: "a list of apps",
};

function fits(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case "path":
    case "name":
      return typeof value === "string";
    case "number or name":
      return typeof value === "string" || typeof value === "number";
    case "paths":
    case "names":
      return Array.isArray(value) && value.every((part) => typeof part === "string");
    case "flag":
      return typeof value === "boolean";
    case "apps":
      return Array.isArray(value);
  }
}

function refuse(what: string, reason: string, hint?: string): never {
  throw new InvalidValueError("invalid-value", `Cannot use ${what}: ${reason}`, { hint });
}

/** What a value is, for a message: all of it where it is short. */
function shown(value: unknown): string {
  const signs = [...JSON.stringify(value)];
  return printable(signs.length > 60 ? `${signs.slice(0, 60).join("")}…` : signs.join(""));
}

/** An object whose fields are all known and of their kinds; paths are made absolute. */
function fieldsOf(
  value: unknown,
  at: string,
  kinds: Readonly<Record<string, Kind>>,
  absolute: (path: string) => string,
): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(at === "" ? "spec" : at, `it must be an object, and is ${shown(value)}`);
  }
  const found: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value)) {
    const path = at === "" ? name : `${at}.${name}`;
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) {
      const names = Object.keys(kinds).join(", ");
      refuse(`spec field ${quote(path)}`, "there is no such field", `there are ${names}`);
    }
    if (!fits(part, kind)) refuse(path, `it must be ${WORDS[kind]}, and is ${shown(part)}`);
    // An empty path would be the working directory.
    if (kind.startsWith("path") && [part].flat().includes("")) {
      refuse(path, "a path must not be empty");
    }
    if (kind === "path") found[name] = absolute(part);
    else if (kind === "paths") found[name] = (part as string[]).map(absolute);
    else found[name] = part;
  }
  return found;
}

/**
 * Reads a spec.
 *
 * @param content JSON in UTF-8: `{"pod", "apps": [{"app", "lower": […], …}], …}`.
 * @param absolute Takes a relative path from the working directory.
 * @throws {InvalidValueError} If it is not JSON, or a field is unknown, missing, given twice or of another
 * type; the message names the field, such as `apps[3].lower`.
 */
export function parseSpec(
  content: string | Uint8Array,
  absolute: (path: string) => string,
): PodRequest {
  const text = typeof content === "string" ? content : decode(content);
  const value = parseJson(text);
  refuseTwice(text);
  const fields = fieldsOf(value, "", POD_FIELDS, absolute);
  for (const name of ["pod", "apps"]) {
    if (!Object.hasOwn(fields, name)) refuse(name, "it is missing, and every spec has one");
  }
  const apps = (fields.apps as unknown[]).map((app, at) => {
    const found = fieldsOf(app, `apps[${at}]`, APP_FIELDS, absolute);
    if (!Object.hasOwn(found, "app")) {
      refuse(`apps[${at}].app`, "it is missing", 'the pod\'s own image is {"app": ""}');
    }
    return found;
  });
  return { ...fields, apps } as unknown as PodRequest;
}

/** What is not UTF-8 would be read as the name of something else. */
function decode(content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return refuse("spec", "it is not valid UTF-8", "write it in UTF-8");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return refuse("spec", `it is not JSON: ${printable(error.message)}`);
  }
}

/** An object or a list of the text that is not at its end. */
interface Open {
  readonly path: string;
  /** The names of an object so far; `null` in a list. */
  readonly names: Set<string> | null;
  /** How many values of a list came so far. */
  at: number;
  /** Path of the value that comes next. */
  next: string;
}

const TOKENS = /"(?:[^"\\]+|\\.)*"|[{}[\],]/g;

/**
 * Refuses an object with two fields of one name, of which JSON.parse() would keep the last and drop the
 * other without a word.
 *
 * @param text JSON that JSON.parse() takes.
 */
function refuseTwice(text: string): void {
  const around: Open[] = [];
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    const last = around.at(-1);
    if (token === "{" || token === "[") {
      const path = last?.next ?? "";
      const names = token === "{" ? new Set<string>() : null;
      around.push({ path, names, at: 0, next: names === null ? `${path}[0]` : path });
    } else if (token === "}" || token === "]") around.pop();
    else if (token === "," && last !== undefined) last.next = `${last.path}[${++last.at}]`;
    else if (last?.names && isName(text, index + token.length)) noteName(JSON.parse(token), last);
  }
}

/** Only the name of a field is followed by a colon. */
function isName(text: string, end: number): boolean {
  while (/\s/.test(text[end] ?? "")) end++;
  return text[end] === ":";
}

function noteName(name: string, object: Open): void {
  object.next = object.path === "" ? name : `${object.path}.${name}`;
  if (object.names?.has(name)) {
    refuse(`spec field ${quote(object.next)}`, "it is given twice", "leave one of the two out");
  }
  object.names?.add(name);
}
