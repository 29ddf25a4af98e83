/**
 * Text that stands for itself wherever it is written, as that of most paths and names.
 *
 * Requires no permissions.
 *
 * @module
 */

const PLAIN = /^[\w./@%+=~-]*$/;

/**
 * Whether a text is of nothing but characters that no option, table or terminal takes for anything else.
 * To ask this first is cheaper: a process compiles each regular expression that it uses anew, and most need
 * only this one.
 */
export function isPlain(text: string): boolean {
  return PLAIN.test(text);
}
