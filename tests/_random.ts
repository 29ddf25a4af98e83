/**
 * Random values from a fixed seed, so that a failure happens again in the next run.
 *
 * @module
 */

/** A source of random values. */
export interface Random {
  /** A whole number from 0 to `below` - 1. */
  int(below: number): number;
  /** One of the values. */
  pick<T>(values: readonly T[]): T;
}

/** Makes a source; the same seed gives the same values (mulberry32). */
export function random(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const int = (below: number) => next() % below;
  return {
    int,
    pick: <T>(values: readonly T[]): T => {
      const value = values[int(values.length)];
      if (value === undefined) throw new Error("nothing to pick from");
      return value;
    },
  };
}

/** Bytes that no compression makes small. */
export function noise(size: number): Uint8Array<ArrayBuffer> {
  const source = random(size);
  return Uint8Array.from({ length: size }, () => source.int(256));
}

/** What names are made of here: everything that one of the readers of a path treats specially. */
const PIECES = [
  ...'ab,,::\\\\""\'=#- \t\n\r%$()*?\u0007\u007f',
  ".",
  "..",
  "ä",
  "\u{1f600}",
  "\u200b",
  "\u00a0",
  "040",
  "ro",
  "rw",
  "bind",
  "remount",
  "noauto",
  "x-foo",
  "X-mount.mkdir",
  "context=",
  'context="u:r:t"',
  "upperdir=",
  "lowerdir=",
  "X-overlay-render.app=",
];

/** A name of a directory: never empty, `.` or `..`, and without `/`. */
export function nastyName(source: Random): string {
  const length = 1 + source.int(6);
  const name = Array.from({ length }, () => source.pick(PIECES)).join("");
  return name === "." || name === ".." ? `${name}a` : name;
}

/** The same as a name of an app or a tree, which holds no control characters. */
export function nastyAppName(source: Random): string {
  // deno-lint-ignore no-control-regex
  return nastyName(source).replaceAll(/[\u0000-\u001f\u007f]/g, "_");
}

/** An absolute, normalised path of such names. */
export function nastyPath(source: Random): string {
  return Array.from({ length: 1 + source.int(4) }, () => `/${nastyName(source)}`).join("");
}
