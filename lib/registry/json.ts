/**
 * Documents of JSON that others write.
 *
 * Requires no permissions.
 *
 * @module
 */

/** An object of JSON. */
export type Json = Readonly<Record<string, unknown>>;

/** Takes a value for an object; an empty one if it is none. */
export function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : {};
}

/** Parses an object; an empty one if the text is none. */
export function parseObject(text: string | Uint8Array): Json {
  try {
    return asObject(JSON.parse(typeof text === "string" ? text : new TextDecoder().decode(text)));
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
}
