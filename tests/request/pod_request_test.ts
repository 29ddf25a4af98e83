import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { parsePodRequest } from "../../lib/request/pod_request.ts";
import type { PodApp, PodRequest, RenderRequest } from "../../lib/request/options.ts";
import { parseRequest } from "../../lib/request/request.ts";

const WEB: PodApp = { app: "web", lower: "/images/debian" };
const DB: PodApp = { app: "db", lower: "/images/debian" };
const POD: PodRequest = { pod: "/pod", apps: [WEB, DB] };
const WEB_ROOTFS = "/pod/apps/web/rootfs";

function refused(request: unknown): InvalidValueError {
  const error = assertThrows(() => parsePodRequest(request as PodRequest), InvalidValueError);
  assertEquals(error.exitStatus, 2);
  return error;
}

/** The error of a request of one app. */
function alone(request: unknown): InvalidValueError {
  return assertThrows(() => parseRequest(request as RenderRequest), InvalidValueError);
}

Deno.test("parsePodRequest() parses each app as a request of its own", {
  permissions: "none",
}, () => {
  const apps: readonly PodApp[] = [
    WEB,
    {
      app: "",
      tree: "base",
      lower: ["/a/", "/b"],
      dest: "/srv/x/",
      manifest: "/m",
      label: "u:r:t",
      options: ["nodev,nosuid"],
      readOnly: true,
    },
    { app: "store", tree: "alpine" },
  ];
  const common = {
    pod: "/pod/",
    store: "/store",
    layout: "rkt",
    profile: "fixed-mode",
    dirMode: "0700",
    group: "1000",
  } as const;
  assertEquals(
    parsePodRequest({ ...common, apps }),
    apps.map((app) => parseRequest({ ...common, ...app })),
  );
});

Deno.test("parsePodRequest() keeps the order of the apps", { permissions: "none" }, () => {
  const names = ["c", "", "a", "b"];
  const apps = names.map((app) => ({ app, lower: "/l", tree: `t${app}` }));
  assertEquals(parsePodRequest({ pod: "/pod", apps }).map(({ app }) => app), names);
});

Deno.test("parsePodRequest() gives the pod's label to the apps that have none of their own", {
  permissions: "none",
}, () => {
  const apps = [WEB, { ...DB, label: "u:r:own" }];
  const labels = parsePodRequest({ pod: "/pod", label: "u:r:all", apps }).map(({ label }) => label);
  assertEquals(labels, ["u:r:all", "u:r:own"]);
});

Deno.test("parsePodRequest() leaves its request as it is", { permissions: "none" }, () => {
  const request: PodRequest = { ...POD, label: "u:r:t", apps: [{ ...WEB, lower: ["/a"] }, DB] };
  const before = JSON.stringify(request);
  parsePodRequest(request);
  assertEquals(JSON.stringify(request), before);
});

/** What can be wrong with an app, and how the message then begins. */
const APP_PARTS: readonly (readonly [part: Record<string, unknown>, field: string])[] = [
  [{ app: "a/b" }, 'app "a/b"'],
  [{ app: ".." }, 'app ".."'],
  [{ app: "a\nb" }, 'app "a\\nb"'],
  [{ app: "x".repeat(256) }, `app "${"x".repeat(256)}"`],
  [{ lower: "images" }, 'lower "images"'],
  [{ lower: "" }, 'lower ""'],
  [{ lower: ["/a", "b"] }, 'lower "b"'],
  [{ lower: ["/a\0"] }, 'lower "/a\\u0000"'],
  [{ lower: `/${"x".repeat(256)}` }, `tree "${"x".repeat(256)}"`],
  [{ tree: "" }, 'tree ""'],
  [{ tree: ".." }, 'tree ".."'],
  [{ dest: "web" }, 'dest "web"'],
  [{ dest: "/pod/overlay" }, 'dest "/pod/overlay"'],
  [{ dest: "/images/debian/x" }, 'dest "/images/debian/x"'],
  [{ manifest: "m" }, 'manifest "m"'],
  [{ label: "t" }, 'label "t"'],
  [{ options: ["remount"] }, 'options "remount"'],
  [{ options: ["nodev", "nodev"] }, 'options "nodev"'],
  [{ readOnly: true, options: ["volatile"] }, 'options "volatile"'],
  [{ readOnly: true, label: "u:r:t" }, 'label "u:r:t"'],
  [{ readOnly: true, mtab: true }, 'mtab "true"'],
  [{ overlay: "sometimes" }, 'overlay "sometimes"'],
  [{ overlay: "never", readOnly: true }, 'overlay "never"'],
  [{ overlay: "never", lower: ["/a", "/b"] }, 'lower "/b"'],
  [{ overlay: "never", options: ["nodev"] }, 'options "nodev"'],
];

