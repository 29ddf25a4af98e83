/**
 * What callers without types can ask for: the same checks as those of a spec file.
 *
 * @module
 */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  InvalidValueError,
  overlayStatus,
  planPod,
  planRender,
  prepareOverlay,
  preparePod,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../../mod.ts";
import type { PodRequest, RenderRequest } from "../../mod.ts";

const LOWER = { lower: "/l", pod: "/p" };
const RENDERS: readonly (readonly [request: unknown, message: string])[] = [
  [undefined, "request: it must be an object, and is undefined"],
  [null, "request: it must be an object, and is null"],
  ["/p", 'request: it must be an object, and is "/p"'],
  [[], "request: it must be an object, and is []"],
  [{}, "pod: it is missing, and every request has one"],
  [{ lower: "/l" }, "pod: it is missing, and every request has one"],
  [{ ...LOWER, pod: undefined }, "pod: it is missing, and every request has one"],
  [{ ...LOWER, pod: 5 }, "pod: it must be a path, and is 5"],
  [{ ...LOWER, lower: 5 }, "lower: it must be a path or a list of paths, and is 5"],
  [{ ...LOWER, lower: [5] }, "lower: it must be a path or a list of paths, and is [5]"],
  [{ ...LOWER, lower: null }, "lower: it must be a path or a list of paths, and is null"],
  [{ ...LOWER, options: "volatile" }, 'options: it must be a list of strings, and is "volatile"'],
  [{ ...LOWER, app: 7n }, "app: it must be a string, and is 7"],
  [{ ...LOWER, readOnly: "no" }, 'readOnly: it must be true or false, and is "no"'],
  [{ ...LOWER, mtab: 1 }, "mtab: it must be true or false, and is 1"],
  [{ ...LOWER, group: {} }, "group: it must be a number or a string, and is {}"],
  [{ ...LOWER, label: () => {} }, /^Cannot use label: it must be a string, and is .*=>/.source],
  [{ ...LOWER, lowr: "/l" }, 'request field "lowr": there is no such field'],
  [{ ...LOWER, toString: 1 }, 'request field "toString": there is no such field'],
];

function check(error: InvalidValueError, expected: string): void {
  assertEquals([error.code, error.exitStatus], ["invalid-value", 2]);
  if (expected.startsWith("^")) assertEquals(new RegExp(expected).test(error.message), true);
  else assertEquals(error.message, `Cannot use ${expected}`);
}

for (const [request, expected] of RENDERS) {
  const given = request as RenderRequest;
  Deno.test(`a render is refused: ${expected}`, { permissions: "none" }, async () => {
    check(assertThrows(() => planRender(given), InvalidValueError), expected);
    check(await assertRejects(() => renderOverlay(given), InvalidValueError), expected);
    check(await assertRejects(() => prepareOverlay(given), InvalidValueError), expected);
  });
}

const APP = { app: "web", lower: "/l" };
const PODS: readonly (readonly [request: unknown, message: string])[] = [
  [undefined, "request: it must be an object, and is undefined"],
  [{}, "pod: it is missing, and every request has one"],
  [{ pod: "/p" }, "apps: it is missing, and every request has one"],
  [{ pod: "/p", apps: {} }, "apps: it must be a list of apps, and is {}"],
  [{ pod: "/p", apps: [APP, 5] }, "apps[1]: it must be an object, and is 5"],
  [{ pod: "/p", apps: [{ lower: "/l" }] }, "apps[0].app: it is missing"],
  [
    { pod: "/p", apps: [{ ...APP, pod: "/q" }] },
    'request field "apps[0].pod": there is no such field',
  ],
  [
    { pod: "/p", apps: [APP, { ...APP, options: "nodev" }] },
    'apps[1].options: it must be a list of strings, and is "nodev"',
  ],
  [{ pod: "/p", apps: [APP], app: "web" }, 'request field "app": there is no such field'],
  [{ pod: "/p", apps: [APP], profile: 3 }, "profile: it must be a string, and is 3"],
];

for (const [request, expected] of PODS) {
  const given = request as PodRequest;
  Deno.test(`a render of a pod is refused: ${expected}`, { permissions: "none" }, async () => {
    check(assertThrows(() => planPod(given), InvalidValueError), expected);
    check(await assertRejects(() => renderPod(given), InvalidValueError), expected);
    check(await assertRejects(() => preparePod(given), InvalidValueError), expected);
  });
}

Deno.test("a field that is undefined is not there", { permissions: "none" }, () => {
  const given = { ...LOWER, app: undefined, options: undefined } as unknown as RenderRequest;
  assertEquals(planRender(given).mounts[0].app, "");
});

Deno.test("a pod or an app that is no string is refused", { permissions: "none" }, async () => {
  const wrong = undefined as unknown as string;
  for (const act of [() => unmountOverlay({ pod: wrong }), () => overlayStatus({ pod: wrong })]) {
    const error = await assertRejects(act, InvalidValueError);
    assertEquals(error.message, "Cannot use pod undefined: it must be a string");
  }
  const act = () => unmountOverlay({ pod: "/p", app: [5 as unknown as string] });
  assertEquals(
    (await assertRejects(act, InvalidValueError)).message,
    "Cannot use app 5: it must be a string",
  );
});
