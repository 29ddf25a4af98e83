import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  InvalidValueError,
  MountError,
  OverlayError,
  PodError,
  RefusedError,
} from "../../lib/core/errors.ts";
import { forEachApp, podError } from "../../lib/core/pod_error.ts";
import type { AppFailure } from "../../lib/core/pod_error.ts";

const MISSING = new OverlayError("missing", 'Cannot use lower "/l": it does not exist', {
  path: "/l",
  hint: "check the path",
});
const FOREIGN = new RefusedError("foreign-mount", 'Cannot mount "/r": something else is there', {
  path: "/r",
});
const OTHER = new RefusedError("different", "Cannot render app: it has another lower");

interface Named {
  readonly line: { readonly app: string };
}

function apps(...names: string[]): Named[] {
  return names.map((app) => ({ line: { app } }));
}

/** What each app ends with; those that are not named here are done. */
function acting(
  errors: Readonly<Record<string, unknown>>,
  done: string[] = [],
): (app: Named) => void {
  return ({ line: { app } }) => {
    done.push(app);
    if (Object.hasOwn(errors, app)) throw errors[app];
  };
}

function failed(act: () => void): PodError {
  return assertThrows(act, PodError);
}

Deno.test("forEachApp() does it for each app, in order", { permissions: "none" }, () => {
  for (const names of [[], ["web"], ["web", "", "db"]]) {
    const done: string[] = [];
    forEachApp(apps(...names), acting({}, done));
    assertEquals(done, names);
  }
});

Deno.test("forEachApp() goes on past an app that fails, and names every one that did", {
  permissions: "none",
}, () => {
  const done: string[] = [];
  const act = acting({ web: MISSING, db: FOREIGN }, done);
  const { failures, message } = failed(() => forEachApp(apps("web", "", "db", "cache"), act));
  assertEquals(done, ["web", "", "db", "cache"]);
  assertEquals(failures.map(({ app, code }) => [app, code]), [
    ["web", "missing"],
    ["db", "foreign-mount"],
  ]);
  assertEquals(
    message,
    'Cannot render app "web" (cannot use lower "/l": it does not exist) and ' +
      'app "db" (cannot mount "/r": something else is there)',
  );
});

Deno.test("forEachApp() names the one app of many that fails", { permissions: "none" }, () => {
  const error = failed(() => forEachApp(apps("web", "db"), acting({ db: FOREIGN })));
  assertEquals(error.failures.map(({ app }) => app), ["db"]);
  assertEquals(error.message.startsWith('Cannot render app "db" ('), true);
});

Deno.test(
  "forEachApp() of a single app throws the app's own error",
  { permissions: "none" },
  () => {
    const error = assertThrows(() => forEachApp(apps("web"), acting({ web: MISSING })));
    assertStrictEquals(error, MISSING);
  },
);

Deno.test("forEachApp() ends at an error that is nobody's on purpose", {
  permissions: "none",
}, () => {
  const done: string[] = [];
  const bug = new TypeError("x is not a function");
  const act = acting({ a: MISSING, b: bug }, done);
  assertStrictEquals(assertThrows(() => forEachApp(apps("a", "b", "c"), act)), bug);
  assertEquals(done, ["a", "b"]);
});

Deno.test("podError() is about what the first app is about", { permissions: "none" }, () => {
  const error = podError("render", [
    { app: "web", error: MISSING },
    { app: "db", error: FOREIGN },
  ]);
  assertEquals(error.toJSON(), {
    code: "missing",
    message: error.message,
    path: "/l",
    hint: "check the path",
  });
  assertStrictEquals(error.cause, MISSING);
  const without = podError("render", [{ app: "web", error: OTHER }]);
  assertEquals([without.code, without.path, without.hint], ["different", null, null]);
});

Deno.test("podError() carries every app's error as it is written in JSON", {
  permissions: "none",
}, () => {
  const { failures } = podError("render", [
    { app: "", error: MISSING },
    { app: "db", error: FOREIGN },
  ]);
  assertEquals(JSON.parse(JSON.stringify(failures)), [
    { app: "", ...MISSING.toJSON() },
    { app: "db", ...FOREIGN.toJSON() },
  ]);
  assertEquals(Object.keys(failures[0] ?? {}), ["app", "code", "message", "path", "hint"]);
});

Deno.test("podError() says what was to be done, and names the pod's own image in words", {
  permissions: "none",
}, () => {
  const error = podError("prepare", [{ app: "", error: MISSING }]);
  assertEquals(
    error.message,
    'Cannot prepare the pod\'s own image (cannot use lower "/l": it does not exist)',
  );
});

Deno.test("podError() quotes an app's name", { permissions: "none" }, () => {
  const error = podError("render", [{ app: 'a"\u202eb', error: OTHER }]);
  assertEquals(error.message.startsWith('Cannot render app "a\\"\\u202eb" (cannot render'), true);
});

const mountFailed = new MountError("mount-failed", "Cannot mount overlay", {
  failure: { argv: ["/bin/mount"], status: 32, stderr: "" },
});

/** Refused is only a call of which nothing else went wrong. */
const STATUSES: readonly (readonly [errors: readonly OverlayError[], status: number])[] = [
  [[FOREIGN], 3],
  [[FOREIGN, OTHER], 3],
  [[MISSING], 1],
  [[MISSING, FOREIGN], 1],
  [[FOREIGN, MISSING], 1],
  [[FOREIGN, mountFailed], 1],
  [[mountFailed], 1],
  [[new InvalidValueError("invalid-value", "Cannot use it"), FOREIGN], 1],
];

Deno.test("podError() exits 3 if all were refused, otherwise 1", { permissions: "none" }, () => {
  for (const [errors, status] of STATUSES) {
    const failures = errors.map((error, at): AppFailure => ({ app: `app-${at}`, error }));
    const error = podError("render", failures);
    assertEquals(error.exitStatus, status);
    assert(error instanceof OverlayError);
    assertEquals(error.name, "PodError");
  }
});
