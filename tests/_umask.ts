/**
 * The umask, which belongs to the whole process.
 *
 * @module
 */

/** Runs something under a umask, and sets the old one again. */
export function underUmask<T>(mask: number, act: () => T): T {
  const had = Deno.umask(mask);
  try {
    return act();
  } finally {
    Deno.umask(had);
  }
}
