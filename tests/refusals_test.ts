import { assertEquals, assertThrows } from "@std/assert";
import type { AppLine } from "../lib/app_line.ts";
import { RefusedError } from "../lib/errors.ts";
import { podLayout } from "../lib/layout.ts";
import {
  refuseForeign,
  refuseHiding,
  refuseLiveUpper,
  refuseOtherMount,
  refuseOtherPaths,
  refuseSharedUpper,
} from "../lib/refusals.ts";

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

Deno.test("refuseSharedUpper() refuses an upper or work that is another app's, or in or above it", {
  permissions: "none",
}, () => {
  const others = [lineOf("db", { upper: "/p/u/db", work: "/p/w/db" })];
  const fine = [{ upper: "/p/u/web", work: "/p/w/web" }, { upper: "/p/u/dbx", work: "/p/w/dbx" }];
  for (const parts of fine) refuseSharedUpper(others, lineOf("web", parts), POD);
  refuseSharedUpper(others, lineOf("db", { upper: "/p/u/db", work: "/p/w/db" }), POD);
  const shared = [
    { upper: "/p/u/db" },
    { work: "/p/w/db" },
    { upper: "/p/u" },
    { upper: "/p/u/db/x" },
    { work: "/p/u/db" },
    { upper: "../../p/u/db" },
  ];
  for (const parts of shared) {
    assertRefused(() => refuseSharedUpper(others, lineOf("web", parts), POD), "in-use", "share");
  }
});

Deno.test("refuseHiding() refuses a mount above the rootfs of another app", {
  permissions: "none",
}, () => {
  const own = { ...line(""), rootfs: "/pods/one/stage1/rootfs" };
  refuseHiding([own, line("web")], own, []);
  const inside = { ...line("web"), rootfs: "/pods/one/stage1/rootfs/opt/web/rootfs" };
  assertRefused(() => refuseHiding([inside], own, []), "in-use", 'hide the rootfs of app "web"');
});

Deno.test("refuseLiveUpper() refuses an upper or work that a mount elsewhere uses", {
  permissions: "none",
}, () => {
  const mounted = (
    options: string,
    target = "/mnt",
    fstype = "overlay",
  ) => [{ target, fstype, options, readOnly: false }];
  const web = line("web");
  refuseLiveUpper(mounted("lowerdir=/l,upperdir=/u2,workdir=/w2"), web, web.rootfs);
  refuseLiveUpper(mounted(web.options, web.rootfs), web, web.rootfs);
  refuseLiveUpper(mounted(web.options, "/mnt", "ext4"), web, web.rootfs);
  refuseLiveUpper(mounted("lowerdir=/l:/m"), line("web", "ro,lowerdir=/l:/m"), web.rootfs);
  for (
    const options of [web.options, "lowerdir=/x,upperdir=/u,workdir=/y", "upperdir=/z,workdir=/w"]
  ) {
    assertRefused(() => refuseLiveUpper(mounted(options), web, web.rootfs), "in-use", '"/mnt"');
  }
});

Deno.test("refuseLiveUpper() does not take relative paths of another pod for this one's", {
  permissions: "none",
}, () => {
  const web = line("web", "lowerdir=../l,upperdir=overlay/t/upper/web,workdir=overlay/t/work/web");
  const table = [{
    target: "/pods/two/web/rootfs",
    fstype: "overlay",
    options: web.options,
    readOnly: false,
  }];
  refuseLiveUpper(table, web, web.rootfs);
});
