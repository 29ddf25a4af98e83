import { assert, assertEquals } from "@std/assert";
import { describeOperation } from "../../lib/plan/describe.ts";
import type { Operation } from "../../lib/plan/operation.ts";

const DIRECTORY = { kind: "directory", ownerLike: null, force: false, guarded: false } as const;

const LINE = {
  app: "web",
  tree: "t",
  rootfs: "/r",
  source: "overlay",
  options: "lowerdir=/l,upperdir=/u,workdir=/w",
  auto: true,
};

const DESCRIBED: readonly [operation: Operation, text: string][] = [
  [{ kind: "require", path: "/l", type: "directory" }, "require   /l  must be a directory"],
  [{ kind: "require", path: "/m", type: "file" }, "require   /m  must be a file"],
  [{ kind: "real", path: "/l" }, "real      /l  must not lead through a symlink"],
  [{ kind: "lock", path: "/p/overlay.lock" }, "lock      /p/overlay.lock"],
  [{ ...DIRECTORY, path: "/p", mode: 0o750 }, "directory /p  0750"],
  [
    { ...DIRECTORY, path: "/p", mode: 0o750, force: true },
    "directory /p  0750, even if it is there",
  ],
  [{ ...DIRECTORY, path: "/p", mode: { like: "/l", mask: 0o7777 } }, "directory /p  mode of /l"],
  [
    { ...DIRECTORY, path: "/p", mode: { like: "/l", mask: 0o755 } },
    "directory /p  mode of /l within 0755",
  ],
  [{ kind: "group", path: "/p", group: 5 }, "group     /p  group 5"],
  [{ kind: "group", path: "/p", group: "rkt" }, "group     /p  group rkt"],
  [{ kind: "label", path: "/p", context: "u:r:t" }, "label     /p  label u:r:t"],
  [{ kind: "manifest", path: "/d", from: "/m", mode: 0o640 }, "manifest  /d  0640, copy of /m"],
  [
    { kind: "record", path: "/f", line: LINE },
    "record    /f  overlay /r overlay lowerdir=/l,upperdir=/u,workdir=/w," +
    "X-overlay-render.app=web,X-overlay-render.tree=t 0 0",
  ],
  [{ kind: "mount", path: "/r", fstab: "/f" }, "mount     /r  as in /f"],
];

Deno.test("describeOperation() says each kind in one line", { permissions: "none" }, () => {
  for (const [operation, text] of DESCRIBED) assertEquals(describeOperation(operation), text);
});

Deno.test("describeOperation() shows hostile paths on one line without control characters", {
  permissions: "none",
}, () => {
  const hostile = "/a\n\u001b[31m\u202e ";
  const operations: Operation[] = [
    { kind: "lock", path: hostile },
    { ...DIRECTORY, path: "/p", mode: { like: hostile, mask: 0o7777 } },
    { kind: "manifest", path: "/d", from: hostile, mode: 0o640 },
    { kind: "mount", path: "/r", fstab: hostile },
    { kind: "record", path: "/f", line: { ...LINE, rootfs: hostile } },
  ];
  for (const operation of operations) {
    const text = describeOperation(operation);
    assert(!/[\p{Cc}\u202e]/u.test(text), JSON.stringify(text));
    assert(text.includes("\\u001b[31m\\u202e"), text);
  }
  assertEquals(describeOperation({ kind: "lock", path: "/a " }), 'lock      "/a "');
});
