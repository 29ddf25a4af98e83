/**
 * What a value that is refused looks like.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InvalidValueError } from "../lib/core/errors.ts";
import { quote } from "../lib/core/quote.ts";

/** The value is refused as invalid: exit status 2, with a message that quotes it and says why. */
export function assertInvalid(parse: () => unknown, value: string, reason: string): void {
  const error = assertThrows(parse, InvalidValueError);
  assertEquals([error.code, error.exitStatus], ["invalid-value", 2]);
  assert(error.message.startsWith("Cannot use "), error.message);
  assertStringIncludes(error.message, quote(value));
  assertStringIncludes(error.message, reason);
}
