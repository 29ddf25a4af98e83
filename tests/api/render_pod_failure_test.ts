import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  MountError,
  OverlayError,
  PodError,
  preparePod,
  RefusedError,
  renderOverlay,
  renderPod,
  unmountOverlay,
} from "../../mod.ts";
import type { PodApp, PodRequest } from "../../mod.ts";
import { mountTooDeep } from "../_disks.ts";
import { assertErrorText, disk, runMain } from "../_main.ts";
import { modeOf, mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS, namesIn } from "../_tree.ts";

/** What a pod is like before the call that fails: not there, or with apps that are mounted. */
const PODS = ["missing", "used"] as const;

/** The apps of the call. In a pod that is used, `b` is mounted and `d` was; and so is another app. */
const APPS = ["a", "b", "c", "d", "e"] as const;
type AppId = (typeof APPS)[number];

interface Scene {
  readonly dir: TempDir;
  readonly pod: string;
  readonly lower: string;
}

/** What is asked for in another way, app by app. */
type Changes = Partial<Record<AppId, Partial<PodApp>>>;

/** What must be said of an app: its name, the path to blame and a part of the message. */
type Blame = readonly [app: AppId, path: string, cause: string];

interface Case {
  readonly name: string;
  readonly status: number;
  readonly code: string;
  /** Which pods it can happen to. @default {all} */
  readonly pods?: readonly (typeof PODS)[number][];
  /** Puts into place what is wrong, and says what then is asked for and what is to blame. */
  readonly arrange: (scene: Scene) =>
    | readonly [Changes, readonly Blame[]]
    | Promise<
      readonly [Changes, readonly Blame[]]
    >;
}

function rootfsOf({ pod }: Scene, app: AppId): string {
  return `${pod}/apps/${app}/rootfs`;
}

const missing = { status: 1, code: "missing" } as const;
const foreign = { status: 3, code: "foreign-mount" } as const;
const symlink = { status: 3, code: "symlink", pods: ["used"] } as const;
const different = { status: 3, code: "different", pods: ["used"] } as const;
const mountFails = { status: 1, code: "mount-failed" } as const;

const GONE = "it does not exist";
const ELSE = "something else is mounted there";
const SAID = "the kernel refused it as invalid";
const CONFLICT = ["metacopy=on", "redirect_dir=off"];

/** An app that passes every look, and that the kernel refuses; its tree has the name of the others'. */
async function refusedByKernel({ dir }: Scene, name = "deep"): Promise<Partial<PodApp>> {
  return { lower: await mountTooDeep(dir.join(name)), tree: "image" };
}

/** Destinations outside the pod, where something can be mounted before there is a pod. */
async function outside({ dir }: Scene, app: AppId): Promise<[dest: string, rootfs: string]> {
  const dest = dir.join(`dest-${app}`);
  await Deno.mkdir(`${dest}/rootfs`, { recursive: true });
  await Deno.writeTextFile(`${dest}/rootfs/kept`, app);
  return [dest, `${dest}/rootfs`];
}

async function mountTmpfs(path: string): Promise<void> {
  await sh("mount", "-t", "tmpfs", "tmpfs", "--", path);
  await Deno.writeTextFile(`${path}/theirs`, "kept");
}

