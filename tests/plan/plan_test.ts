import { assert, assertEquals, assertThrows, fail } from "@std/assert";
import { formatAppLine, parseAppLine, readLineConfig } from "../../lib/overlay/app_line.ts";
import { InvalidValueError, OverlayError } from "../../lib/core/errors.ts";
import type { DirectoryOperation, LikeMode, Operation } from "../../lib/plan/operation.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { Plan } from "../../lib/plan/plan.ts";
import { parseMountOptions } from "../../lib/overlay/mount_config.ts";
import type { RenderRequest } from "../../lib/request/options.ts";

const LOWER = "/images/debian";
const FULL: LikeMode = { like: LOWER, mask: 0o7777 };
const UNSHARED: LikeMode = { like: LOWER, mask: 0o755 };
const DEST = "/pod/apps/web";
const OPTIONS =
  "lowerdir=/images/debian,upperdir=/pod/overlay/debian/upper/web,workdir=/pod/overlay/debian/work/web";

const WEB: RenderRequest = { lower: LOWER, pod: "/pod", app: "web" };

function directory(
  path: string,
  mode: number | LikeMode,
  rest: Partial<DirectoryOperation> = {},
): DirectoryOperation {
  return { kind: "directory", path, mode, ownerLike: null, force: false, guarded: false, ...rest };
}

/** The directories from the pod down to the default destination of `web`. */
function destination(mode: number): DirectoryOperation[] {
  return [directory("/pod/apps", mode), directory(DEST, mode)];
}

function record(options: string, auto = true): Operation {
  const names = { app: "web", tree: "debian", rootfs: `${DEST}/rootfs` };
  return {
    kind: "record",
    path: "/pod/overlay.fstab",
    line: { ...names, source: "overlay", options, auto, inPod: true },
  };
}

const BEGIN: Operation[] = [
  { kind: "require", path: LOWER, type: "directory" },
  { kind: "trust", path: "/pod" },
  directory("/pod", 0o750, { guarded: true }),
  { kind: "lock", path: "/pod/overlay.lock" },
];

const MOUNT: Operation = { kind: "mount", path: `${DEST}/rootfs`, fstab: "/pod/overlay.fstab" };

function operations(request: RenderRequest, options?: { mount: boolean }): readonly Operation[] {
  return planRender(request, options).operations;
}

function paths(operations: readonly Operation[], kind: Operation["kind"]): string[] {
  return operations.filter((operation) => operation.kind === kind).map(({ path }) => path);
}

Deno.test("planRender() of rootfs-mode gives upper and rootfs the lower's mode and owner", {
  permissions: "none",
}, () => {
  const root = { ownerLike: LOWER };
  assertEquals(operations({ ...WEB, group: 1000 }), [
    ...BEGIN,
    ...destination(0o750),
    directory(`${DEST}/rootfs`, FULL, root),
    directory("/pod/overlay", 0o750, { force: true, guarded: true }),
    directory("/pod/overlay/debian", 0o750, { guarded: true }),
    { kind: "group", path: "/pod/overlay/debian", group: 1000 },
    directory("/pod/overlay/debian/upper", UNSHARED, { guarded: true }),
    directory("/pod/overlay/debian/upper/web", FULL, root),
    directory("/pod/overlay/debian/work", 0o750, { guarded: true }),
    directory("/pod/overlay/debian/work/web", 0o750),
    record(OPTIONS),
    MOUNT,
  ]);
});

Deno.test(
  "planRender() of fixed-mode gives everything the dir mode",
  { permissions: "none" },
  () => {
    for (const [dirMode, mode] of [[undefined, 0o750], [0o700, 0o700]] as const) {
      const request: RenderRequest = { ...WEB, profile: "fixed-mode", group: "rkt" };
      assertEquals(operations(dirMode === undefined ? request : { ...request, dirMode }), [
        ...BEGIN,
        ...destination(mode),
        directory(`${DEST}/rootfs`, mode),
        directory("/pod/overlay", mode, { force: true, guarded: true }),
        directory("/pod/overlay/debian", mode, { guarded: true }),
        { kind: "group", path: "/pod/overlay/debian", group: "rkt" },
        directory("/pod/overlay/debian/upper", mode, { guarded: true }),
        directory("/pod/overlay/debian/upper/web", mode),
        directory("/pod/overlay/debian/work", mode, { guarded: true }),
        directory("/pod/overlay/debian/work/web", mode),
        record(OPTIONS),
        MOUNT,
      ]);
    }
  },
);