for (const [part, field] of APP_PARTS) {
  const name = JSON.stringify(part).slice(0, 50);
  Deno.test(`parsePodRequest() says which app it is and which field: ${name}`, {
    permissions: "none",
  }, () => {
    for (const at of [0, 2]) {
      const good = Array.from({ length: at }, (_, i) => ({ ...WEB, app: `good-${i}` }));
      const error = refused({ pod: "/pod", apps: [...good, { ...WEB, ...part }, DB] });
      assert(error.message.startsWith(`Cannot use apps[${at}].${field}: `), error.message);
      // Everything but the beginning of the message is what it is for a request of one app.
      const own = alone({ pod: "/pod", ...WEB, ...part });
      const reason = (message: string) => message.slice(message.indexOf('": '));
      assertEquals(reason(error.message), reason(own.message));
      assertEquals([error.code, error.path, error.hint], [own.code, own.path, own.hint]);
      assert(error.cause instanceof InvalidValueError);
      assertEquals(error.cause.message, own.message);
    }
  });
}

Deno.test("parsePodRequest() says which app has neither a lower nor a tree", {
  permissions: "none",
}, () => {
  for (const app of [{ app: "db" }, { app: "db", lower: [] }]) {
    const error = refused({ pod: "/pod", apps: [WEB, app] });
    const reason = "cannot render without a tree: neither a lower nor a tree";
    assertEquals(error.message, `Cannot use apps[1]: ${reason}`);
    assertEquals(error.code, "usage");
  }
});

Deno.test("parsePodRequest() says which app has no manifest where the profile needs one", {
  permissions: "none",
}, () => {
  const apps = [{ ...WEB, manifest: "/m" }, DB, { ...WEB, app: "c" }];
  const { message } = refused({ pod: "/pod", profile: "manifest", apps });
  assertStringIncludes(message, "apps[1]");
  assertStringIncludes(message, "it needs a manifest");
});

Deno.test("parsePodRequest() says which app cannot have the label of the pod", {
  permissions: "none",
}, () => {
  for (const app of [{ ...DB, readOnly: true }, { ...DB, overlay: "never" }]) {
    const { message } = refused({ pod: "/pod", label: "u:r:t", apps: [WEB, app] });
    assertStringIncludes(message, "apps[1]");
  }
});

Deno.test("parsePodRequest() refuses an app that could become a copy", {
  permissions: "none",
}, () => {
  const { message, code } = refused({ pod: "/pod", apps: [WEB, { ...DB, overlay: "auto" }] });
  assert(message.startsWith('Cannot use apps[1].overlay "auto": '), message);
  assertEquals(code, "invalid-value");
});

/** What can be wrong with what all apps have in common, and what it is called then. */
const COMMON_PARTS: readonly (readonly [part: Record<string, unknown>, message: string])[] = [
  [{ pod: "" }, 'Cannot use pod ""'],
  [{ pod: "pod" }, 'Cannot use pod "pod"'],
  [{ pod: "/a/../b" }, 'Cannot use pod "/a/../b"'],
  [{ store: "store" }, 'Cannot use store "store"'],
  [{ layout: "other" }, 'Cannot use layout "other"'],
  [{ profile: "other" }, 'Cannot use profile "other"'],
  [{ dirMode: "rwx" }, 'Cannot use dir mode "rwx"'],
  [{ dirMode: 0o777 }, 'Cannot use dir mode "0777"'],
  [{ group: "-1" }, 'Cannot use group "-1"'],
  [{ group: NaN }, 'Cannot use group "NaN"'],
  [{ label: "t" }, 'Cannot use label "t"'],
];