const CASES: readonly Case[] = [
  {
    ...missing,
    name: "a missing lower",
    arrange: ({ dir }) => {
      const lower = dir.join("gone");
      return [{ c: { lower } }, [["c", lower, GONE]]];
    },
  },
  {
    ...missing,
    name: "missing lowers of two apps",
    arrange: ({ dir, lower }) => {
      const changes = { a: { lower: dir.join("x") }, e: { lower: [lower, dir.join("y")] } };
      return [changes, [["a", dir.join("x"), GONE], ["e", dir.join("y"), GONE]]];
    },
  },
  {
    ...missing,
    name: "one missing lower of two apps",
    arrange: ({ dir }) => {
      const lower = dir.join("gone");
      return [{ c: { lower }, e: { lower } }, [["c", lower, GONE], ["e", lower, GONE]]];
    },
  },
  {
    ...missing,
    name: "a missing manifest",
    arrange: ({ dir }) => {
      const manifest = dir.join("none.json");
      return [{ c: { manifest } }, [["c", manifest, GONE]]];
    },
  },
  {
    status: 1,
    code: "not-a-directory",
    name: "a lower that is a file",
    arrange: ({ lower }) => {
      return [{ c: { lower: `${lower}/file` } }, [["c", `${lower}/file`, "it is a file"]]];
    },
  },
  {
    ...foreign,
    name: "another file system on one rootfs",
    arrange: async (scene) => {
      const [dest, rootfs] = await outside(scene, "c");
      await mountTmpfs(rootfs);
      return [{ c: { dest } }, [["c", rootfs, ELSE]]];
    },
  },
  {
    ...foreign,
    name: "a bind mount on two rootfs",
    arrange: async (scene) => {
      const [[a, onA], [e, onE]] = [await outside(scene, "a"), await outside(scene, "e")];
      for (const rootfs of [onA, onE]) await sh("mount", "--bind", "--", scene.lower, rootfs);
      return [{ a: { dest: a }, e: { dest: e } }, [["a", onA, ELSE], ["e", onE, ELSE]]];
    },
  },
  {
    ...foreign,
    name: "another file system on the rootfs of an app that was mounted",
    pods: ["used"],
    arrange: async (scene) => {
      await mountTmpfs(rootfsOf(scene, "d"));
      return [{}, [["d", rootfsOf(scene, "d"), ELSE]]];
    },
  },
  {
    ...foreign,
    name: "another file system over an app that is mounted",
    pods: ["used"],
    arrange: async (scene) => {
      await mountTmpfs(rootfsOf(scene, "b"));
      return [{}, [["b", rootfsOf(scene, "b"), ELSE]]];
    },
  },
  ...(["upper", "work"] as const).map((name): Case => ({
    ...symlink,
    name: `a symlink in place of one ${name}`,
    arrange: async ({ dir, pod }) => {
      await Deno.mkdir(dir.join("target"));
      const link = `${pod}/overlay/image/${name}/c`;
      await Deno.symlink(dir.join("target"), link);
      return [{}, [["c", link, "it is a symlink"]]];
    },
  })),
  {
    ...symlink,
    name: "symlinks in place of two uppers",
    arrange: async ({ dir, pod }) => {
      const links = [`${pod}/overlay/image/upper/a`, `${pod}/overlay/image/upper/e`];
      for (const link of links) await Deno.symlink(dir.join("nowhere"), link);
      const [a = "", e = ""] = links;
      return [{}, [["a", a, "it is a symlink"], ["e", e, "it is a symlink"]]];
    },
  },
  {
    ...symlink,
    name: "a symlink in place of one rootfs",
    arrange: async (scene) => {
      const rootfs = rootfsOf(scene, "c");
      await Deno.mkdir(rootfs.slice(0, -"/rootfs".length));
      await Deno.symlink(scene.dir.path, rootfs);
      return [{}, [["c", rootfs, "it is a symlink"]]];
    },
  },
  {
    ...different,
    name: "another lower for an app that is mounted",
    arrange: async (scene) => {
      const lower = await makeTree(scene.dir.join("other"));
      const blame = ["b", rootfsOf(scene, "b"), `it has lower "${scene.lower}"`] as const;
      return [{ b: { lower, tree: "image" } }, [blame]];
    },
  },
  {
    ...different,
    name: "another lower for an app that was mounted, and for one that is",
    arrange: async (scene) => {
      const lower = await makeTree(scene.dir.join("other"));
      const cause = `it has lower "${scene.lower}"`;
      const [b, d] = [rootfsOf(scene, "b"), rootfsOf(scene, "d")];
      return [{ b: { lower }, d: { lower } }, [["b", b, cause], ["d", d, cause]]];
    },
  },
  {
    ...different,
    name: "other options for an app that is mounted",
    arrange: (scene) => {
      const options = ["nosuid", ...MARKS];
      return [{ b: { options } }, [["b", rootfsOf(scene, "b"), "it is mounted with"]]];
    },
  },
  {
    ...mountFails,
    name: "a mount that the kernel refuses",
    arrange: async (scene) => {
      const bad = await refusedByKernel(scene);
      return [{ c: bad }, [["c", rootfsOf(scene, "c"), SAID]]];
    },
  },
  {
    ...mountFails,
    name: "mounts of two apps that the kernel refuses",
    arrange: async (scene) => {
      const bad = await refusedByKernel(scene);
      const [a, e] = [rootfsOf(scene, "a"), rootfsOf(scene, "e")];
      return [{ a: bad, e: bad }, [["a", a, SAID], ["e", e, SAID]]];
    },
  },
  {
    ...mountFails,
    name: "a work that is another mount, of an app that was mounted",
    pods: ["used"],
    arrange: async (scene) => {
      const work = `${scene.pod}/overlay/image/work/d`;
      await sh("mount", "--bind", "--", work, work);
      return [{}, [["d", rootfsOf(scene, "d"), SAID]]];
    },
  },
  {
    ...mountFails,
    name: "a mount outside the pod that the kernel refuses",
    arrange: async (scene) => {
      const [bad, [dest, rootfs]] = [await refusedByKernel(scene), await outside(scene, "c")];
      return [{ c: { ...bad, dest } }, [["c", rootfs, SAID]]];
    },
  },
  {
    status: 3,
    code: "conflicting-options",
    name: "options that exclude each other in two apps",
    arrange: (scene) => {
      const [a, e] = [rootfsOf(scene, "a"), rootfsOf(scene, "e")];
      const words = 'option "metacopy=on" excludes "redirect_dir=off"';
      const changes = { a: { options: CONFLICT }, e: { options: CONFLICT } };
      return [changes, [["a", a, words], ["e", e, words]]];
    },
  },
  {
    status: 3,
    code: "lower-nested",
    name: "one lower below another",
    arrange: (scene) => {
      const etc = `${scene.lower}/etc`;
      const words = "it lies in the lower";
      const nested = { lower: [scene.lower, etc] };
      return [{ a: nested, e: nested }, [["a", etc, words], ["e", etc, words]]];
    },
  },
];

