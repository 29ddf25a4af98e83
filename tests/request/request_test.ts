import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { appLayout, DEFAULT_STORE, podLayout } from "../../lib/request/layout.ts";
import { PROFILES } from "../../lib/request/profile.ts";
import { parseRequest } from "../../lib/request/request.ts";
import type { ParsedRequest } from "../../lib/request/request.ts";
import type { RenderRequest } from "../../lib/request/options.ts";

const LEAST: RenderRequest = { pod: "/pod", lower: "/images/debian" };

Deno.test("parseRequest() fills in what is not given", { permissions: "none" }, () => {
  const expected = {
    pod: podLayout("/pod"),
    layout: appLayout("/pod", { app: "", tree: "debian" }),
    app: "",
    tree: "debian",
    lower: ["/images/debian"],
    real: ["/images/debian"],
    rootLike: "/images/debian",
    stored: null,
    profile: PROFILES["rootfs-mode"],
    dirMode: 0o750,
    group: null,
    label: null,
    manifest: null,
    options: [],
    readOnly: false,
    overlay: "always",
    mtab: false,
    ephemeral: false,
    live: false,
  };
  assertEquals<unknown>(parseRequest(LEAST), expected);
});

Deno.test("parseRequest() takes every part that is given", { permissions: "none" }, () => {
  const expected = {
    pod: podLayout("/pod"),
    layout: appLayout("/pod", { app: "web", tree: "base", dest: "/srv/web" }),
    app: "web",
    tree: "base",
    lower: ["/layers/a", "/layers/b"],
    real: ["/layers/a", "/layers/b"],
    rootLike: "/layers/a",
    stored: null,
    profile: PROFILES.manifest,
    dirMode: 0o700,
    group: 1000,
    label: "u:r:t:s0:c1,c2",
    manifest: "/manifest.json",
    options: ["nodev", "nosuid"],
    readOnly: true,
    overlay: "auto",
    mtab: false,
    ephemeral: false,
    live: false,
  };
  const request: RenderRequest = {
    pod: "/pod/",
    lower: ["//layers/a/", "/layers/b"],
    tree: "base",
    store: "/not/used",
    app: "web",
    dest: "/srv/web/",
    profile: "manifest",
    dirMode: "0700",
    group: "1000",
    label: "u:r:t:s0:c1,c2",
    manifest: "/manifest.json",
    options: ["nodev,nosuid"],
    readOnly: true,
    overlay: "auto",
  };
  assertEquals<unknown>(parseRequest(request), expected);
});

Deno.test("parseRequest() finds the lower of a tree in the store", { permissions: "none" }, () => {
  const table: readonly [request: RenderRequest, lower: string][] = [
    [{ pod: "/pod", tree: "debian" }, `${DEFAULT_STORE}/tree/debian/rootfs`],
    [{ pod: "/pod", tree: "debian", store: "/store" }, "/store/tree/debian/rootfs"],
    [{ pod: "/pod", tree: "debian", lower: [] }, `${DEFAULT_STORE}/tree/debian/rootfs`],
  ];
  for (const [request, lower] of table) {
    const parsed = parseRequest(request);
    assertEquals<string>(parsed.lower[0], lower);
    assertEquals(parsed.tree, "debian");
  }
  assertEquals(DEFAULT_STORE, "/var/lib/overlay-render");
});

Deno.test("parseRequest() takes the dir mode of the profile, unless there is one", {
  permissions: "none",
}, () => {
  const of = (request: Partial<RenderRequest>): ParsedRequest =>
    parseRequest({ ...LEAST, ...request });
  assertEquals(of({ profile: "fixed-mode" }).dirMode, 0o750);
  assertEquals(of({ profile: "manifest", manifest: "/m" }).dirMode, 0o755);
  assertEquals(of({ profile: "manifest", manifest: "/m", dirMode: 0o700 }).dirMode, 0o700);
});

Deno.test("parseRequest() refuses every part that is not usable", { permissions: "none" }, () => {
  const table: readonly [request: Record<string, unknown>, message: string][] = [
    [{ pod: "" }, 'Cannot use pod ""'],
    [{ pod: "pod" }, 'Cannot use pod "pod"'],
    [{ pod: "/a/../b" }, 'Cannot use pod "/a/../b"'],
    [{ lower: "images" }, 'Cannot use lower "images"'],
    [{ lower: "" }, 'Cannot use lower ""'],
    [{ lower: ["/a", "b"] }, 'Cannot use lower "b"'],
    [{ lower: ["/a\0"] }, 'Cannot use lower "/a\\u0000"'],
    [{ tree: "" }, 'Cannot use tree ""'],
    [{ tree: ".." }, 'Cannot use tree ".."'],
    [{ app: "a/b" }, 'Cannot use app "a/b"'],
    [{ app: "a\nb" }, 'Cannot use app "a\\nb"'],
    [{ dest: "web" }, 'Cannot use destination "web"'],
    [{ layout: "other" }, 'Cannot use layout "other"'],
    [{ profile: "other" }, 'Cannot use profile "other"'],
    [{ dirMode: "rwx" }, 'Cannot use dir mode "rwx"'],
    [{ group: "-1" }, 'Cannot use group "-1"'],
    [{ label: "t" }, 'Cannot use label "t"'],
    [{ manifest: "m" }, 'Cannot use manifest "m"'],
    [{ options: ["remount"] }, 'Cannot use option "remount"'],
  ];
  for (const [part, message] of table) {
    const error = assertThrows(
      () => parseRequest({ ...LEAST, ...part } as RenderRequest),
      InvalidValueError,
    );
    assert(error.message.startsWith(message), error.message);
    assertEquals([error.code, error.exitStatus], ["invalid-value", 2]);
  }
});

