import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InvalidValueError, RefusedError } from "../../lib/core/errors.ts";
import type { Operation } from "../../lib/plan/operation.ts";
import { isWithin, parent } from "../../lib/core/path.ts";
import { requiredPermissions } from "../../lib/plan/required_permissions.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { RenderPlan } from "../../lib/plan/plan.ts";
import { planPod } from "../../lib/plan/pod_plan.ts";
import type { PodApp, PodRequest, RenderRequest } from "../../lib/request/options.ts";
import type { ProfileName } from "../../lib/request/profile.ts";
import { nastyName, random } from "../_random.ts";
import type { Random } from "../_random.ts";

const POD = "/pod";
const STAGE1 = "/pod/stage1/rootfs";
const WEB_ROOTFS = `${STAGE1}/opt/stage2/web/rootfs`;
const IMAGE: PodApp = { app: "", lower: "/images/stage1" };
const WEB: PodApp = { app: "web", lower: "/images/debian" };
const DB: PodApp = { app: "db", lower: "/images/debian" };
/** Lies in the rootfs of `web`, which lies in the pod's own image. */
const DEEP: PodApp = { app: "deep", lower: "/images/debian", dest: `${WEB_ROOTFS}/srv` };

function planOf(...apps: PodApp[]): RenderPlan {
  return planPod({ pod: POD, layout: "rkt", apps });
}

function paths(operations: readonly Operation[], kind: Operation["kind"]): string[] {
  return operations.filter((operation) => operation.kind === kind).map(({ path }) => path);
}

/** What is done to a path; lines are all written to one file, and are told apart by their app. */
function nameOf(operation: Operation): string {
  if (operation.kind === "record") return `record ${operation.line.app}`;
  const type = operation.kind === "require" ? ` ${operation.type}` : "";
  return `${operation.kind}${type} ${operation.path}`;
}

/** Requests of one app, in pairs of what all apps of a pod have in common and what is its own. */
const SINGLE: readonly (readonly [common: Omit<PodRequest, "apps">, app: PodApp])[] = [
  [{ pod: POD }, WEB],
  [{ pod: POD }, IMAGE],
  [{ pod: POD, profile: "fixed-mode", group: "rkt", label: "u:r:t:s0:c1,c2" }, WEB],
  [{ pod: POD, profile: "manifest", dirMode: "0700" }, { ...WEB, manifest: "/m" }],
  [{ pod: POD, group: 1000 }, { ...WEB, manifest: "/m", label: "u:r:t" }],
  [{ pod: POD, store: "/store" }, { app: "web", tree: "debian" }],
  [{ pod: POD }, { ...WEB, lower: ["/a", '/b",ro\n'], options: ["volatile,nodev"] }],
  [{ pod: POD }, { ...WEB, readOnly: true }],
  [{ pod: POD }, { ...WEB, lower: ["/a", "/b"], label: "u:r:t", readOnly: true }],
  [{ pod: POD }, { ...WEB, dest: "/srv/web" }],
  [{ pod: POD }, { ...WEB, dest: POD }],
  [{ pod: "/a,b/pod" }, WEB],
  [{ pod: POD }, { ...WEB, mtab: true }],
  [{ pod: POD, profile: "fixed-mode" }, { ...WEB, overlay: "never", mtab: true }],
];

for (const [at, [common, app]] of SINGLE.entries()) {
  for (const mount of [true, false]) {
    const what = mount ? "a render" : "a preparation";
    Deno.test(`planPod() of one app plans what planRender() plans: ${what} of request ${at}`, {
      permissions: "none",
    }, () => {
      const plan = planPod({ ...common, apps: [app] }, { mount });
      const single = planRender({ ...common, ...app }, { mount });
      assertEquals(plan, single);
      assertEquals(requiredPermissions(plan), requiredPermissions(single));
    });
  }
}