/** Makes the pod: none, or one with apps, and an `overlay/` of a mode that will be set. */
async function setScene(dir: TempDir, kind: (typeof PODS)[number]): Promise<Scene> {
  await Deno.mkdir(dir.join("pods"));
  const lower = await makeTree(dir.join("image"));
  const scene = { dir, lower, pod: dir.join("pods", "pod") };
  if (kind === "missing") return scene;
  const apps = ["old", "b", "d"].map((app) => ({ app, lower, options: MARKS }));
  const { renders } = await renderPod({ pod: scene.pod, apps });
  for (const { app, rootfs } of renders) await Deno.writeTextFile(`${rootfs}/made`, `by ${app}`);
  await unmountOverlay({ pod: scene.pod, app: "d" });
  await Deno.chmod(`${scene.pod}/overlay`, 0o2770);
  return scene;
}

function requestOf({ pod, lower }: Scene, changes: Changes): PodRequest {
  const apps = APPS.map((app) => ({ app, lower, options: MARKS, ...changes[app] }));
  return { pod, group: 0, apps };
}

/** A request as a spec, in which lowers are a list. */
function specOf({ apps, ...common }: PodRequest): string {
  const listed = apps.map(({ lower, ...app }) => {
    return { ...app, lower: typeof lower === "string" ? [lower] : lower };
  });
  return JSON.stringify({ ...common, apps: listed });
}

interface Expected {
  readonly status: number;
  readonly code: string;
  readonly blames: readonly Blame[];
}

/** A failure as it is in a {@linkcode PodError} and in JSON. */
interface Failure {
  readonly app: string;
  readonly code: string;
  readonly message: string;
  readonly path: string | null;
  readonly hint: string | null;
}

function assertNamed(failures: readonly Failure[], message: string, expected: Expected): void {
  const { code, blames } = expected;
  assertEquals(
    failures.map((failure) => [failure.app, failure.code, failure.path]),
    blames.map(([app, path]) => [app, code, path]),
  );
  for (const [at, [app, , cause]] of blames.entries()) {
    const own = failures[at]?.message ?? "";
    assertStringIncludes(own, cause);
    assertStringIncludes(message, `app "${app}" (${own.replace(/^C/, "c")})`);
  }
}