Deno.test("planRender() of manifest leaves overlay/ and the group alone, and copies the manifest", {
  permissions: "none",
}, () => {
  const request: RenderRequest = { ...WEB, profile: "manifest", manifest: "/m.json", group: 1000 };
  const [first, ...rest] = BEGIN;
  assert(first !== undefined);
  assertEquals(operations(request), [
    first,
    { kind: "require", path: "/m.json", type: "file" },
    ...rest,
    ...destination(0o755),
    directory(`${DEST}/rootfs`, 0o755),
    directory("/pod/overlay", 0o755, { guarded: true }),
    directory("/pod/overlay/debian", 0o755, { guarded: true }),
    directory("/pod/overlay/debian/upper", 0o755, { guarded: true }),
    directory("/pod/overlay/debian/upper/web", 0o755),
    directory("/pod/overlay/debian/work", 0o755, { guarded: true }),
    directory("/pod/overlay/debian/work/web", 0o755),
    { kind: "manifest", path: `${DEST}/manifest`, from: "/m.json", mode: 0o640 },
    record(OPTIONS),
    MOUNT,
  ]);
});

Deno.test("planRender() says what is mounted, and where", { permissions: "none" }, () => {
  assertEquals(planRender(WEB).mounts[0], {
    lower: [LOWER],
    upper: "/pod/overlay/debian/upper/web",
    work: "/pod/overlay/debian/work/web",
    label: null,
    options: [],
    pod: "/pod",
    app: "web",
    tree: "debian",
    dest: DEST,
    rootfs: `${DEST}/rootfs`,
    optionString: OPTIONS,
  });
});

Deno.test("planRender() of the pod's own image makes upper and work themselves", {
  permissions: "none",
}, () => {
  assertEquals(paths(operations({ lower: LOWER, pod: "/pod" }), "directory"), [
    "/pod",
    "/pod/rootfs",
    "/pod/overlay",
    "/pod/overlay/debian",
    "/pod/overlay/debian/upper",
    "/pod/overlay/debian/work",
  ]);
});

Deno.test("planRender() without the mount records noauto, and is otherwise the same", {
  permissions: "none",
}, () => {
  const render = operations(WEB);
  assertEquals(operations(WEB, { mount: false }), [...render.slice(0, -2), record(OPTIONS, false)]);
  assertEquals(operations(WEB, { mount: true }), render);
});

Deno.test("planRender() makes no directory above a destination outside the pod", {
  permissions: "none",
}, () => {
  const made = paths(operations({ ...WEB, dest: "/srv/web" }), "directory");
  assertEquals(made.slice(0, 3), ["/pod", "/srv/web", "/srv/web/rootfs"]);
  const inPod = paths(operations({ ...WEB, dest: "/pod" }), "directory");
  assertEquals(inPod.slice(0, 3), ["/pod", "/pod/rootfs", "/pod/overlay"]);
});

Deno.test(
  "planRender() labels upper and work after they are made, and adds the label to the options",
  {
    permissions: "none",
  },
  () => {
    const context = "system_u:object_r:container_file_t:s0:c1,c2";
    const all = operations({ ...WEB, label: context });
    assertEquals(all.filter(({ kind }) => kind === "label"), [
      { kind: "label", path: "/pod/overlay/debian/upper/web", context },
      { kind: "label", path: "/pod/overlay/debian/work/web", context },
    ]);
    const kinds = all.map(({ kind }) => kind);
    assert(kinds.indexOf("label") > kinds.lastIndexOf("directory"));
    assertEquals(all.at(-2), record(`${OPTIONS},context="${context}"`));
  },
);

Deno.test("planRender() takes mode and owner from the first of several lowers, and requires all", {
  permissions: "none",
}, () => {
  const plan = planRender({
    ...WEB,
    lower: ["/layers/top", "/layers/base"],
    options: ["volatile"],
  });
  assertEquals(paths(plan.operations, "require"), ["/layers/top", "/layers/base"]);
  assertEquals(plan.mounts[0].tree, "top");
  const upper = plan.operations.find(({ path }) => path === plan.mounts[0].upper);
  assert(upper?.kind === "directory");
  assertEquals([upper.mode, upper.ownerLike], [
    { like: "/layers/top", mask: 0o7777 },
    "/layers/top",
  ]);
  assert(plan.mounts[0].optionString.startsWith("lowerdir=/layers/top:/layers/base,upperdir="));
  assert(plan.mounts[0].optionString.endsWith(",volatile"));
});

Deno.test(
  "planRender() of a read-only view makes no upper and no work",
  { permissions: "none" },
  () => {
    const view = planRender({
      ...WEB,
      lower: ["/a", "/b"],
      tree: "t",
      label: "u:r:t",
      readOnly: true,
    });
    assertEquals(view.operations.filter(({ path }) => path.startsWith("/pod/overlay/")), []);
    assertEquals(paths(view.operations, "label"), []);
    assertEquals([view.mounts[0].upper, view.mounts[0].work], [null, null]);
    assertEquals(view.mounts[0].optionString, 'ro,lowerdir=/a:/b,context="u:r:t"');

    const bind = planRender({ ...WEB, readOnly: true });
    const [last] = bind.operations.slice(-2);
    assert(last?.kind === "record");
    assertEquals([last.line.source, last.line.options], [LOWER, "bind,ro"]);
  },
);

