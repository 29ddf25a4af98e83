/**
 * The rules for repeating requests: when, and after what wait.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The number of attempts of a request. */
export const TRIES = 5;

/** The longest wait that a server may ask for, in milliseconds. */
export const WAIT_MAX = 60_000;

const FIRST_WAIT = 1000;

/** Tells whether a status is temporary. */
export function isPassing(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

/**
 * Parses a `Retry-After` header: seconds, or a date.
 *
 * @param now The time, in milliseconds since 1970.
 * @returns Milliseconds; `null` if the header is absent or invalid.
 */
export function parseRetryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  // Date.parse() accepts many texts that are no date.
  const date = /^[A-Z][a-z]{2,8},? /.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(date) ? null : Math.max(date - now, 0);
}

/**
 * Computes the wait before the next attempt.
 *
 * @param tries The number of attempts so far.
 * @param random A number from 0 to 1, so that clients that failed together do not return together.
 * @returns Milliseconds.
 */
export function waitAfter(tries: number, random: number): number {
  return FIRST_WAIT * 2 ** (tries - 1) * (0.5 + random / 2);
}