async function assertThrown(request: PodRequest, expected: Expected): Promise<void> {
  const error = await assertRejects(() => renderPod(request), OverlayError);
  assertInstanceOf(error, PodError, error.message);
  assertEquals([error.code, error.exitStatus], [expected.code, expected.status]);
  assertNamed(error.failures, error.message, expected);
  assertEquals([error.path, error.hint], [error.failures[0]?.path, error.failures[0]?.hint]);
}

async function assertSaid(request: PodRequest, expected: Expected): Promise<void> {
  const io = { input: () => specOf(request) };
  const text = await runMain(["render", "--spec", "-"], io);
  assertEquals([text.status, text.stdout], [expected.status, ""], text.stderr);
  assertErrorText(text.stderr);
  const json = await runMain(["render", "--json", "--spec", "-"], io);
  assertEquals([json.status, json.stderr], [expected.status, ""]);
  const { version, error, failures, ...rest } = JSON.parse(json.stdout);
  assertEquals([version, error.code, rest], [1, expected.code, {}]);
  assertEquals(Object.keys(error), ["code", "message", "path", "hint"]);
  for (const failure of failures ?? []) {
    assertEquals(Object.keys(failure), ["app", "code", "message", "path", "hint"]);
  }
  assertNamed(failures ?? [], error.message, expected);
  const hint = error.hint === null ? "" : `hint: ${error.hint}\n`;
  assertEquals(text.stderr, `error: ${error.message}\n${hint}`);
}

for (const { name, status, code, arrange, pods = PODS } of CASES) {
  for (const kind of pods) {
    Deno.test(`renderPod() does all or nothing with ${name}, pod ${kind}`, async () => {
      await using dir = await tempDir();
      const scene = await setScene(dir, kind);
      const [changes, blames] = await arrange(scene);
      const request = requestOf(scene, changes);
      const before = await disk(dir.path);
      await assertThrown(request, { status, code, blames });
      assertEquals(await disk(dir.path), before);
      await assertSaid(request, { status, code, blames });
      assertEquals(await disk(dir.path), before);
      if (kind === "missing") assertEquals(await isMissing(scene.pod), true);
      else assertEquals(modeOf(`${scene.pod}/overlay`), "2770");
    });
  }
}

/** Failures of which it is not an app that is to blame, or of which the path says which one it is. */
const WHOLE: readonly Case[] = [
  {
    status: 1,
    code: "not-a-directory",
    name: "a destination that is a file",
    arrange: async ({ dir }) => {
      await Deno.writeTextFile(dir.join("dest"), "a file");
      return [{ c: { dest: dir.join("dest") } }, [["c", dir.join("dest"), "it is a file"]]];
    },
  },
  {
    status: 1,
    code: "failed",
    name: "a destination in a directory that is missing",
    arrange: ({ dir }) => {
      const dest = dir.join("no", "dest");
      return [{ e: { dest } }, [["e", dest, "No such file or directory"]]];
    },
  },
  {
    status: 3,
    code: "shared-pod",
    name: "a directory that others can write to in place of one upper's",
    pods: ["used"],
    arrange: async ({ pod }) => {
      await Deno.mkdir(`${pod}/overlay/other/upper`, { recursive: true });
      await Deno.chmod(`${pod}/overlay/other/upper`, 0o777);
      return [{ c: { tree: "other" } }, [["c", `${pod}/overlay/other/upper`, "others than its"]]];
    },
  },
  {
    status: 3,
    code: "too-long",
    name: "more lowers than an option string can hold",
    arrange: ({ pod }) => {
      const lower = Array.from({ length: 40 }, (_, i) => `/${i}${"x".repeat(200)}`);
      return [{ c: { lower, tree: "t" } }, [["c", pod, "the kernel reads at most 4095 bytes"]]];
    },
  },
];