Deno.test("planPod() makes what apps share once, in the order of one app after the other", {
  permissions: "none",
}, () => {
  const plan = planPod({
    pod: POD,
    group: 1000,
    apps: [{ ...WEB, manifest: "/m" }, { ...DB, manifest: "/m" }],
  });
  const dests = "/pod/apps";
  assertEquals(plan.operations.map(nameOf), [
    "require directory /images/debian",
    "require file /m",
    "trust /pod",
    "directory /pod",
    "lock /pod/overlay.lock",
    `directory ${dests}`,
    `directory ${dests}/web`,
    `directory ${dests}/web/rootfs`,
    `directory ${dests}/db`,
    `directory ${dests}/db/rootfs`,
    "directory /pod/overlay",
    "directory /pod/overlay/debian",
    "group /pod/overlay/debian",
    "directory /pod/overlay/debian/upper",
    "directory /pod/overlay/debian/upper/web",
    "directory /pod/overlay/debian/work",
    "directory /pod/overlay/debian/work/web",
    "directory /pod/overlay/debian/upper/db",
    "directory /pod/overlay/debian/work/db",
    `manifest ${dests}/web/manifest`,
    `manifest ${dests}/db/manifest`,
    "record web",
    "record db",
    `mount ${dests}/web/rootfs`,
    `mount ${dests}/db/rootfs`,
  ]);
});

Deno.test("planPod() requires a path twice that is both a lower and a manifest", {
  permissions: "none",
}, () => {
  const { operations } = planOf({ ...WEB, manifest: "/x" }, { ...DB, lower: "/x", tree: "x" });
  const requires = operations.filter(({ kind }) => kind === "require").map(nameOf);
  assertEquals(requires, [
    "require directory /images/debian",
    "require file /x",
    "require directory /x",
  ]);
});

Deno.test("planPod() asks once for the real paths that apps share", {
  permissions: "none",
}, () => {
  const lower = '/in"ches';
  const { operations } = planOf({ ...WEB, lower }, { ...DB, lower }, { app: "c", lower: "/l" });
  assertEquals(paths(operations, "real"), [POD, lower]);
});

Deno.test("planPod() writes all lines before the first mount", { permissions: "none" }, () => {
  for (const apps of [[WEB, DB], [IMAGE, WEB, DB], [DEEP, WEB, IMAGE]]) {
    const kinds = planOf(...apps).operations.map(({ kind }) => kind);
    assert(kinds.lastIndexOf("record") < kinds.indexOf("mount"));
    // They are written at once, and so must follow one another.
    assertEquals(kinds.lastIndexOf("record") - kinds.indexOf("record"), apps.length - 1);
  }
});

Deno.test("planPod() mounts in the order of the lines and of its mounts", {
  permissions: "none",
}, () => {
  for (const apps of permutations([IMAGE, WEB, DB, DEEP])) {
    const { operations, mounts } = planOf(...apps);
    const lines = operations.flatMap((operation) => {
      return operation.kind === "record" ? [operation.line.rootfs] : [];
    });
    assertEquals(lines, mounts.map(({ rootfs }) => rootfs));
    assertEquals(paths(operations, "mount"), lines);
  }
});

function permutations<T>(values: readonly T[]): T[][] {
  if (values.length < 2) return [[...values]];
  return values.flatMap((value, at) => {
    return permutations(values.toSpliced(at, 1)).map((rest) => [value, ...rest]);
  });
}

/** Tells whether everything that is done in a rootfs comes after its mount. */
function assertMountedFirst({ operations, mounts }: RenderPlan): void {
  for (const { rootfs } of mounts) {
    const mounted = operations.findIndex(({ kind, path }) => kind === "mount" && path === rootfs);
    const inside = operations.findIndex(({ kind, path }) => {
      return kind !== "require" && kind !== "trust" && path !== rootfs && isWithin(path, rootfs);
    });
    assert(inside < 0 || inside > mounted, `${operations[inside]?.path} before ${rootfs}`);
  }
}

Deno.test("planPod() mounts the pod's own image before it makes anything in it, in any order", {
  permissions: "none",
}, () => {
  for (const apps of permutations([IMAGE, WEB, DB, { ...DB, app: "out", dest: "/srv" }])) {
    const plan = planOf(...apps);
    assertMountedFirst(plan);
    const order = plan.mounts.map(({ app }) => app);
    // What lies in no other rootfs need not wait.
    const first = apps.map(({ app }) => app).filter((app) => app === "" || app === "out");
    const then = apps.map(({ app }) => app).filter((app) => app === "web" || app === "db");
    assertEquals(order, [...first, ...then]);
  }
});

Deno.test("planPod() goes as deep as destinations lie in one another, in any order", {
  permissions: "none",
}, () => {
  const deeper = { ...DB, app: "deeper", dest: `${DEEP.dest}/rootfs/a/b` };
  for (const apps of permutations([IMAGE, WEB, DEEP, deeper])) {
    const plan = planOf(...apps);
    assertMountedFirst(plan);
    assertEquals(plan.mounts.map(({ app }) => app), ["", "web", "deep", "deeper"]);
  }
});