Deno.test("planRender() asks for real paths where an option string could not follow a symlink", {
  permissions: "none",
}, () => {
  assertEquals(paths(operations(WEB), "real"), []);
  const all = operations({ ...WEB, lower: ["/a", '/b"'] });
  assertEquals(paths(all, "real"), ["/pod", "/a", '/b"']);
  const kinds = all.map(({ kind }) => kind);
  assert(kinds.indexOf("real") < kinds.indexOf("lock"));
});

Deno.test("planRender() shortens option strings that the kernel would cut, or refuses them", {
  permissions: "none",
}, () => {
  const deep = `/${"d".repeat(200)}`;
  const lower = Array.from({ length: 20 }, (_, i) => `${deep}/${i}`);
  const { operations, mounts: [mount] } = planRender({ lower, pod: `${deep}/pod`, tree: "t" });
  assertEquals(parseMountOptions(mount.optionString).lower.slice(0, 2), ["../0", "../1"]);
  assertEquals(paths(operations, "real"), [`${deep}/pod`]);
  const apart = lower.map((path, i) => `${path}/${i}`);
  const tooLong = () => planRender({ lower: apart, pod: "/pod" });
  const error = assertThrows(tooLong, OverlayError, "4095 bytes");
  assertEquals(error.code, "too-long");
});

Deno.test("planRender() names lowers that lie in one directory through a link in the pod", {
  permissions: "none",
}, () => {
  const deep = `/${"d".repeat(200)}`;
  const lower = Array.from({ length: 128 }, (_, i) => `${deep}/layer${i}`);
  const { operations, mounts: [mount] } = planRender({ lower, pod: "/pod", tree: "t", app: "web" });
  const link = operations.find(({ kind }) => kind === "link");
  assert(link?.kind === "link" && link.to === deep);
  const kernel = parseMountOptions(mount.optionString);
  assertEquals(kernel.lower.map((path) => `/pod/${path}`.replace(link.path, deep)), lower);
  assertEquals(kernel.upper, "overlay/t/upper/web");
  assertEquals(paths(operations, "real"), []);

  const [record] = operations.flatMap((one) => one.kind === "record" ? [one] : []);
  const line = parseAppLine(formatAppLine(record?.line ?? fail()));
  assertEquals(line, record?.line);
  assertEquals(readLineConfig(line ?? fail(), "/pod").lower, lower);
  const kinds = operations.map(({ kind }) => kind);
  assert(kinds.indexOf("lock") < kinds.indexOf("link"));
  assert(kinds.indexOf("link") < kinds.indexOf("record"));
});

Deno.test("planRender() names lowers without a lock, a record or a mount: nothing writes to them", {
  permissions: "none",
}, () => {
  const all = operations({ ...WEB, manifest: "/m", label: "u:r:t", group: 5 });
  const writes = all.filter(({ kind }) => kind !== "require" && kind !== "real");
  assertEquals(writes.filter(({ path }) => !path.startsWith("/pod")), []);
});

function assertFrozen(value: unknown, path: string): void {
  if (typeof value !== "object" || value === null) return;
  assert(Object.isFrozen(value), `${path} is not frozen`);
  for (const [key, part] of Object.entries(value)) assertFrozen(part, `${path}.${key}`);
}

const REQUESTS: readonly RenderRequest[] = [
  WEB,
  { ...WEB, profile: "fixed-mode", group: "rkt", label: "u:r:t:s0:c1,c2" },
  { ...WEB, profile: "manifest", manifest: "/m", dirMode: "0700" },
  { ...WEB, lower: ["/a", '/b",ro\n'], options: ["volatile,nodev"] },
  { ...WEB, readOnly: true },
];

for (const [i, request] of REQUESTS.entries()) {
  Deno.test(`planRender() is frozen, safe as JSON and the same each time for request ${i}`, {
    permissions: "none",
  }, () => {
    const before = JSON.stringify(request);
    const plan = planRender(request);
    assertFrozen(plan, "plan");
    assertEquals(JSON.parse(JSON.stringify(plan)) as Plan, plan);
    assertEquals(JSON.stringify(planRender(request)), JSON.stringify(plan));
    assertEquals(JSON.stringify(request), before);
  });
}

Deno.test(
  "planRender() does not freeze what belongs to its caller",
  { permissions: "none" },
  () => {
    const request = { ...WEB, lower: ["/a"], options: ["volatile"] };
    planRender(request);
    request.lower.push("/b");
    request.options.push("nodev");
    assertEquals(planRender(request).mounts[0].lower, ["/a", "/b"]);
  },
);

Deno.test("planRender() refuses what is not usable before there is a plan", {
  permissions: "none",
}, () => {
  assertThrows(() => planRender({ ...WEB, app: ".." }), InvalidValueError, 'Cannot use app ".."');
});