for (const [part, message] of COMMON_PARTS) {
  Deno.test(`parsePodRequest() names no app for what all have in common: ${JSON.stringify(part)}`, {
    permissions: "none",
  }, () => {
    const apps = [{ app: "web", tree: "debian" }, { app: "db", tree: "debian" }];
    const error = refused({ pod: "/pod", apps, ...part });
    assert(error.message.startsWith(`${message}: `), error.message);
    assert(!error.message.includes("apps["), error.message);
    assertEquals(error.code, "invalid-value");
  });
}

Deno.test("parsePodRequest() refuses the same app twice", { permissions: "none" }, () => {
  const image = { app: "", lower: "/images/stage1" };
  const table: readonly [apps: readonly PodApp[], message: string][] = [
    [[WEB, DB, { ...WEB, dest: "/srv" }], 'Cannot use apps[2].app: app "web" is apps[0] already'],
    [[WEB, DB, DB], 'Cannot use apps[2].app: app "db" is apps[1] already'],
    [[image, image], "Cannot use apps[1].app: the pod's own image is apps[0] already"],
    [[WEB, { ...WEB, readOnly: true }], 'Cannot use apps[1].app: app "web" is apps[0] already'],
  ];
  for (const [apps, message] of table) {
    const error = refused({ pod: "/pod", apps });
    assertEquals([error.message, error.code], [message, "invalid-value"]);
  }
});

Deno.test("parsePodRequest() refuses the same rootfs twice, however it is written", {
  permissions: "none",
}, () => {
  const table: readonly [dests: readonly (string | undefined)[], rootfs: string][] = [
    [["/srv", "/srv"], "/srv/rootfs"],
    [["/srv", "//srv/./"], "/srv/rootfs"],
    [[undefined, "/pod/apps/web"], WEB_ROOTFS],
    [["/pod/apps/db", undefined], WEB_ROOTFS.replace("web", "db")],
  ];
  for (const [dests, rootfs] of table) {
    const apps = [WEB, DB].map((app, at) => {
      const dest = dests[at];
      return dest === undefined ? app : { ...app, dest };
    });
    const error = refused({ pod: "/pod", apps });
    assertEquals(
      error.message,
      `Cannot use apps[1].dest: apps[0] has the same rootfs ${JSON.stringify(rootfs)}`,
    );
    assertEquals([error.code, error.path], ["invalid-value", rootfs]);
  }
});

Deno.test("parsePodRequest() takes apps whose names, trees and destinations only look alike", {
  permissions: "none",
}, () => {
  const names = ["web", "Web", "web ", "web.", "...", "é", "e\u0301", "rootfs"];
  const apps = [
    ...names.map((app) => ({ app, lower: "/l" })),
    { app: "a", lower: "/l", dest: "/srv" },
    { app: "b", lower: "/l", dest: "/srv/rootfs" },
    { app: "c", lower: "/l", dest: "/srv2" },
  ];
  assertEquals(parsePodRequest({ pod: "/pod", apps }).length, apps.length);
});

Deno.test("parsePodRequest() refuses a pod without apps", { permissions: "none" }, () => {
  const error = refused({ pod: "/pod", apps: [] });
  assertEquals(error.message, "Cannot render a pod without apps: apps is empty");
  assertEquals(error.code, "invalid-value");
});

Deno.test("parsePodRequest() tells a thousand apps apart", { permissions: "none" }, () => {
  const apps = Array.from({ length: 1000 }, (_, i) => ({ app: `app-${i}`, lower: "/l" }));
  assertEquals(parsePodRequest({ pod: "/pod", apps }).length, 1000);
  const { message } = refused({ pod: "/pod", apps: [...apps, { app: "app-999", lower: "/l" }] });
  assertEquals(message, 'Cannot use apps[1000].app: app "app-999" is apps[999] already');
});
