/**
 * Writes and reads the two kinds of escapes that a path needs on its way to the kernel.
 *
 * An overlay option string is read twice: by util-linux, which splits it at every comma whatever
 * stands before it, toggles a quote at every `"`, and takes out pieces that it knows (`ro`, `bind`,
 * `remount`, `x-…`); and by the kernel, which splits at commas and colons that no backslash escapes
 * and then drops one level of backslashes. An fstab(5) field knows octal escapes only.
 *
 * Requires no permissions.
 *
 * @module
 */

import { isPlain } from "../core/quote.ts";

function hasOddQuotes(text: string): boolean {
  return text.split('"').length % 2 === 0;
}

/**
 * Tells whether a path can only be written by naming one of its directories twice, see
 * {@linkcode escapeOption}. Such a path must not lead through a symlink.
 */
export function needsRealPath(path: string): boolean {
  return hasOddQuotes(path);
}

/**
 * Escapes a path for the value of `lowerdir=`, `upperdir=` or `workdir=`, as mount(8) and the kernel
 * read it. Plain paths stay as they are.
 *
 * - `\`, `,` and `:` get a backslash (kernel, Documentation/filesystems/overlayfs.rst).
 * - The character after a comma gets one too: util-linux splits there anyway, and `\ro` is no
 *   option it knows while `ro` would be.
 * - With an odd number of `"`, each directory with an odd number is named twice, `a"/../a"`: util-linux
 *   has no escape for a quote, but an even number does no harm.
 * - A path that ends in `\` or `,` gets a `/`, so that it cannot join with the comma that follows.
 */
export function escapeOption(path: string): string {
  if (isPlain(path)) return path;
  const even = hasOddQuotes(path)
    ? path.split("/").map((name) => hasOddQuotes(name) ? `${name}/../${name}` : name).join("/")
    : path;
  const escaped = even.replace(
    /,([^\\:,"])|[\\:,]/gu,
    (char, next?: string) => next === undefined ? `\\${char}` : `\\,\\${next}`,
  );
  return /[\\,]$/.test(escaped) ? `${escaped}/` : escaped;
}

/** Reverses {@linkcode escapeOption}. */
export function unescapeOption(value: string): string {
  const path = value.replace(/\\(.)/gsu, "$1");
  const names = path.split("/");
  const once: string[] = [];
  for (let i = 0; i < names.length; i++) {
    const name = names[i] ?? "";
    once.push(name);
    if (hasOddQuotes(name) && names[i + 1] === ".." && names[i + 2] === name) i += 2;
  }
  const joined = once.join("/");
  return /[\\,]\/$/.test(joined) ? joined.slice(0, -1) : joined;
}

/** Splits an option value at every `separator` that no backslash escapes; escapes stay. */
export function splitEscaped(value: string, separator: "," | ":"): string[] {
  const parts: string[] = [];
  let part = "";
  for (let i = 0; i < value.length; i++) {
    const char = value[i] ?? "";
    if (char === "\\") part += char + (value[++i] ?? "");
    else if (char !== separator) part += char;
    else {
      parts.push(part);
      part = "";
    }
  }
  parts.push(part);
  return parts;
}

/**
 * Escapes a field of an fstab(5) line: space, tab, newline, carriage return and backslash, and `#`,
 * which at the start of a line would make it a comment.
 */
export function escapeField(field: string): string {
  if (isPlain(field)) return field;
  return field.replace(
    /[ \t\n\r\\#]/g,
    (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
}

/** Reverses {@linkcode escapeField}; any octal escape is understood, each as one byte of UTF-8. */
export function unescapeField(field: string): string {
  return field.replace(/(?:\\[0-3][0-7]{2})+/g, (escapes) => {
    const bytes = escapes.split("\\").slice(1).map((octal) => Number.parseInt(octal, 8));
    return new TextDecoder().decode(new Uint8Array(bytes));
  });
}
