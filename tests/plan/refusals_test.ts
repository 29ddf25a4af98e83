import { assertEquals, assertThrows } from "@std/assert";
import type { AppLine } from "../../lib/overlay/app_line.ts";
import { RefusedError } from "../../lib/core/errors.ts";
import { podLayout } from "../../lib/request/layout.ts";
import { refuseForeign } from "../../lib/plan/refusals.ts";
import { refuseOtherMount, refuseOtherPaths } from "../../lib/plan/render_refusals.ts";

const POD = podLayout("/pods/one");

function line(app: string, options = "lowerdir=/l,upperdir=/u,workdir=/w"): AppLine {
  return {
    app,
    tree: "t",
    rootfs: `/pods/one/${app}/rootfs`,
    source: "overlay",
    options,
    auto: true,
  };
}

function lineOf(app: string, parts: { lower?: string; upper?: string; work?: string }): AppLine {
  const { lower = "/l", upper = "/u", work = "/w" } = parts;
  return line(app, `lowerdir=${lower},upperdir=${upper},workdir=${work}`);
}

function assertRefused(act: () => unknown, code: string, message: string): void {
  const error = assertThrows(act, RefusedError, message);
  assertEquals([error.code, error.exitStatus], [code, 3]);
}

Deno.test("refuseOtherPaths() refuses another lower or upper for the same app", {
  permissions: "none",
}, () => {
  const old = line("web");
  refuseOtherPaths(old, { ...old, options: `${old.options},volatile` }, POD);
  refuseOtherPaths(old, lineOf("web", { upper: "../../u" }), POD);
  assertRefused(
    () => refuseOtherPaths(old, lineOf("web", { lower: "/other" }), POD),
    "different",
    'Cannot render app "web" with lower "/other": it has lower "/l"',
  );
  assertRefused(
    () => refuseOtherPaths(old, lineOf("web", { upper: "/other" }), POD),
    "different",
    'Cannot render app "web" with upper "/other": it has upper "/u"',
  );
});

Deno.test("refuseOtherPaths() tells one lower with a colon in its name from two lowers", {
  permissions: "none",
}, () => {
  const old = lineOf("web", { lower: "/a\\:/b" });
  const two = lineOf("web", { lower: "/a:/b" });
  assertRefused(() => refuseOtherPaths(old, two, POD), "different", "Cannot render");
});

Deno.test("refuseOtherMount() refuses other options or another rootfs while the app is mounted", {
  permissions: "none",
}, () => {
  const old = line("web");
  refuseOtherMount(old, { ...old, auto: false }, POD);
  const options = `${old.options},volatile`;
  assertRefused(() => refuseOtherMount(old, { ...old, options }, POD), "different", "with options");
  assertRefused(
    () => refuseOtherMount(old, { ...old, rootfs: "/x" }, POD),
    "different",
    "with rootfs",
  );
});

Deno.test("refuseForeign() refuses a rootfs that something else is mounted on", {
  permissions: "none",
}, () => {
  refuseForeign("mount", line("web"), "unmounted");
  refuseForeign("mount", line("web"), "mounted");
  assertRefused(
    () => refuseForeign("mount", line("web"), "foreign"),
    "foreign-mount",
    "something else",
  );
});
