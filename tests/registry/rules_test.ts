/**
 * The rules of redirects, of waits and of what a registry's errors mean.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { RefusedError } from "../../lib/core/errors.ts";
import { checkLeadsTo } from "../../lib/registry/redirect_rules.ts";
import { answerError, wordsOfAnswer } from "../../lib/registry/registry_error.ts";
import { isPassing, parseRetryAfter, waitAfter } from "../../lib/registry/retry.ts";

const REGISTRY = "https://registry.example";

/** Where a server leads, and the reason why it may not; none where it may. */
const LEADS: readonly (readonly [to: string, reason?: string])[] = [
  ["https://cdn.example/x"],
  ["https://registry.example:444/x"],
  ["https://10.0.0.1/x"],
  ["http://cdn.example/x", "from https to http"],
  ["http://registry.example/x", "from https to http"],
  ["file:///etc/passwd", "it is not http"],
  ["ftp://a/x", "it is not http"],
  ["data:text/plain,x", "it is not http"],
  ["https://a:b@cdn.example/x", "it holds a user name"],
  ["https://localhost/x", "to this machine itself"],
  ["https://a.localhost/x", "to this machine itself"],
  ["https://LOCALHOST./x", "to this machine itself"],
  ["https://127.0.0.1/x", "to this machine itself"],
  ["https://127.1/x", "to this machine itself"],
  ["https://0x7f000001/x", "to this machine itself"],
  ["https://2130706433/x", "to this machine itself"],
  ["https://[::1]/x", "to this machine itself"],
  ["https://[::ffff:127.0.0.1]/x", "to this machine itself"],
  ["https://169.254.169.254/latest", "address of this machine's link"],
  ["https://[::ffff:169.254.169.254]/x", "address of this machine's link"],
  ["https://[fe80::1]/x", "address of this machine's link"],
  ["https://0.0.0.0/x", "address of this machine's link"],
  ["https://0/x", "address of this machine's link"],
  ["https://[::]/x", "address of this machine's link"],
];

Deno.test("checkLeadsTo() refuses what leads to this machine, its link, or away from https", () => {
  const registry = new URL(REGISTRY);
  for (const [to, reason] of LEADS) {
    const check = () => checkLeadsTo("redirect", new URL(to), registry, registry);
    if (reason === undefined) check();
    else assertEquals(assertThrows(check, RefusedError, reason).code, "redirect-refused", to);
  }
});

Deno.test("checkLeadsTo() lets a registry on this machine lead to this machine", () => {
  const registry = new URL("http://127.0.0.1:5000");
  for (const to of ["http://127.0.0.1:6000/x", "https://localhost/x", "http://127.0.0.1:5000/"]) {
    checkLeadsTo("redirect", new URL(to), registry, registry);
  }
  const meta = new URL("http://169.254.169.254/");
  assertThrows(() => checkLeadsTo("redirect", meta, registry, registry), RefusedError);
});

Deno.test("parseRetryAfter() reads seconds and dates", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  assertEquals(parseRetryAfter(null, now), null);
  assertEquals(parseRetryAfter("7", now), 7000);
  assertEquals(parseRetryAfter(" 0 ", now), 0);
  assertEquals(parseRetryAfter("Thu, 01 Jan 2026 00:00:30 GMT", now), 30_000);
  assertEquals(parseRetryAfter("Thu, 01 Jan 2020 00:00:30 GMT", now), 0);
  assertEquals(parseRetryAfter("soon", now), null);
  assertEquals(parseRetryAfter("-5", now), null);
});

Deno.test("waitAfter() doubles, and never comes back at once", () => {
  assertEquals([1, 2, 3].map((tries) => waitAfter(tries, 1)), [1000, 2000, 4000]);
  assertEquals([1, 2, 3].map((tries) => waitAfter(tries, 0)), [500, 1000, 2000]);
  const passing = [200, 400, 401, 404, 408, 429, 500, 503];
  assertEquals(passing.filter(isPassing), [408, 429, 500, 503]);
});

Deno.test("wordsOfAnswer() has the registry's own words, escaped and cut", () => {
  const errors = [{ code: "DENIED", message: "no \u001b[31m" }, { code: "X" }, {}];
  assertEquals(wordsOfAnswer(JSON.stringify({ errors })), "DENIED: no \\u001b[31m; X");
  assertEquals(wordsOfAnswer(" not JSON "), "not JSON");
  assertEquals(wordsOfAnswer("x".repeat(1000)).length, 301);
});

Deno.test("answerError() knows what a status means", () => {
  const codes = [401, 403, 404, 429, 500, 418].map((status) =>
    answerError("pull", status, "").code
  );
  assertEquals(codes, ["unauthorized", "denied", "missing", "rate-limited", "network", "network"]);
  const { message } = answerError('pull "a"', 404, '{"errors":[{"code":"NAME_UNKNOWN"}]}');
  assertEquals(
    message,
    'Cannot pull "a": the registry answered 404, and said "NAME_UNKNOWN"',
  );
});
