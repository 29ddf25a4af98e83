/**
 * The checks of the fields of requests, by name and type: a spec file and untyped callers can write anything.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";
import { parseChoice } from "./names.ts";
import type { RenderOption, RenderRequest } from "./options.ts";
import { RENDER_OPTIONS } from "./options.ts";

/** The type of a value. */
export type FieldType =
  | "path"
  | "name"
  | "number or name"
  | "paths"
  | "path or paths"
  | "names"
  | "flag"
  | "apps";

/** The fields of an object, with the types of their values. */
export type Fields = Readonly<Record<string, FieldType>>;

const WORDS: Readonly<Record<FieldType, string>> = {
  path: "a path",
  name: "a string",
  "number or name": "a number or a string",
  paths: "a list of paths",
  "path or paths": "a path or a list of paths",
  names: "a list of strings",
  flag: "true or false",
  apps: "a list of apps",
};

function isList(value: unknown): boolean {
  return Array.isArray(value) && value.every((part) => typeof part === "string");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function fits(value: unknown, type: FieldType): boolean {
  switch (type) {
    case "path":
    case "name":
      return typeof value === "string";
    case "number or name":
      return typeof value === "string" || typeof value === "number";
    case "path or paths":
      return typeof value === "string" || isList(value);
    case "paths":
    case "names":
      return isList(value);
    case "flag":
      return typeof value === "boolean";
    case "apps":
      return Array.isArray(value);
  }
}

/** Makes the error of a field. */
export function refuseField(what: string, reason: string, hint?: string): never {
  throw new InvalidValueError("invalid-value", `Cannot use ${what}: ${reason}`, { hint });
}

/** Writes a value for a message, shortened if it is long. */
function shown(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? String(value);
  const signs = [...text];
  return printable(signs.length > 60 ? `${signs.slice(0, 60).join("")}…` : signs.join(""));
}

/**
 * Checks that a value is an object with known fields of the right types. A field that is `undefined` counts
 * as absent.
 *
 * @param where The word for the whole, such as `spec`; and the path of the object in it.
 * @returns The fields that are present.
 * @throws {InvalidValueError} If a field is wrong; the message names it, such as `apps[3].lower`.
 */
export function checkFields(
  value: unknown,
  fields: Fields,
  { whole, at = "" }: { readonly whole: string; readonly at?: string },
): readonly (readonly [name: string, part: unknown, type: FieldType])[] {
  if (!isObject(value)) {
    return refuseField(at === "" ? whole : at, `it must be an object, and is ${shown(value)}`);
  }
  return Object.entries(value).flatMap(([name, part]) => {
    const path = at === "" ? name : `${at}.${name}`;
    const type = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (type === undefined) {
      const hint = `there are ${Object.keys(fields).join(", ")}`;
      return refuseField(`${whole} field ${quote(path)}`, "there is no such field", hint);
    }
    if (part === undefined) return [];
    if (!fits(part, type)) refuseField(path, `it must be ${WORDS[type]}, and is ${shown(part)}`);
    return [[name, part, type] as const];
  });
}

/**
 * Checks that a field is present.
 *
 * @throws {InvalidValueError} If it is not.
 */
export function requireField(
  value: object,
  name: string,
  { whole, at = "", hint }: {
    readonly whole: string;
    readonly at?: string;
    readonly hint?: string;
  },
): void {
  if ((value as Record<string, unknown>)[name] !== undefined) return;
  const reason = `it is missing, and every ${whole} has one`;
  refuseField(
    at === "" ? name : `${at}.${name}`,
    hint === undefined ? reason : "it is missing",
    hint,
  );
}

const OPTIONS = Object.entries(RENDER_OPTIONS) as [keyof RenderRequest, RenderOption][];

function typeOf({ kind, repeatable }: RenderOption): FieldType {
  switch (kind) {
    case "dir":
    case "file":
      return repeatable ? "path or paths" : "path";
    case "boolean":
      return "flag";
    case "octal":
    case "group":
      return "number or name";
    default:
      return repeatable ? "names" : "name";
  }
}

function fieldsOf(isWanted: (option: RenderOption) => boolean): Fields {
  const wanted = OPTIONS.filter(([, option]) => isWanted(option));
  return Object.fromEntries(wanted.map(([field, option]) => [field, typeOf(option)]));
}

/** The fields of a request of one app, with the types of their values. */
export const REQUEST_FIELDS: Fields = fieldsOf(() => true);

/** The fields of a {@linkcode PodRequest}. */
export const POD_FIELDS: Fields = { ...fieldsOf(({ of }) => of !== "app"), apps: "apps" };

/** The fields of a {@linkcode PodApp}. */
export const APP_FIELDS: Fields = fieldsOf(({ of }) => of !== "pod");

/**
 * Checks the options of a request that take one of a few values.
 *
 * @throws {InvalidValueError} If one has another value; the message lists the allowed ones.
 */
export function checkChoices(request: RenderRequest): void {
  for (const [field, { name, choices }] of OPTIONS) {
    const value = request[field];
    if (choices !== undefined && value !== undefined) parseChoice(name, String(value), choices);
  }
}
