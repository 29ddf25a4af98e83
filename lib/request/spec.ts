/**
 * The spec of a pod: a {@linkcode PodRequest} as JSON. Its fields have the meaning of the flags with the
 * same names; their values are checked by the parsers of the request.
 *
 * Requires no permissions.
 *
 * @module
 */
import { APP_FIELDS, checkFields, POD_FIELDS, refuseField, requireField } from "./fields.ts";
import type { Fields } from "./fields.ts";
import type { PodRequest } from "./options.ts";
import { printable, quote } from "../core/quote.ts";

// A mode that is a number would be decimal in JSON, and each list of lowers looks the same.
const SPEC_FIELDS: Fields = { ...POD_FIELDS, dirMode: "name" };
const SPEC_APP_FIELDS: Fields = { ...APP_FIELDS, lower: "paths" };

/** Checks the fields of an object and makes its paths absolute. */
function fieldsOf(
  value: unknown,
  at: string,
  types: Fields,
  absolute: (path: string) => string,
): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, part, type] of checkFields(value, types, { whole: "spec", at })) {
    // An empty path would be the working directory.
    if (type.startsWith("path") && [part].flat().includes("")) {
      refuseField(at === "" ? name : `${at}.${name}`, "a path must not be empty");
    }
    if (type === "path") found[name] = absolute(part as string);
    else if (type === "paths") found[name] = (part as string[]).map(absolute);
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
  const fields = fieldsOf(value, "", SPEC_FIELDS, absolute);
  for (const name of ["pod", "apps"]) requireField(fields, name, { whole: "spec" });
  const apps = (fields.apps as unknown[]).map((app, at) => {
    const found = fieldsOf(app, `apps[${at}]`, SPEC_APP_FIELDS, absolute);
    const hint = 'the pod\'s own image is {"app": ""}';
    requireField(found, "app", { whole: "spec", at: `apps[${at}]`, hint });
    return found;
  });
  return { ...fields, apps } as unknown as PodRequest;
}

/** Refuses other encodings, because their names would be misread. */
function decode(content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return refuseField("spec", "it is not valid UTF-8", "write it in UTF-8");
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return refuseField("spec", `it is not JSON: ${printable(error.message)}`);
  }
}

/** An object or a list that is still open. */
interface Open {
  readonly path: string;
  /** The names of an object so far; `null` in a list. */
  readonly names: Set<string> | null;
  /** The number of values of a list so far. */
  at: number;
  /** Path of the value that comes next. */
  next: string;
}

const TOKENS = /"(?:[^"\\]+|\\.)*"|[{}[\],]/g;

/**
 * Refuses an object with two fields of one name, because JSON.parse() would silently keep only the last.
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
    refuseField(
      `spec field ${quote(object.next)}`,
      "it is given twice",
      "leave one of the two out",
    );
  }
  object.names?.add(name);
}
