/**
 * Makes foreign text safe to print: a path or a program's output may hold control characters that would
 * move a terminal's cursor, or direction marks that would show a name as another one.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Everything a terminal would act on instead of showing: C0, DEL, C1, line separators, bidi marks. */
// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

function octalBytes(char: string): string {
  const bytes = [...new TextEncoder().encode(char)];
  return bytes.map((byte) => `\\${byte.toString(8).padStart(3, "0")}`).join("");
}

function escaped(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Quotes a value for a message: double quotes, and escapes as in JSON. */
export function quote(value: string): string {
  return JSON.stringify(value).replace(UNPRINTABLE, escaped);
}

/** Quotes text whose characters are bytes, such as a name in an archive; valid UTF-8 is decoded. */
export function quoteBytes(text: string): string {
  // deno-lint-ignore no-control-regex
  return quote(/[^\u0000-\u00ff]/.test(text) ? text : decodeBytes(text) ?? text);
}

/** Decodes text whose characters are bytes; `null` if it is not UTF-8. */
export function decodeBytes(text: string): string | null {
  // deno-lint-ignore no-control-regex
  if (/^[\u0000-\u007f]*$/.test(text)) return text;
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
    return decoder.decode(Uint8Array.from(text, (char) => char.charCodeAt(0)));
  } catch {
    return null;
  }
}

/** Writes the name of an app for a message. */
export function appWords(app: string): string {
  return app === "" ? "the pod's own image" : `app ${quote(app)}`;
}

/** Makes a program's output printable: control characters become escapes, lines are joined by spaces. */
export function printable(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, " ").replace(UNPRINTABLE, escaped);
}

/** Makes a name printable in a table; it is quoted only if it must be. */
export function showName(name: string): string {
  const quoted = quote(name);
  return quoted === `"${name}"` && name !== "" && !/^\s|\s$/.test(name) ? name : quoted;
}

/**
 * Quotes an argument for a shell, only if it must be. Control characters are
 * written as the octal escapes of `$'…'`, which every shell but the oldest knows (POSIX.1-2024).
 */
export function shellQuote(argument: string): string {
  if (/^[\w@%+=:,./-]+$/.test(argument)) return argument;
  if (argument.search(UNPRINTABLE) >= 0) {
    const escapes = argument.replace(/['\\]/g, "\\$&").replace(UNPRINTABLE, octalBytes);
    return `$'${escapes}'`;
  }
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}

const PLAIN = /^[\w./@%+=~-]*$/;

/**
 * Tells whether a text has only characters without a special meaning in options, tables and terminals.
 * Callers ask this first, because each further regular expression must be compiled before its first use.
 */
export function isPlain(text: string): boolean {
  return PLAIN.test(text);
}
