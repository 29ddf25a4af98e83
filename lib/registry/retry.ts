/**
 * When a request is tried again, and how long is waited before.
 *
 * Requires no permissions.
 *
 * @module
 */

/** How often a request is tried. */
export const TRIES = 5;

/** The longest wait that a server may ask for, in milliseconds. */
export const WAIT_MAX = 60_000;

const FIRST_WAIT = 1000;

/** Tells whether a server that answers so may answer otherwise later. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/**
 * Reads a `Retry-After` header: seconds, or a date.
 *
 * @param now The time, in milliseconds since 1970.
 * @returns Milliseconds; `null` where there is none.
 */
export function parseRetryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  // Date.parse() takes much for a date that is none.
  const date = /^[A-Z][a-z]{2,8},? /.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(date) ? null : Math.max(date - now, 0);
}

/**
 * The wait before the next try.
 *
 * @param tries How often it was tried.
 * @param random A number from 0 to 1: many clients that failed together do not come back together.
 * @returns Milliseconds.
 */
export function waitAfter(tries: number, random: number): number {
  return FIRST_WAIT * 2 ** (tries - 1) * (0.5 + random / 2);
}
