/**
 * The errors of values that cannot be used.
 *
 * Requires no permissions.
 *
 * @module
 */
import { InvalidValueError } from "./errors.ts";
import type { ErrorCode, OverlayError, OverlayErrorOptions } from "./errors.ts";
import { quote } from "./quote.ts";

/** The error of a value; its parts are kept, so that the value can get another name. */
export class ValueError extends InvalidValueError {
  /** The name of the value, such as `lower`. */
  readonly what: string;
  /** The value in quotes, and why it cannot be used. */
  readonly rest: string;

  /** Makes an error of a value, which is quoted already. */
  constructor(
    what: string,
    value: string,
    reason: string,
    { code = "invalid-value", ...options }: OverlayErrorOptions & { readonly code?: ErrorCode },
  ) {
    super(code, `Cannot use ${what} ${value}: ${reason}`, options);
    this.what = what;
    this.rest = `${value}: ${reason}`;
  }

  /** A copy that names the value otherwise, such as `apps[1].lower`. */
  rename(what: string): ValueError {
    return this.with({ message: `Cannot use ${what} ${this.rest}` });
  }
}

/** The error for a value that cannot be used. */
export function invalid(
  what: string,
  value: string,
  reason: string,
  options: OverlayErrorOptions & { readonly code?: ErrorCode } = {},
): ValueError {
  return new ValueError(what, quote(value), reason, options);
}

/** The sentence of an error as a part of another one, in which it begins with a small letter. */
export function embed({ message }: OverlayError): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

/** The error of a part of something that cannot be done, such as `render app "web"`. */
export function errorWithin<T extends OverlayError>(action: string, error: T): T {
  return error.with({ message: `Cannot ${action}: ${embed(error)}` });
}
