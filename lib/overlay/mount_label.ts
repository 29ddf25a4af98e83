/**
 * Writes a mount label into an option string, and compares it with the one that the kernel shows.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

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

/** Parses a list of categories, such as `c1,c3.c5`, into sorted and merged ranges. */
function rangesOf(categories: string): readonly (readonly number[])[] {
  const ranges: [number, number][] = [];
  const given = categories.split(",").map((range): [number, number] => {
    const [from = 0, to = from] = range.split(".").map((name) => Number(name.slice(1)));
    return [from, to];
  });
  for (const [from, to] of given.sort(([a], [b]) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else ranges.push([from, to]);
  }
  return ranges;
}

/** Normalises a level; `null` when it has names that only the policy can resolve. */
function plainLevel(level: string): string | null {
  // A policy without levels.
  if (level === "") return "";
  const ends = level.split("-").map((end) => {
    const [, sensitivity, categories] = /^(s\d+)(?::(c\d+(?:[.,]c\d+)*))?$/.exec(end) ?? [];
    if (sensitivity === undefined) return null;
    return categories === undefined
      ? sensitivity
      : `${sensitivity}:${rangesOf(categories).join(" ")}`;
  });
  if (ends.includes(null)) return null;
  return ends[0] === ends[1] ? `${ends[0]}` : ends.join("-");
}

/**
 * Compares the label of a request with the one that the kernel shows of a mount. The kernel sorts and
 * merges categories (`s0:c2,c1` becomes `s0:c1,c2`), and shows the first of all names that the policy has for
 * a type; so types are not compared, nor levels with names other than `s0` and `c1`.
 *
 * Requires no permissions.
 */
export function sameLabel(asked: string | null, shown: string | null): boolean {
  if (asked === null || shown === null || asked === shown) return asked === shown;
  const [a, b] = [asked, shown].map((label) => {
    const [user, role, , ...level] = label.split(":");
    return { who: `${user}:${role}`, level: plainLevel(level.join(":")) };
  });
  if (a?.who !== b?.who) return false;
  return a?.level === b?.level || a?.level === null || b?.level === null;
}
