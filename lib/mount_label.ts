/**
 * A mount label in an option string.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "./errors.ts";
import { quote } from "./quote.ts";

/**
 * Adds `context="<label>"` to an option string, as the SELinux label library of rkt does.
 *
 * Requires no permissions.
 *
 * @param options The options so far; may be empty.
 * @param label The SELinux context; nothing is added when it is `null` or empty.
 * @throws {InvalidValueError} If the label holds a double quote.
 * @returns The options with the label. It is quoted, since a label may hold commas.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { formatMountLabel } from "@overlay/render";
 *
 * assert(formatMountLabel("ro", "u:r:t:s0:c1,c2") === 'ro,context="u:r:t:s0:c1,c2"');
 * assert(formatMountLabel("ro", null) === "ro");
 * ```
 */
export function formatMountLabel(options: string, label: string | null): string {
  if (label === null || label === "") return options;
  if (label.includes('"')) {
    const message = `Cannot use label ${
      quote(label)
    }: a quote in it would end the label's own quotes`;
    throw new InvalidValueError("invalid-value", message);
  }
  const context = `context="${label}"`;
  return options === "" ? context : `${options},${context}`;
}