for (const { name, status, code, arrange, pods = PODS } of WHOLE) {
  for (const kind of pods) {
    Deno.test(`renderPod() does all or nothing, and says where, with ${name}, pod ${kind}`, async () => {
      await using dir = await tempDir();
      const scene = await setScene(dir, kind);
      const [changes, [blame]] = await arrange(scene);
      assert(blame !== undefined);
      const [, path, cause] = blame;
      const request = requestOf(scene, changes);
      const before = await disk(dir.path);
      const error = await assertRejects(() => renderPod(request), OverlayError, cause);
      assertEquals([error.code, error.path, error.exitStatus], [code, path, status]);
      const io = { input: () => specOf(request) };
      const text = await runMain(["render", "--spec", "-"], io);
      assertEquals([text.status, text.stdout], [status, ""]);
      assertErrorText(text.stderr);
      assertEquals(await disk(dir.path), before);
    });
  }
}

Deno.test("renderPod() names each of two apps that fail for different reasons, and exits 3 if all were refused", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "used");
  const [dest, rootfs] = await outside(scene, "e");
  await mountTmpfs(rootfs);
  const lower = await makeTree(dir.join("other"));
  const request = requestOf(scene, { b: { lower }, e: { dest } });
  const before = await disk(dir.path);
  const error = await assertRejects(() => renderPod(request), PodError);
  assertEquals(error.failures.map(({ app, code }) => [app, code]), [
    ["b", "different"],
    ["e", "foreign-mount"],
  ]);
  assertEquals([error.code, error.exitStatus], ["different", 3]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderPod() of one app fails with the app's own error", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "used");
  const [dest, rootfs] = await outside(scene, "c");
  await mountTmpfs(rootfs);
  const [, , c] = requestOf(scene, {}).apps;
  assert(c !== undefined);
  const own = { ...c, pod: scene.pod };
  const wrong: readonly [Partial<PodApp>, typeof OverlayError | typeof MountError][] = [
    [{ lower: dir.join("gone") }, OverlayError],
    [{ dest }, RefusedError],
    [await refusedByKernel(scene), MountError],
    [{ options: CONFLICT }, RefusedError],
  ];
  const before = await disk(dir.path);
  for (const [change, type] of wrong) {
    const alone = await assertRejects(() => renderOverlay({ ...own, ...change }), type);
    const apps = [{ ...c, ...change }];
    const error = await assertRejects(() => renderPod({ pod: scene.pod, apps }), type);
    assertEquals([error.message, error.code], [alone.message, alone.code]);
    assertEquals(error instanceof PodError, false);
    assertEquals(await disk(dir.path), before);
  }
});

/** The pod's own image, from a tree of its own. */
async function imageOf(dir: TempDir): Promise<PodApp> {
  return { app: "", lower: await makeTree(dir.join("stage1")), options: MARKS };
}

/** The same with the apps in the pod's own image. */
function inImage(request: PodRequest): PodRequest {
  return { ...request, layout: "rkt", apps: request.apps.map((app) => ({ ...app, live: true })) };
}

for (const mounted of [false, true]) {
  const when = mounted ? "that was mounted before" : "of the same call";
  Deno.test(`renderPod() takes back what it made in the pod's own image ${when}`, async () => {
    await using dir = await tempDir();
    const scene = await setScene(dir, "missing");
    const image = await imageOf(dir);
    if (mounted) {
      const { rootfs } = await renderOverlay({ ...image, pod: scene.pod, layout: "rkt" });
      await Deno.writeTextFile(`${rootfs}/made`, "by the image");
    }
    const bad = await refusedByKernel(scene);
    const request = inImage(requestOf(scene, { b: bad, d: bad }));
    const apps = [...request.apps, image];
    const before = await disk(dir.path);
    const error = await assertRejects(() => renderPod({ ...request, apps }), PodError);
    assertEquals(error.failures.map(({ app }) => app), ["b", "d"]);
    assertEquals(await disk(dir.path), before);
    assertEquals((await mountsBelow(scene.pod)).length, mounted ? 1 : 0);
  });
}

