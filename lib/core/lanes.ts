/**
 * Work on several items at once.
 *
 * Requires no permissions.
 *
 * @module
 */

/**
 * Acts on items in their order, several at once. After an error no other item is begun.
 *
 * @param lanes The number of items that are worked on at once.
 * @throws {unknown} The first error, when all that was begun has ended.
 */
export async function inLanes<T>(
  items: readonly T[],
  lanes: number,
  act: (item: T) => Promise<unknown>,
): Promise<void> {
  const queue = [...items];
  const faults: unknown[] = [];
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        await act(next);
      } catch (error) {
        faults.push(error);
        queue.length = 0;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, work));
  if (faults.length > 0) throw faults[0];
}

/** Makes a signal that any of these aborts; those that are absent are left out. */
export function joinSignals(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined));
}