Deno.test("planPod() mounts apps of one level together", { permissions: "none" }, () => {
  const { operations } = planOf(
    DEEP,
    { ...DEEP, app: "d2", dest: `${DEEP.dest}2` },
    DB,
    IMAGE,
    WEB,
  );
  const kinds = operations.map(({ kind }) => kind).filter((kind, at, all) => kind !== all[at - 1]);
  assertEquals(kinds.filter((kind) => kind === "mount").length, 3);
  assertEquals(paths(operations, "mount").length, 5);
});

Deno.test("planPod() knows a destination outside the pod that lies in another app's", {
  permissions: "none",
}, () => {
  const outer = { ...WEB, dest: "/srv/web" };
  const inner = { ...DB, dest: "/srv/web/rootfs/var/db" };
  for (const apps of [[outer, inner], [inner, outer]]) {
    const plan = planOf(...apps);
    assertMountedFirst(plan);
    assertEquals(plan.mounts.map(({ app }) => app), ["web", "db"]);
  }
  // A name that begins alike is another directory.
  const beside = planOf({ ...DB, dest: "/srv/web/rootfs2" }, outer);
  assertEquals(beside.mounts.map(({ app }) => app), ["db", "web"]);
});

Deno.test("planPod() leaves upper and work of an app in the pod, before any mount", {
  permissions: "none",
}, () => {
  const { operations } = planOf(DEEP, WEB, IMAGE);
  const first = operations.findIndex(({ kind }) => kind === "mount");
  for (const [at, { path }] of operations.entries()) {
    if (isWithin(path, "/pod/overlay")) assert(at < first, path);
  }
});

Deno.test("planPod() makes the rootfs of an app as that app's, not as a step on the way", {
  permissions: "none",
}, () => {
  for (const apps of permutations([IMAGE, WEB, DEEP])) {
    const { operations } = planOf(...apps);
    for (const [path, like] of [[STAGE1, IMAGE.lower], [WEB_ROOTFS, WEB.lower]]) {
      const made = operations.find((operation) => nameOf(operation) === `directory ${path}`);
      assert(made?.kind === "directory");
      assertEquals([made.mode, made.ownerLike], [{ like, mask: 0o7777 }, like]);
    }
  }
});

Deno.test("planPod() without the mount records noauto for all", { permissions: "none" }, () => {
  const request: PodRequest = { pod: POD, apps: [WEB, DB] };
  const { operations } = planPod(request, { mount: false });
  const lines = operations.flatMap((operation) => {
    return operation.kind === "record" ? [operation.line] : [];
  });
  assertEquals(lines.map(({ app, auto }) => [app, auto]), [["web", false], ["db", false]]);
  assertEquals(paths(operations, "mount"), []);
  const rendered = planPod(request).operations.map(nameOf);
  assertEquals(operations.map(nameOf), rendered.filter((name) => !name.startsWith("mount ")));
});

/** Apps of one call whose uppers would be one, or lie one in the other. */
const SHARING: readonly (readonly PodApp[])[] = [
  [{ app: "", lower: "/images/debian" }, WEB],
  [WEB, { app: "", lower: "/images/debian" }],
  [DB, WEB, { app: "", lower: "/other/debian" }],
  [{ app: "", lower: "/a", tree: "t" }, { app: "upper", lower: "/b", tree: "t" }],
  [{ app: "", lower: "/a", tree: "t" }, { app: "b", lower: "/b", tree: "t", dest: "/srv" }],
];

for (const [at, apps] of SHARING.entries()) {
  Deno.test(`planPod() refuses apps that would share an upper: case ${at}`, {
    permissions: "none",
  }, () => {
    for (const mount of [true, false]) {
      const error = assertThrows(() => planPod({ pod: POD, apps }, { mount }), RefusedError);
      assertEquals([error.code, error.exitStatus], ["in-use", 3]);
      assertStringIncludes(error.message, "its upper would share a directory with that of");
      assertStringIncludes(error.message, "the pod's own image");
      assertStringIncludes(error.hint ?? "", "--tree");
    }
  });
}

Deno.test("planPod() lets a view have the tree of other apps: it has no upper", {
  permissions: "none",
}, () => {
  const image = { app: "", lower: "/images/debian", readOnly: true };
  assertEquals(planOf(image, WEB, { ...DB, readOnly: true }).mounts.length, 3);
});