/** Only one app of its level fails, and there is no other one in that mount process. */
const ALONE: readonly (readonly [name: string, bad: string, names: readonly string[]])[] = [
  ["makes nothing in an image that cannot be mounted", "", ["a", "b"]],
  ["takes back an image whose only app cannot be mounted", "c", ["c"]],
];

for (const [name, bad, names] of ALONE) {
  Deno.test(`renderPod() ${name}, and names it`, async () => {
    await using dir = await tempDir();
    const scene = await setScene(dir, "missing");
    const { apps, ...common } = inImage(requestOf(scene, {}));
    const all = [...apps.filter(({ app }) => names.includes(app)), await imageOf(dir)];
    const change = await refusedByKernel(scene);
    const request = {
      ...common,
      apps: all.map((app) => app.app === bad ? { ...app, ...change, tree: bad || "stage1" } : app),
    };
    const before = await disk(dir.path);
    const error = await assertRejects(() => renderPod(request), OverlayError);
    assertEquals([error.code, error.exitStatus], ["mount-failed", 1]);
    assertInstanceOf(error, PodError, error.message);
    assertEquals(error.failures.map(({ app, code }) => [app, code]), [[bad, "mount-failed"]]);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("renderPod() unmounts the image again that it mounted for the apps in it", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "missing");
  const image = await imageOf(dir);
  const request = inImage(requestOf(scene, {}));
  await renderPod({ ...request, apps: [image, ...request.apps] });
  await unmountOverlay({ pod: scene.pod });
  // An app keeps its lower, so it is its work that becomes unfit: as a mount of its own.
  const work = `${scene.pod}/overlay/image/work/c`;
  await sh("mount", "--bind", "--", work, work);
  const before = await disk(dir.path);
  const bad = inImage(requestOf(scene, {}));
  const error = await assertRejects(() => renderPod(bad), PodError);
  assertEquals(error.failures.map(({ app }) => app), ["c"]);
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderPod() refuses the tree of an app that is there for the pod's own image", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "used");
  const { apps, ...common } = requestOf(scene, {});
  const image = { app: "", lower: scene.lower, dest: dir.join("dest"), options: MARKS };
  const before = await disk(dir.path);
  const other = apps.map((app) => ({ ...app, tree: "other" })).filter(({ app }) => app !== "b");
  const request = { ...common, apps: [...other.filter(({ app }) => app !== "d"), image] };
  const error = await assertRejects(() => renderPod(request), PodError);
  assertEquals(error.failures.map(({ app, code }) => [app, code]), [["", "in-use"]]);
  assertStringIncludes(error.message, "the pod's own image (");
  assertEquals(await disk(dir.path), before);
});

/** Characters that one of the readers of what mount(8) says could stumble over. */
const ODD = [
  "\n",
  "\t",
  ": ",
  '"',
  "'",
  "\\",
  ",",
  " mount: ",
  "\nmount: ",
  "%s",
  "\u001b",
  "ä",
  "#",
];

for (const odd of ODD) {
  Deno.test(`renderPod() names the apps that cannot be mounted at odd places: ${JSON.stringify(odd)}`, async () => {
    await using dir = await tempDir();
    const scene = await setScene(dir, "missing");
    const dest = (app: string) => `${dir.path}/${app}${odd}${app}`;
    const request = requestOf(scene, {
      a: { dest: dest("a"), ...await refusedByKernel(scene, "deep") },
      b: { dest: dest("b") },
      c: { dest: dest("c"), ...await refusedByKernel(scene, "deeper") },
    });
    const before = await disk(dir.path);
    const error = await assertRejects(() => renderPod(request), PodError);
    assertEquals(error.failures.map(({ app, path }) => [app, path]), [
      ["a", `${dest("a")}/rootfs`],
      ["c", `${dest("c")}/rootfs`],
    ]);
    // Each has its own cause, and not what was said of the other one.
    const causes = error.failures.map(({ hint }) =>
      /^Cannot use lower "(.+?)"/.exec(hint ?? "")?.[1]
    );
    assertEquals(causes, [dir.join("deep"), dir.join("deeper")]);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("renderPod() that failed succeeds once the cause is gone", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "used");
  const refused = await refusedByKernel(scene);
  const bad = requestOf(scene, { a: refused, e: { lower: dir.join("late") } });
  await assertRejects(() => renderPod(bad), PodError);
  await makeTree(dir.join("late"));
  await assertRejects(() => renderPod(bad), PodError);
  const good = requestOf(scene, { e: { lower: dir.join("late") } });
  const { renders } = await renderPod(good);
  assertEquals(renders.map(({ changed }) => changed), [true, false, true, true, true]);
  assertEquals((await mountsBelow(scene.pod)).length, 6);
  assertEquals(await Deno.readTextFile(`${rootfsOf(scene, "d")}/made`), "by d");
});

Deno.test("renderPod() takes back copies, and what it wrote into a rootfs", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "missing");
  const image = await imageOf(dir);
  await Deno.mkdir(`${image.lower}/rkt/status`, { recursive: true });
  const changes: Changes = {
    a: { overlay: "never", options: [] },
    b: { mtab: true },
    e: await refusedByKernel(scene),
  };
  const { apps, ...common } = requestOf(scene, changes);
  const before = await disk(dir.path);
  for (const all of [apps, [...apps, image]]) {
    const error = await assertRejects(() => renderPod({ ...common, apps: all }), PodError);
    assertEquals(error.failures.map(({ app }) => app), ["e"]);
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("preparePod() does all or nothing", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "used");
  const before = await disk(dir.path);
  const bad = requestOf(scene, { a: { lower: dir.join("x") }, e: { lower: dir.join("y") } });
  const error = await assertRejects(() => preparePod(bad), PodError);
  assertEquals(error.failures.map(({ app }) => app), ["a", "e"]);
  assertEquals(await disk(dir.path), before);
});

/** The kernel keeps a directory of its own in a work, and nothing of anybody else's. */
function withoutKernels(listing: string): string {
  return listing.split("\n").filter((line) => !/^d 0 .*\/work\/\w+\/work$/.test(line)).join("\n");
}

Deno.test("renderPod() leaves apps prepared that were only prepared", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "missing");
  await preparePod(requestOf(scene, {}));
  const work = `${scene.pod}/overlay/image/work/c`;
  await sh("mount", "--bind", "--", work, work);
  const before = withoutKernels(await disk(dir.path));
  const bad = requestOf(scene, {});
  const error = await assertRejects(() => renderPod(bad), PodError);
  assertEquals(error.failures.map(({ app }) => app), ["c"]);
  assertEquals(withoutKernels(await disk(dir.path)), before);
  assertEquals(await namesIn(`${scene.pod}/overlay/image/upper`), [...APPS]);
});