Deno.test("parseRequest() without a lower and without a tree says which flags to give", {
  permissions: "none",
}, () => {
  for (const lower of [undefined, []]) {
    const request = lower === undefined ? { pod: "/pod" } : { pod: "/pod", lower };
    const error = assertThrows(
      () => parseRequest(request),
      InvalidValueError,
      "neither a lower nor a tree",
    );
    assertEquals([error.code, error.exitStatus], ["usage", 2]);
    assertStringIncludes(error.hint ?? "", "--lower DIR");
    assertStringIncludes(error.hint ?? "", "--tree ID");
  }
});

Deno.test("parseRequest() refuses a store that is not usable when the tree is taken from it", {
  permissions: "none",
}, () => {
  const request = { pod: "/pod", tree: "t", store: "store" };
  assertThrows(() => parseRequest(request), InvalidValueError, 'Cannot use store "store"');
});

Deno.test(
  "parseRequest() refuses a destination whose rootfs would hide the pod, or lie in overlay/",
  {
    permissions: "none",
  },
  () => {
    const table: readonly [pod: string, dest: string, reason: string][] = [
      ["/pods/rootfs", "/pods", 'its rootfs would hide the pod "/pods/rootfs"'],
      ["/pods/rootfs/one", "/pods", "would hide the pod"],
      ["/rootfs/one", "/", "would hide the pod"],
      ["/pod", "/pod/overlay", 'its own state at "/pod/overlay"'],
      ["/pod", "/pod/overlay/debian/upper", "its own state at"],
    ];
    for (const [pod, dest, reason] of table) {
      const error = assertThrows(
        () => parseRequest({ ...LEAST, pod, dest }),
        InvalidValueError,
        reason,
      );
      assertEquals(error.path, dest);
    }
  },
);

Deno.test("parseRequest() takes destinations in the pod, above it and beside it", {
  permissions: "none",
}, () => {
  for (const dest of ["/pod", "/", "/pod/x", "/pod/overlay.d", "/podx", "/srv"]) {
    assertEquals(parseRequest({ ...LEAST, dest }).layout.dest, dest);
  }
});

Deno.test("parseRequest() refuses a destination in the place of one of the pod's own files", {
  permissions: "none",
}, () => {
  const files = [
    "overlay.fstab",
    "overlay.lock",
    "overlay.fstab/x",
    "overlay.keep",
    "overlay.mount",
  ];
  for (const file of files) {
    assertThrows(
      () => parseRequest({ ...LEAST, dest: `/pod/${file}` }),
      InvalidValueError,
      "Cannot use destination",
    );
  }
});

Deno.test("parseRequest() refuses options that mean nothing to a read-only view", {
  permissions: "none",
}, () => {
  const view = { ...LEAST, readOnly: true };
  const table: readonly [request: RenderRequest, message: string][] = [
    [
      { ...view, options: ["volatile"] },
      'Cannot use option "volatile": a read-only view writes nothing',
    ],
    [{ ...view, lower: ["/a", "/b"], options: ["volatile"] }, 'Cannot use option "volatile"'],
    [
      { ...view, options: ["nodev", "xino=on"] },
      'Cannot use option "xino=on": a read-only view of one',
    ],
    [
      { ...view, label: "u:r:t" },
      'Cannot use label "u:r:t": a read-only view of one lower is a bind',
    ],
  ];
  for (const [request, message] of table) {
    const error = assertThrows(() => parseRequest(request), InvalidValueError);
    assert(error.message.startsWith(message), error.message);
    assertStringIncludes(error.hint ?? "", "--read-only");
  }
  const lower = ["/a", "/b"];
  assertEquals(parseRequest({ ...view, options: ["nodev,nosuid,noexec"] }).options.length, 3);
  assertEquals(
    parseRequest({ ...view, lower, label: "u:r:t", options: ["xino=on"] }).label,
    "u:r:t",
  );
});

Deno.test("parseRequest() refuses the profile manifest without a manifest", {
  permissions: "none",
}, () => {
  const request: RenderRequest = { ...LEAST, profile: "manifest" };
  const error = assertThrows(() => parseRequest(request), InvalidValueError, "it needs a manifest");
  assertStringIncludes(error.hint ?? "", "--manifest FILE");
});

Deno.test("parseRequest() names a path in its error only where the value is one", {
  permissions: "none",
}, () => {
  const table: readonly [request: RenderRequest, path: string | null][] = [
    [{ ...LEAST, readOnly: true, options: ["volatile"] }, null],
    [{ ...LEAST, readOnly: true, label: "u:r:t" }, null],
    [{ ...LEAST, profile: "manifest" }, null],
    [{ ...LEAST, app: ".." }, null],
    [{ ...LEAST, dest: "/pod/overlay" }, "/pod/overlay"],
    [{ ...LEAST, lower: "images" }, "images"],
    [{ ...LEAST, pod: "/a/../b" }, "/a/../b"],
  ];
  for (const [request, path] of table) {
    assertEquals(assertThrows(() => parseRequest(request), InvalidValueError).path, path);
  }
});
