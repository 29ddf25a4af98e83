/**
 * The error of a value that cannot be used.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "./errors.ts";
import { quote } from "./quote.ts";

/** The error for a value that cannot be used. */
export function invalid(
  what: string,
  value: string,
  reason: string,
  hint?: string,
): InvalidValueError {
  return new InvalidValueError("invalid-value", `Cannot use ${what} ${quote(value)}: ${reason}`, {
    hint,
  });
}