Deno.test("renderPod() says what it could not take back", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "missing");
  const image = `${scene.pod}/overlay/image`;
  const trace = (text: string) => {
    if (text.startsWith("mount ")) Deno.writeTextFileSync(`${image}/theirs`, "made meanwhile");
  };
  const request = requestOf(scene, { c: await refusedByKernel(scene) });
  const error = await assertRejects(() => renderPod(request, { trace }), OverlayError);
  assertEquals(error.code, "mount-failed");
  assertStringIncludes(error.message, `app "c" (`);
  assertStringIncludes(error.message, `could not remove "${image}": Directory not empty`);
  assertInstanceOf(error.cause, PodError);
  assertEquals(await mountsBelow(scene.pod), []);
});

Deno.test("overlay-render render --spec --json names the apps even where it could not take back all", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir, "missing");
  const image = `${scene.pod}/overlay/image`;
  const request = requestOf(scene, { c: await refusedByKernel(scene) });
  const { status, stdout } = await runMain(["render", "--json", "--verbose", "--spec", "-"], {
    input: () => specOf(request),
    err: (text) => {
      if (text.startsWith("mount ")) Deno.writeTextFileSync(`${image}/theirs`, "made meanwhile");
    },
  });
  assertEquals(status, 1);
  const { error, failures } = JSON.parse(stdout);
  assertStringIncludes(error.message, "could not remove");
  assertEquals((failures ?? []).map(({ app }: Failure) => app), ["c"]);
});