Deno.test("planPod() refuses to prepare an app in the rootfs of one that it does not mount", {
  permissions: "none",
}, () => {
  const table: readonly [apps: readonly PodApp[], words: string, around: string][] = [
    [[IMAGE, WEB], 'app "web"', STAGE1],
    [[WEB, IMAGE], 'app "web"', STAGE1],
    [[DB, WEB, DEEP], 'app "deep"', WEB_ROOTFS],
    [[{ ...WEB, dest: "/srv" }, { ...DB, dest: "/srv/rootfs/a" }], 'app "db"', "/srv/rootfs"],
  ];
  for (const [apps, words, around] of table) {
    const prepare = () => planPod({ pod: POD, layout: "rkt", apps }, { mount: false });
    const error = assertThrows(prepare, InvalidValueError);
    assertStringIncludes(
      error.message,
      `Cannot prepare ${words}: it lies in the rootfs "${around}"`,
    );
    assertEquals([error.code, error.exitStatus], ["invalid-value", 2]);
    assertEquals(planPod({ pod: POD, apps }).mounts.length, apps.length);
  }
});

Deno.test("planPod() prepares apps beside one another, whatever their names", {
  permissions: "none",
}, () => {
  const apps = [{ ...WEB, dest: "/srv" }, { ...DB, dest: "/srv/rootfs2" }, { ...DB, app: "c" }];
  assertEquals(planPod({ pod: POD, apps }, { mount: false }).mounts.length, 3);
});

Deno.test("planPod() names the app whose options do not fit the kernel's page", {
  permissions: "none",
}, () => {
  const lower = Array.from({ length: 40 }, (_, i) => `/${"l".repeat(200)}${i}`);
  const apps = [WEB, { app: "db", tree: "t", lower }, { app: "c", lower: "/l" }];
  const error = assertThrows(() => planPod({ pod: POD, apps }), RefusedError, "4095 bytes");
  assertEquals(error.code, "too-long");
  assert(/apps\[1\]|app "db"/.test(error.message), error.message);
});

Deno.test("planPod() refuses what is not usable before there is a plan", {
  permissions: "none",
}, () => {
  const apps = [WEB, { app: "..", lower: "/l" }];
  assertThrows(() => planPod({ pod: POD, apps }), InvalidValueError, 'Cannot use apps[1].app ".."');
});

function assertFrozen(value: unknown, path: string): void {
  if (typeof value !== "object" || value === null) return;
  assert(Object.isFrozen(value), `${path} is not frozen`);
  for (const [key, part] of Object.entries(value)) assertFrozen(part, `${path}.${key}`);
}

Deno.test("planPod() is frozen, safe as JSON and the same each time", {
  permissions: "none",
}, () => {
  const request: PodRequest = {
    pod: POD,
    group: 5,
    label: "u:r:t",
    apps: [DEEP, { ...WEB, lower: ["/images/debian", '/b",ro\n'], manifest: "/m" }, IMAGE],
  };
  const before = JSON.stringify(request);
  const plan = planPod(request);
  assertFrozen(plan, "plan");
  assertEquals(JSON.parse(JSON.stringify(plan)) as RenderPlan, plan);
  assertEquals(JSON.stringify(planPod(request)), JSON.stringify(plan));
  assertEquals(JSON.stringify(request), before);
});

Deno.test("planPod() does not freeze what belongs to its caller", { permissions: "none" }, () => {
  const lower = ["/images/debian"];
  const apps = [{ ...WEB, lower }];
  planPod({ pod: POD, apps });
  lower.push("/images/base");
  apps.push({ ...WEB, app: "db", lower: ["/l"] });
  assertEquals(planPod({ pod: POD, apps }).mounts.map((mount) => mount.lower.length), [2, 1]);
});

/** A destination: none, outside the pod, in the pod, or in one of another app. */
function randomDest(source: Random, dests: readonly string[]): string | undefined {
  const around = source.pick(["/out", POD, ...dests]);
  switch (source.int(4)) {
    case 0:
      return undefined;
    case 1:
      return `${around}/rootfs/${nastyName(source)}`;
    default:
      return `${around}/${nastyName(source)}`;
  }
}

function shuffled<T>(values: readonly T[], source: Random): T[] {
  const left = [...values];
  return values.flatMap(() => left.splice(source.int(left.length), 1));
}

