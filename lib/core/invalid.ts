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

/** The error of an unusable value. It keeps its parts, so that the value can be renamed in the message. */
export class ValueError extends InvalidValueError {
  /** The name of the value, such as `lower`. */
  readonly what: string;
  /** The quoted value and the reason. */
  readonly rest: string;

  /** Makes an error of a value that is quoted already. */
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

  /** Returns a copy with another name of the value, such as `apps[1].lower`. */
  rename(what: string): ValueError {
    return this.with({ message: `Cannot use ${what} ${this.rest}` });
  }
}

/** Makes the error of an unusable value. */
export function invalid(
  what: string,
  value: string,
  reason: string,
  options: OverlayErrorOptions & { readonly code?: ErrorCode } = {},
): ValueError {
  return new ValueError(what, quote(value), reason, options);
}

/** Returns the message of an error in lower case, for use inside another sentence. */
export function embed({ message }: OverlayError): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

/** Wraps the error of a part in one for the whole action, such as `render app "web"`. */
export function errorWithin<T extends OverlayError>(action: string, error: T): T {
  return error.with({ message: `Cannot ${action}: ${embed(error)}` });
}
