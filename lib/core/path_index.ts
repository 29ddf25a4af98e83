/**
 * An index of values by path, which finds the values below a directory.
 *
 * Requires no permissions.
 *
 * @module
 */

interface Entry<T> {
  /** The path and a slash: the key of a directory is a prefix of the keys below it. */
  readonly key: string;
  readonly at: number;
  readonly value: T;
}

/** An index of values by path. A lookup is a binary search, so that ten thousand values cost no more. */
export class PathIndex<T> {
  readonly #sorted: readonly Entry<T>[];

  /** Sorts values by their paths. */
  constructor(values: readonly (readonly [path: string, value: T])[]) {
    const entries = values.map(([path, value], at) => ({ key: keyOf(path), at, value }));
    this.#sorted = entries.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  }

  /** The values at a directory and below it, in the order in which they were given. */
  within(directory: string): readonly T[] {
    const key = keyOf(directory);
    const found: Entry<T>[] = [];
    for (let at = this.#firstFrom(key);; at++) {
      const entry = this.#sorted[at];
      if (!entry?.key.startsWith(key)) break;
      found.push(entry);
    }
    return found.sort((a, b) => a.at - b.at).map(({ value }) => value);
  }

  /** Returns the index of the first key that is not before this one. */
  #firstFrom(key: string): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sorted[middle]?.key ?? "") < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function keyOf(path: string): string {
  return path === "/" ? path : `${path}/`;
}
