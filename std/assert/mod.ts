import { assert as untypedAssert } from "npm:deno-std@1.3.1/assert/assert.js";
import { AssertionError as UntypedAssertionError } from "npm:deno-std@1.3.1/assert/assertion_error.js";
import { assertEquals as untypedEquals } from "npm:deno-std@1.3.1/assert/equals.js";
import { assertExists as untypedExists } from "npm:deno-std@1.3.1/assert/exists.js";
import { fail as untypedFail } from "npm:deno-std@1.3.1/assert/fail.js";
import { assertInstanceOf as untypedInstanceOf } from "npm:deno-std@1.3.1/assert/instance_of.js";
import { assertMatch as untypedMatch } from "npm:deno-std@1.3.1/assert/match.js";
import { assertNotEquals as untypedNotEquals } from "npm:deno-std@1.3.1/assert/not_equals.js";
import { assertRejects as untypedRejects } from "npm:deno-std@1.3.1/assert/rejects.js";
import { assertStrictEquals as untypedStrictEquals } from "npm:deno-std@1.3.1/assert/strict_equals.js";
import { assertStringIncludes as untypedStringIncludes } from "npm:deno-std@1.3.1/assert/string_includes.js";
import { assertThrows as untypedThrows } from "npm:deno-std@1.3.1/assert/throws.js";

// `any` because a constructor's parameters do not matter here, and `unknown` would refuse most classes.
// deno-lint-ignore no-explicit-any
type Class<T> = abstract new (...args: any[]) => T;

export type AssertionError = Error;
export const AssertionError: new (message: string, options?: ErrorOptions) => AssertionError =
  UntypedAssertionError;

export const assert: (expr: unknown, msg?: string) => asserts expr = untypedAssert;

export const assertEquals: <T>(actual: T, expected: T, msg?: string) => void = untypedEquals;

export const assertNotEquals: <T>(actual: T, expected: T, msg?: string) => void = untypedNotEquals;

export const assertStrictEquals: <T>(
  actual: unknown,
  expected: T,
  msg?: string,
) => asserts actual is T = untypedStrictEquals;

export const assertExists: <T>(
  actual: T,
  msg?: string,
) => asserts actual is NonNullable<T> = untypedExists;

export const assertInstanceOf: <T extends Class<unknown>>(
  actual: unknown,
  expectedType: T,
  msg?: string,
) => asserts actual is InstanceType<T> = untypedInstanceOf;

export const assertMatch: (actual: string, expected: RegExp, msg?: string) => void = untypedMatch;

export const assertStringIncludes: (
  actual: string,
  expected: string,
  msg?: string,
) => void = untypedStringIncludes;

export const assertThrows: {
  (fn: () => unknown, msg?: string): unknown;
  <E extends Error = Error>(
    fn: () => unknown,
    ErrorClass: Class<E>,
    msgIncludes?: string,
    msg?: string,
  ): E;
} = untypedThrows;

export const assertRejects: {
  (fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
  <E extends Error = Error>(
    fn: () => PromiseLike<unknown>,
    ErrorClass: Class<E>,
    msgIncludes?: string,
    msg?: string,
  ): Promise<E>;
} = untypedRejects;

export const fail: (msg?: string) => never = untypedFail;
