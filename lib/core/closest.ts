/**
 * The closest of several words, for errors about a word that is unknown.
 *
 * Requires no permissions.
 *
 * @module
 */

/** Counts the letters to put in, take out, replace, or swap with the next one, to make one word of another. */
export function editDistance(from: string, to: string): number {
  let [before, last]: [number[], number[]] = [
    [],
    Array.from({ length: to.length + 1 }, (_, at) => at),
  ];
  for (let row = 1; row <= from.length; row++) {
    const current = [row];
    for (let at = 1; at <= to.length; at++) {
      const same = from[row - 1] === to[at - 1];
      const swapped = from[row - 1] === to[at - 2] && from[row - 2] === to[at - 1];
      current.push(Math.min(
        (last[at] ?? 0) + 1,
        (current[at - 1] ?? 0) + 1,
        (last[at - 1] ?? 0) + (same ? 0 : 1),
        swapped ? (before[at - 2] ?? 0) + 1 : Infinity,
      ));
    }
    [before, last] = [last, current];
  }
  return last[to.length] ?? 0;
}

/**
 * Finds the word that was meant: the only one that begins so, or the closest, if few letters differ.
 *
 * @returns `undefined` if there is none, or if two are as close.
 */
export function findClosest(given: string, words: readonly string[]): string | undefined {
  const begun = given.length < 2 ? [] : words.filter((word) => word.startsWith(given));
  if (begun.length === 1) return begun[0];
  const most = Math.max(1, Math.floor(given.length / 3));
  const near = words.map((word) => ({ word, distance: editDistance(given, word) }))
    .filter(({ word, distance }) => distance <= most && distance < word.length - 1)
    .sort((a, b) => a.distance - b.distance);
  return near[0]?.distance === near[1]?.distance ? undefined : near[0]?.word;
}