function randomApps(source: Random): PodApp[] {
  const lowers = ["/l/a", "/l/b", `/l/${nastyName(source)}`];
  const dests: string[] = [];
  const names = ["", "web", "db", "c", "d", "e"].slice(source.int(2), 2 + source.int(5));
  const apps = names.map((app): PodApp => {
    const dest = randomDest(source, dests);
    if (dest !== undefined) dests.push(dest);
    return {
      app,
      // The pod's own image has a tree of its own, or its upper would be shared.
      ...(app === "" ? { tree: "own" } : {}),
      lower: Array.from({ length: 1 + source.int(2) }, () => source.pick(lowers)),
      ...(dest === undefined ? {} : { dest }),
      ...(source.int(4) === 0 ? { readOnly: true } : {}),
      ...(source.int(4) === 0 ? { mtab: true } : {}),
      manifest: source.pick(["/m/a", "/m/b"]),
    };
  });
  return shuffled(apps, source);
}

function randomRequest(source: Random): PodRequest {
  const profile = source.pick<ProfileName>(["rootfs-mode", "fixed-mode", "manifest"]);
  const group = source.int(2) === 0 ? { group: 1000 } : {};
  return { pod: POD, profile, ...group, apps: randomApps(source) };
}

/** Plans of random requests; those that may not be are left out. */
function* randomPlans(seed: number, count: number): Generator<[PodRequest, RenderPlan]> {
  const source = random(seed);
  for (let made = 0; made < count;) {
    const request = randomRequest(source);
    try {
      yield [request, planPod(request)];
      made++;
    } catch (error) {
      if (!(error instanceof InvalidValueError)) throw error;
    }
  }
}

Deno.test("planPod() of any apps does nothing twice", { permissions: "none" }, () => {
  for (const [, { operations }] of randomPlans(51, 500)) {
    const names = operations.map(nameOf);
    assertEquals(names.filter((name, at) => names.indexOf(name) !== at), []);
  }
});

Deno.test("planPod() of any apps does what planRender() does for each of them, and no more", {
  permissions: "none",
}, () => {
  for (const [{ apps, ...common }, { operations, mounts }] of randomPlans(52, 500)) {
    const single = apps.map((app) => planRender({ ...common, ...app } as RenderRequest));
    const wanted = single.flatMap((plan) => plan.operations.map(nameOf));
    assertEquals(new Set(operations.map(nameOf)), new Set(wanted));
    const byApp = new Map(single.map(({ mounts: [mount] }) => [mount.app, mount]));
    for (const mount of mounts) assertEquals(mount, byApp.get(mount.app));
    assertEquals(mounts.length, apps.length);
  }
});

Deno.test("planPod() of any apps makes no directory before the one that it lies in", {
  permissions: "none",
}, () => {
  for (const [{ apps }, { operations }] of randomPlans(53, 500)) {
    const made = paths(operations, "directory");
    for (const [at, path] of made.entries()) {
      const above = made.indexOf(parent(path));
      assert(above < at, `${path} before the one above it, of ${JSON.stringify(apps)}`);
    }
  }
});

Deno.test("planPod() of any apps makes everything in a rootfs after its mount", {
  permissions: "none",
}, () => {
  for (const [, plan] of randomPlans(54, 500)) assertMountedFirst(plan);
});

Deno.test("planPod() of any apps sets group, label and manifest of what is made before", {
  permissions: "none",
}, () => {
  for (const [, { operations }] of randomPlans(55, 300)) {
    const at = new Map(operations.map((operation, at) => [nameOf(operation), at]));
    for (const [own, { kind, path }] of operations.entries()) {
      if (kind === "group") assert((at.get(`directory ${path}`) ?? Infinity) < own);
      if (kind === "manifest") assert((at.get(`directory ${parent(path)}`) ?? Infinity) < own);
      if (kind === "mount") assert((at.get(`directory ${path}`) ?? Infinity) < own);
    }
  }
});

Deno.test("planPod() of any apps needs the permissions that each of them needs, and no more", {
  permissions: "none",
}, () => {
  for (const [{ apps, ...common }, plan] of randomPlans(56, 200)) {
    const needed = requiredPermissions(plan);
    const single = apps.map((app) => {
      return requiredPermissions(planRender({ ...common, ...app } as RenderRequest));
    });
    for (const kind of ["read", "write"] as const) {
      const wanted = single.flatMap((permissions) => permissions[kind]);
      const covers = (paths: readonly string[], path: string) => {
        return paths.some((other) => isWithin(path, other));
      };
      for (const path of wanted) assert(covers(needed[kind], path), path);
      assertEquals(needed[kind].filter((path) => !wanted.includes(path)), []);
    }
  }
});
