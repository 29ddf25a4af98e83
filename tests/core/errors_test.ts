import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { errno } from "../../lib/system/disk.ts";
import {
  asFailure,
  InvalidValueError,
  MissingPermissionError,
  MountError,
  OverlayError,
  PodError,
  RefusedError,
} from "../../lib/core/errors.ts";
import { InterruptedError } from "../../lib/core/interrupted.ts";

const FAILURE = { argv: ["/bin/mount", "-a"], status: 32, stderr: "mount: /x: busy" };

const ERRORS: readonly [error: OverlayError, name: string, code: string, exitStatus: number][] = [
  [new OverlayError("failed", "Cannot a"), "OverlayError", "failed", 1],
  [new InvalidValueError("usage", "Cannot a"), "InvalidValueError", "usage", 2],
  [new RefusedError("symlink", "Cannot a"), "RefusedError", "symlink", 3],
  [
    new MissingPermissionError("Cannot a", ["--allow-read=/a"]),
    "MissingPermissionError",
    "permission",
    4,
  ],
  [
    new MountError("mount-failed", "Cannot a", { failure: FAILURE }),
    "MountError",
    "mount-failed",
    1,
  ],
  [new InterruptedError(2), "InterruptedError", "interrupted", 130],
  [new InterruptedError(15), "InterruptedError", "interrupted", 143],
];

for (const [error, name, code, exitStatus] of ERRORS) {
  Deno.test(
    `${name} of code ${code} is an OverlayError that exits with ${exitStatus}`,
    { permissions: "none" },
    () => {
      assertInstanceOf(error, OverlayError);
      assertInstanceOf(error, Error);
      assertEquals([error.name, error.code, error.exitStatus], [name, code, exitStatus]);
      assert(error.stack?.startsWith(`${name}: Cannot `), error.stack);
    },
  );
}

Deno.test("OverlayError.toJSON() has the four fields of --json and nothing else", {
  permissions: "none",
}, () => {
  const cause = new Error("below");
  const error = new OverlayError("missing", 'Cannot use "/x": it is not there', {
    path: "/x",
    hint: "make it",
    cause,
  });
  assertStrictEquals(error.cause, cause);
  assertEquals(
    JSON.stringify(error),
    '{"code":"missing","message":"Cannot use \\"/x\\": it is not there","path":"/x","hint":"make it"}',
  );
});

Deno.test("OverlayError.toJSON() has null for a path and a hint that are not given", {
  permissions: "none",
}, () => {
  const error = new RefusedError("refused", "Cannot a", { hint: undefined });
  assertEquals(
    JSON.stringify(error),
    '{"code":"refused","message":"Cannot a","path":null,"hint":null}',
  );
  assert(!Object.hasOwn(error, "cause"));
  assert(!Object.keys(error).includes("name"));
});

Deno.test("MissingPermissionError keeps the flags, MountError what the program answered", {
  permissions: "none",
}, () => {
  assertEquals(new MissingPermissionError("Cannot a", ["--allow-run=/x"]).flags, [
    "--allow-run=/x",
  ]);
  const error = new MountError("busy", "Cannot a", { failure: FAILURE, path: "/x" });
  assertEquals([error.failure, error.path], [FAILURE, "/x"]);
});

Deno.test("errno() finds the code of an error of the operating system, and of nothing else", {
  permissions: "none",
}, () => {
  const table: readonly [error: unknown, code: string | null][] = [
    [Object.assign(new Error("a"), { code: "ENOENT" }), "ENOENT"],
    [Object.assign(new Error("a"), { code: 2 }), null],
    [new Error("a"), null],
    [{ code: "ENOENT" }, null],
    ["ENOENT", null],
    [null, null],
    [undefined, null],
  ];
  for (const [error, code] of table) assertEquals(errno(error), code);
});

for (const [error, name, code, exitStatus] of ERRORS) {
  Deno.test(`OverlayError.with() keeps the class of ${name} of code ${code}, and what it carries`, {
    permissions: "none",
  }, () => {
    const copy = error.with({ message: "Cannot b", path: "/b", hint: "do b" });
    assertInstanceOf(copy, error.constructor as typeof OverlayError);
    assertEquals([copy.name, copy.exitStatus, copy.cause], [name, exitStatus, error]);
    assertEquals(copy.toJSON(), {
      code: error.code,
      message: "Cannot b",
      path: "/b",
      hint: "do b",
    });
    assert(copy.stack?.startsWith(`${name}: Cannot b`), copy.stack);
    const { cause: _, message: __, path: ___, hint: ____, ...rest } = { ...error };
    assertEquals({ ...copy, path: undefined, hint: undefined }, {
      ...rest,
      path: undefined,
      hint: undefined,
    });
    assertEquals([error.code, error.message.startsWith("Cannot b")], [code, false]);
  });
}

Deno.test("OverlayError.with() keeps what is not named", { permissions: "none" }, () => {
  const error = new RefusedError("symlink", "Cannot a", { path: "/a", hint: "do a" });
  assertEquals(error.with({ code: "in-use" }).toJSON(), { ...error.toJSON(), code: "in-use" });
});

Deno.test("asFailure() makes a failure of a refusal, and leaves others as they are", {
  permissions: "none",
}, () => {
  const refusal = new RefusedError("symlink", "Cannot a", { path: "/a", hint: "do a" });
  assertEquals([refusal, asFailure(refusal)].map((error) => error.exitStatus), [3, 1]);
  assertEquals(asFailure(refusal).toJSON(), refusal.toJSON());
  const pod = new PodError("symlink", "Cannot a", { failures: [], refused: true });
  assertEquals([pod, asFailure(pod)].map((error) => error.exitStatus), [3, 1]);
  assertInstanceOf(asFailure(pod), PodError);
  for (const [error] of ERRORS) {
    if (!(error instanceof RefusedError)) assertStrictEquals(asFailure(error), error);
  }
});
