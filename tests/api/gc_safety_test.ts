/**
 * Nothing is lost in cleanup: whatever lies in a pod or leads out of it, what is not the pod's stays.
 *
 * @module
 */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import {
  collectPods,
  OverlayError,
  podLayout,
  prepareOverlay,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import { removePod } from "../../lib/pod/removal.ts";
import { cli } from "../_cli.ts";
import { holdLock } from "../_lock_holder.ts";
import { disk, runMain } from "../_main.ts";
import {
  brief,
  counter,
  idlePod,
  keepMounts,
  makePlace,
  mountedPod,
  nestedPod,
  occupy,
  preparedPod,
} from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, mountsBelow, sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

/** A place with a pod that could be collected, and data beside it that is not its own. */
interface Scene extends Place {
  readonly pod: string;
  readonly upper: string;
  /** A directory with data of somebody else. */
  readonly data: string;
}

async function setScene(dir: TempDir): Promise<Scene> {
  const place = await makePlace(dir);
  const { pod, upper } = await preparedPod(place, "a");
  const data = dir.join("data");
  await Deno.mkdir(`${data}/deep/er`, { recursive: true });
  for (const name of ["file", "deep/file", "deep/er/file"]) {
    await Deno.writeTextFile(`${data}/${name}`, `not the pod's: ${name}`);
  }
  await Deno.chmod(`${data}/file`, 0o640);
  await Deno.chmod(`${data}/deep`, 0o2751);
  return { ...place, pod, upper, data };
}

/** Mounts an empty file system, and puts a file there. */
async function mountTmpfs(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await sh("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "--", path);
  await Deno.writeTextFile(`${path}/file`, "of another file system");
}

/** Something about a pod for which it is not collected. */
interface Refusal {
  readonly name: string;
  /** Makes it so, and says which path is to blame. */
  readonly arrange: (scene: Scene) => Promise<string>;
  readonly code: string;
  /** Set if it takes another user's id. @default {false} */
  readonly needsRoot?: boolean;
  /** Set if `gc --pods` does not even take it for a pod. @default {false} */
  readonly unseen?: boolean;
  /** Set if it is wrong with all pods of the directory. @default {false} */
  readonly whole?: boolean;
}

function chmod(of: (scene: Scene) => string, mode: number): Refusal["arrange"] {
  return async (scene) => {
    await Deno.chmod(of(scene), mode);
    return of(scene);
  };
}

/** Puts something in the place of one of the pod's files. */
function instead(
  name: string,
  put: (path: string, scene: Scene) => Promise<unknown>,
): Refusal["arrange"] {
  return async (scene) => {
    const path = `${scene.pod}/${name}`;
    await Deno.remove(path);
    await put(path, scene);
    return path;
  };
}

const REFUSALS: readonly Refusal[] = [
  {
    name: "a file system that is mounted in it",
    code: "foreign-mount",
    arrange: async ({ pod }) => {
      await mountTmpfs(`${pod}/data`);
      return `${pod}/data`;
    },
  },
  {
    name: "a file system that is mounted deep in an upper",
    code: "foreign-mount",
    arrange: async ({ upper }) => {
      await mountTmpfs(`${upper}/var/lib/data`);
      return `${upper}/var/lib/data`;
    },
  },
  {
    name: "a file system that is mounted on a rootfs",
    code: "foreign-mount",
    arrange: async ({ pod }) => {
      const rootfs = `${pod}/apps/web/rootfs`;
      await mountTmpfs(rootfs);
      return rootfs;
    },
  },
  {
    name: "a bind mount of a directory with data",
    code: "foreign-mount",
    arrange: async ({ pod, data }) => {
      await Deno.mkdir(`${pod}/data`);
      await sh("mount", "--bind", data, `${pod}/data`);
      return `${pod}/data`;
    },
  },
  {
    name: "a bind mount of a file",
    code: "foreign-mount",
    arrange: async ({ upper, data }) => {
      await Deno.writeTextFile(`${upper}/resolv.conf`, "");
      await sh("mount", "--bind", `${data}/file`, `${upper}/resolv.conf`);
      return `${upper}/resolv.conf`;
    },
  },
  {
    name: "an overlay directory that is a device of its own",
    code: "foreign-mount",
    arrange: async ({ pod, data }) => {
      const overlay = `${pod}/overlay`;
      await Deno.remove(overlay, { recursive: true });
      await mountTmpfs(overlay);
      await sh("cp", "-a", data, `${overlay}/image`);
      return overlay;
    },
  },
  {
    name: "a directory of its own that is mounted once more in it",
    code: "foreign-mount",
    arrange: async ({ pod }) => {
      await sh("mount", "--bind", `${pod}/overlay`, `${pod}/overlay`);
      return `${pod}/overlay`;
    },
  },
  {
    name: "a pod that is a mount point itself",
    code: "foreign-mount",
    arrange: async ({ pod }) => {
      await sh("mount", "--bind", pod, pod);
      return pod;
    },
  },
  {
    name: "a lower that lies in it",
    code: "refused",
    arrange: async ({ pod, data }) => {
      const lower = `${pod}/trees/image`;
      await Deno.mkdir(`${pod}/trees`);
      await sh("cp", "-a", data, lower);
      const own = { tree: "own", pod, app: "own", options: MARKS, ephemeral: true };
      await prepareOverlay({ ...own, lower: [data, lower] });
      return lower;
    },
  },
  {
    name: "a link in place of the garbage",
    code: "symlink",
    arrange: async ({ pods, data }) => {
      await Deno.symlink(data, `${pods}/garbage`);
      return `${pods}/garbage`;
    },
  },
  {
    name: "a link to nowhere in place of the garbage",
    code: "symlink",
    arrange: async ({ pods, dir }) => {
      await Deno.symlink(dir.join("nowhere"), `${pods}/garbage`);
      return `${pods}/garbage`;
    },
  },
  {
    name: "a link in place of the pod",
    code: "symlink",
    unseen: true,
    arrange: async ({ pod, data }) => {
      await Deno.rename(pod, `${data}/moved`);
      await Deno.symlink(`${data}/moved`, pod);
      return pod;
    },
  },
  {
    name: "a link in place of its lines",
    code: "symlink",
    arrange: instead("overlay.fstab", (path, { data }) => Deno.symlink(`${data}/file`, path)),
  },
  {
    name: "a link in place of its lock",
    code: "symlink",
    arrange: instead("overlay.lock", (path, { data }) => Deno.symlink(`${data}/file`, path)),
  },
  {
    name: "a pipe in place of its lock",
    code: "symlink",
    arrange: instead("overlay.lock", (path) => sh("mkfifo", path)),
  },
  {
    name: "lines that cannot be read",
    code: "bad-record",
    arrange: async ({ pod }) => {
      await Deno.writeFile(`${pod}/overlay.fstab`, new Uint8Array([0xff, 0x0a]));
      return `${pod}/overlay.fstab`;
    },
  },
  ...[0o777, 0o770, 0o1777].map((mode): Refusal => ({
    name: `a pod that others can write to, of mode ${mode.toString(8)}`,
    code: "shared-pod",
    arrange: chmod(({ pod }) => pod, mode),
  })),
  {
    name: "a directory of pods that everybody can write to",
    code: "shared-pod",
    whole: true,
    arrange: chmod(({ pods }) => pods, 0o777),
  },
  {
    name: "a garbage that everybody can write to",
    code: "shared-pod",
    arrange: async ({ pods }) => {
      await Deno.mkdir(`${pods}/garbage`);
      await Deno.writeTextFile(`${pods}/garbage/note`, "not ours");
      await Deno.chmod(`${pods}/garbage`, 0o777);
      return `${pods}/garbage`;
    },
  },
  {
    name: "a garbage of another user",
    code: "shared-pod",
    needsRoot: true,
    arrange: async ({ pods }) => {
      await Deno.mkdir(`${pods}/garbage`);
      await Deno.writeTextFile(`${pods}/garbage/note`, "not ours");
      await Deno.chown(`${pods}/garbage`, 65534, null);
      return `${pods}/garbage`;
    },
  },
  {
    name: "a pod of another user",
    code: "shared-pod",
    needsRoot: true,
    arrange: async ({ pod }) => {
      await Deno.chown(pod, 65534, null);
      return pod;
    },
  },
];

for (const refusal of REFUSALS) {
  const { name, arrange, code, needsRoot = false, unseen = false, whole = false } = refusal;
  const ignore = needsRoot && !isRealRoot;
  const skipped = ignore ? " [skipped: needs root]" : "";
  Deno.test(`collectPods() refuses ${name}${skipped}`, { ignore }, async () => {
    await using dir = await tempDir();
    const scene = await setScene(dir);
    const path = await arrange(scene);
    const before = await disk(dir.path);

    const named = await runMain(["gc", "--json", `--pod=${scene.pod}`]);
    const { error } = JSON.parse(named.stdout);
    assertEquals([named.status, error.code, error.path], [3, code, path], named.stdout);
    assertEquals(await disk(dir.path), before);

    if (whole) {
      return void await assertRejects(() => collectPods({ pods: scene.pods }), RefusedError);
    }
    const all = await collectPods({ pods: scene.pods, gracePeriodMs: 0 });
    const kept = unseen ? [] : [`pods/a: ${code}`];
    assertEquals(brief(all, dir), { marked: [], removed: [], kept });
    for (const { reason, failed } of all.kept) {
      assertEquals(failed, true);
      assertStringIncludes(reason, JSON.stringify(path));
    }
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("collectPods() refuses a copy of a pod, and its lines lead it to nothing of the other", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir);
  await sh("cp", "-a", scene.pod, `${scene.pods}/copy`);
  const before = await disk(dir.path);
  const copy = { pod: `${scene.pods}/copy` };
  const error = await assertRejects(() => collectPods(copy), RefusedError);
  assertEquals([error.code, error.path], ["pod-moved", copy.pod]);
  assertEquals(await disk(dir.path), before);
});

/** Something in a pod that leads out of it, and goes with it. */
const LEADS: readonly [string, (scene: Scene) => Promise<unknown>][] = [
  ["a link to a directory in an upper", ({ upper, data }) => Deno.symlink(data, `${upper}/link`)],
  ["a link to a file in an upper", ({ upper, data }) => Deno.symlink(`${data}/file`, `${upper}/l`)],
  ["a link to a directory in the pod's top", ({ pod, data }) => Deno.symlink(data, `${pod}/link`)],
  ["a link to the pod itself", ({ pod }) => Deno.symlink(pod, `${pod}/link`)],
  ["a link to what is above", ({ upper }) => Deno.symlink("../../../../..", `${upper}/link`)],
  ["a link to nowhere", ({ upper }) => Deno.symlink("nowhere", `${upper}/link`)],
  ["a link in place of its overlay directory", async ({ pod, data }) => {
    await Deno.rename(`${pod}/overlay`, `${data}/overlay`);
    await Deno.symlink(`${data}/overlay`, `${pod}/overlay`);
  }],
  ["a link in place of an upper", async ({ upper, data }) => {
    await Deno.rename(upper, `${data}/upper`);
    await Deno.symlink(`${data}/upper`, upper);
  }],
  ["a link in place of the directory of its rootfs", async ({ pod, data }) => {
    await Deno.rename(`${pod}/apps`, `${data}/apps`);
    await Deno.symlink(`${data}/apps`, `${pod}/apps`);
  }],
  ["a link in place of a file", async ({ pod, upper, data }) => {
    await Deno.remove(`${upper}/made`);
    await Deno.symlink(`${data}/file`, `${upper}/made`);
    await Deno.symlink(`${data}/file`, `${pod}/overlay.fstab.new`);
  }],
  ["another name of a file outside", async ({ upper, data }) => {
    await Deno.link(`${data}/file`, `${upper}/hard`);
    await Deno.link(`${data}/deep/file`, `${upper}/harder`);
  }],
  ["a file in a directory of mode 000", async ({ pod }) => {
    const work = `${pod}/overlay/image/work/web/work/#1`;
    await Deno.mkdir(work, { recursive: true });
    await Deno.writeTextFile(`${work}/file`, "");
    for (const path of [`${work}/file`, work, work.replace("/#1", "")]) await Deno.chmod(path, 0);
  }],
  ["a pipe that nobody writes to", ({ upper }) => sh("mkfifo", `${upper}/pipe`)],
  ["names that need quoting", async ({ upper }) => {
    for (const name of ["a b", "a\nb", "-rf", "'", '"', "\\", "*", "\u{1f600}", "\u202e", "~"]) {
      await Deno.mkdir(`${upper}/${name}`);
      await Deno.writeTextFile(`${upper}/${name}/${name}`, "");
    }
  }],
  ["a directory that is many directories deep", async ({ upper }) => {
    await Deno.mkdir(`${upper}${"/d".repeat(400)}`, { recursive: true });
  }],
];

for (const [what, arrange] of LEADS) {
  Deno.test(`collectPods() removes a pod with ${what}, and nothing but the pod`, async () => {
    for (const named of [true, false]) {
      await using dir = await tempDir();
      const scene = await setScene(dir);
      await arrange(scene);
      const before = await Promise.all([scene.data, scene.lower].map(snapshot));
      const request = named ? { pod: scene.pod } : { pods: scene.pods, gracePeriodMs: 0 };
      assertEquals(brief(await collectPods(request), dir), {
        marked: ["pods/a as pods/garbage/a"],
        removed: ["pods/garbage/a"],
        kept: [],
      });
      assertEquals(await Promise.all([scene.data, scene.lower].map(snapshot)), before);
      assertEquals(await namesIn(scene.pods), []);
    }
  });
}

Deno.test("collectPods() removes what an app made, whiteouts and directories of the kernel's included", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  const before = await snapshot(place.lower);
  await Deno.remove(`${rootfs}/gone`);
  await Deno.remove(`${rootfs}/etc`, { recursive: true });
  await Deno.mkdir(`${rootfs}/etc`, { mode: 0o000 });
  await Deno.link(`${rootfs}/file`, `${rootfs}/hard`);
  await collectPods({ pod });
  assertEquals(await namesIn(place.pods), []);
  assertEquals(await snapshot(place.lower), before);
});

Deno.test({
  name: `overlay-render gc removes directories that its user may not read${
    isRealRoot ? "" : " [skipped: needs root]"
  }`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod } = await idlePod(place, "a", { ephemeral: false });
    assertEquals(modeOf(`${pod}/overlay/image/work/web/work`), "0000");
    // Root without its capabilities may read no more than any user.
    const wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    const { status, stderr } = await cli(["gc", "--pod", pod], { wrapper });
    assertEquals([status, stderr], [0, ""]);
    assertEquals(await namesIn(place.pods), []);
  },
});

/** Makes something with a name that is not UTF-8, which Deno can show but not use. */
async function makeOdd(
  what: "file" | "directory",
  directory: string,
  name = "odd",
): Promise<void> {
  const make = what === "file" ? ': > "$1/$name"' : 'mkdir "$1/$name" && : > "$1/$name/f"';
  await sh("sh", "-c", `name="$2$(printf '\\377')" && ${make}`, "sh", directory, name);
}

for (const what of ["file", "directory"] as const) {
  Deno.test(`collectPods() removes a pod with a ${what} whose name is not UTF-8, wherever it lies`, async () => {
    for (const where of ["upper", "pod"] as const) {
      await using dir = await tempDir();
      const scene = await setScene(dir);
      await makeOdd(what, scene[where]);
      const before = await snapshot(scene.data);
      const collected = await collectPods({ pods: scene.pods, gracePeriodMs: 0 });
      assertEquals(brief(collected, dir).removed, ["pods/garbage/a"]);
      assertEquals([await namesIn(scene.pods), await snapshot(scene.data)], [[], before], where);
    }
  });
}

Deno.test("collectPods() removes a pod with a path that is longer than the kernel takes at once", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir);
  const part = `/${"d".repeat(200)}`.repeat(15);
  for (const top of [scene.upper, dir.join("other")]) {
    await Deno.mkdir(top + part, { recursive: true });
  }
  // Each half has a path, and the whole has none.
  await Deno.writeTextFile(`${dir.join("other")}${part}/file`, "");
  await Deno.rename(dir.join("other"), `${scene.upper}${part}/rest`);
  await collectPods({ pod: scene.pod });
  assertEquals(await namesIn(scene.pods), []);
});

/** What Deno takes a name for that is not UTF-8 can be the name of something else. */
const LOOKALIKES: readonly [string, (path: string, scene: Scene) => Promise<void>][] = [
  ["a link to a directory", (path, { data }) => Deno.symlink(data, path)],
  ["a link to a file", (path, { data }) => Deno.symlink(`${data}/file`, path)],
  ["a link to what is above", (path) => Deno.symlink("../../../../../../..", path)],
];

for (const [what, put] of LOOKALIKES) {
  Deno.test(`collectPods() does not take ${what} for a directory whose name is not UTF-8`, async () => {
    for (const named of [true, false]) {
      await using dir = await tempDir();
      const scene = await setScene(dir);
      // Which of the two is read first is for the file system to say.
      for (const name of "abcdefgh") {
        await makeOdd("directory", scene.upper, name);
        await put(`${scene.upper}/${name}\ufffd`, scene);
      }
      const before = await Promise.all([scene.data, scene.lower].map(snapshot));
      await collectPods(named ? { pod: scene.pod } : { pods: scene.pods, gracePeriodMs: 0 });
      assertEquals(await Promise.all([scene.data, scene.lower].map(snapshot)), before);
      assertEquals(await namesIn(scene.pods), []);
    }
  });
}

Deno.test("removePod() does not enter another device, whatever the mount table says", async () => {
  await using dir = await tempDir();
  const { pod, upper } = await setScene(dir);
  await mountTmpfs(`${upper}/other`);
  const before = await snapshot(`${upper}/other`);
  assertEquals(before.includes("file"), true);
  const error = await assertRejects(() => removePod(podLayout(pod)), OverlayError);
  assertEquals([error.code, error.path], ["foreign-mount", `${pod}/overlay`]);
  assertStringIncludes(error.message, `${upper}/other`);
  assertEquals(await snapshot(`${upper}/other`), before);
  assertEquals((await namesIn(pod)).filter((name) => name.startsWith("overlay.")), [
    "overlay.fstab",
    "overlay.lock",
  ]);
});

/** What the upper of a pod that seems idle can be part of still. */
interface Use {
  readonly name: string;
  /** Makes it so; what it returns is taken back when the scope ends. */
  readonly arrange: (pod: Mounted) => Promise<AsyncDisposable | void>;
  /** Where the data can be seen still. */
  readonly seen?: (dir: TempDir) => string;
}

interface Mounted extends Place {
  readonly pod: string;
  readonly rootfs: string;
  readonly upper: string;
}

const USES: readonly Use[] = [
  {
    name: "whose rootfs is bind-mounted elsewhere",
    arrange: async ({ dir, rootfs, pod }) => {
      await Deno.mkdir(dir.join("elsewhere"));
      await sh("mount", "--bind", rootfs, dir.join("elsewhere"));
      await unmountOverlay({ pod });
    },
    seen: (dir) => dir.join("elsewhere"),
  },
  {
    name: "whose upper is mounted elsewhere by hand",
    arrange: async ({ dir, lower, pod, upper }) => {
      await unmountOverlay({ pod });
      await Deno.mkdir(dir.join("elsewhere"));
      const dirs = [`lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work(upper)}`];
      const options = [...dirs, ...MARKS].join(",");
      await sh("mount", "-t", "overlay", "overlay", "-o", options, dir.join("elsewhere"));
    },
    seen: (dir) => dir.join("elsewhere"),
  },
  {
    name: "whose mounted app was moved away with a directory of the pod",
    arrange: async ({ dir, pod }) => {
      await Deno.rename(`${pod}/apps`, dir.join("elsewhere"));
      await Deno.symlink(dir.join("elsewhere"), `${pod}/apps`);
      await unmountOverlay({ pod });
    },
    seen: (dir) => dir.join("elsewhere/web/rootfs"),
  },
  {
    name: "whose upper is a lower of another pod that is mounted",
    arrange: async ({ dir, lower, pod, upper }) => {
      await unmountOverlay({ pod });
      const request = { lower: [upper, lower], tree: "both", pod: dir.join("other"), app: "web" };
      await renderOverlay({ ...request, options: MARKS });
    },
    seen: (dir) => dir.join("other/apps/web/rootfs"),
  },
  {
    name: "whose app is mounted still in another mount namespace",
    arrange: async ({ pod }) => {
      const container = await keepMounts();
      await unmountOverlay({ pod });
      return container;
    },
  },
  {
    name: "whose app was unmounted lazily by hand, and is in use",
    arrange: async ({ pod, rootfs }) => {
      const process = await occupy(rootfs);
      await sh("umount", "--lazy", rootfs);
      // The command then sees nothing mounted, and its line says nothing of it.
      await unmountOverlay({ pod });
      return process;
    },
  },
];

/** The work that belongs to an upper. */
function work(upper: string): string {
  return upper.replace("/upper/", "/work/");
}

for (const { name, arrange, seen } of USES) {
  Deno.test(`collectPods() leaves a pod alone ${name}`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const pod = await mountedPod(place, "a", { ephemeral: false });
    const use = await arrange({ ...place, ...pod });
    const view = seen?.(dir);
    const before = await disk(dir.path);
    if (view !== undefined) assertEquals(await Deno.readTextFile(`${view}/made`), "a");
    const all = { pods: place.pods, gracePeriodMs: 0, olderThanMs: 0 };
    const collected = await collectPods(all);
    assertEquals([collected.marked, collected.removed], [[], []]);
    await assertRejects(() => collectPods({ pod: pod.pod }), RefusedError);
    assertEquals(await disk(dir.path), before);
    if (view !== undefined) assertEquals(await Deno.readTextFile(`${view}/made`), "a");
    await use?.[Symbol.asyncDispose]();
    const mounts = (await mountsBelow(dir.path)).reverse();
    for (const mount of mounts) await sh("umount", "--", mount);
    await collectPods({ pod: pod.pod });
    assertEquals(await namesIn(place.pods), []);
  });
}

Deno.test("collectPods() and renderOverlay() wait for the end of who uses an app that was unmounted lazily", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a", { ephemeral: false });
  await using process = await occupy(rootfs);
  const { unmounted } = await unmountOverlay({ pod, lazy: true });
  assertEquals(unmounted, [{ app: "web", rootfs }]);
  assertEquals(await mountsBelow(dir.path), []);
  const before = await disk(dir.path);

  const request = { lower: place.lower, pod, app: "web", options: MARKS };
  const acts = [
    () => collectPods({ pod }),
    () => collectPods({ pod, phase: "mark" as const }),
    () => renderOverlay(request),
  ];
  for (const act of acts) {
    const error = await assertRejects(act, RefusedError, undefined, `${act}`);
    assertEquals([error.code, error.path, error.exitStatus], ["busy", rootfs, 3], `${act}`);
    assertMatch(error.message, /it was unmounted lazily, and a process uses it still/);
    assertMatch(error.hint ?? "", /end the processes/);
    assertEquals(await disk(dir.path), before);
  }
  const all = await collectPods({ pods: place.pods, gracePeriodMs: 0, olderThanMs: 0 });
  assertEquals(brief(all, dir), { marked: [], removed: [], kept: ["pods/a: busy"] });
  assertEquals(await disk(dir.path), before);
  // Unmounting again does not make it forgotten.
  await unmountOverlay({ pod });
  await assertRejects(() => collectPods({ pod }), RefusedError);

  await process.end();
  const again = await renderOverlay(request);
  assertEquals(await Deno.readTextFile(`${again.rootfs}/made`), "a");
  await unmountOverlay({ pod });
  await collectPods({ pod });
  assertEquals(await namesIn(place.pods), []);
});

Deno.test("collectPods() collects a pod after a lazy unmount when its user has ended", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (const options of [[], ["volatile"]]) {
    const { pod, rootfs } = await mountedPod(place, "a", { options });
    {
      await using _process = await occupy(rootfs);
      await unmountOverlay({ pod, lazy: true });
      await assertRejects(() => collectPods({ pod }), RefusedError, undefined, `${options}`);
    }
    const collected = await collectPods({ pods: place.pods, gracePeriodMs: 0 });
    assertEquals(brief(collected, dir), {
      marked: ["pods/a as pods/garbage/a"],
      removed: ["pods/garbage/a"],
      kept: [],
    }, `${options}`);
  }
});

Deno.test("collectPods() collects a pod after a lazy unmount whose tree is gone by then", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  {
    await using _process = await occupy(rootfs);
    await unmountOverlay({ pod, lazy: true });
    await Deno.rename(place.lower, `${place.lower}-gone`);
    await assertRejects(() => collectPods({ pod }), RefusedError);
  }
  await collectPods({ pod });
  assertEquals(await namesIn(place.pods), []);
});

Deno.test("prepareOverlay() of an app that was unmounted lazily does not make it forgotten", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await mountedPod(place, "a");
  await using process = await occupy(rootfs);
  await unmountOverlay({ pod, lazy: true });
  const request = { lower: place.lower, pod, options: MARKS };
  await prepareOverlay({ ...request, app: "web", ephemeral: true });
  await prepareOverlay({ ...request, app: "other", ephemeral: true });
  await assertRejects(() => collectPods({ pod }), RefusedError);
  const all = await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(brief(all, dir).kept, ["pods/a: busy"]);
  await assertRejects(() => renderOverlay({ ...request, app: "web" }), RefusedError);
  await process.end();
  await collectPods({ pod });
});

Deno.test("renderOverlay() of an app does not mount its image again that was unmounted lazily and is in use", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [image = ""] } = await nestedPod(place, "a");
  await using process = await occupy(image);
  await unmountOverlay({ pod, lazy: true });
  const before = await disk(dir.path);
  const request = { lower: place.lower, pod, app: "web", layout: "rkt", options: MARKS } as const;
  const error = await assertRejects(() => renderOverlay(request), RefusedError);
  assertEquals([error.code, error.path], ["busy", image]);
  assertEquals(await disk(dir.path), before);
  await process.end();
  await renderOverlay(request);
  assertEquals((await mountsBelow(dir.path)).length, 2);
});

Deno.test("collectPods() knows of the apps that went with their image when that was unmounted lazily", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [, web = ""] } = await nestedPod(place, "a");
  await Deno.writeTextFile(`${web}/made`, "a");
  await using process = await occupy(web);
  // The image has apps in it.
  await assertRejects(() => unmountOverlay({ pod, app: "", lazy: true }), RefusedError);
  await assertRejects(() => collectPods({ pod }));
  assertEquals(await Deno.readTextFile(`${pod}/overlay/image/upper/web/made`), "a");
  await process.end();
  await collectPods({ pod });
  assertEquals(await namesIn(place.pods), []);
});

Deno.test("collectPods() never unmounts lazily", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs: [, web = ""] } = await nestedPod(place, "a");
  const { trace, count, lines } = counter();
  {
    await using _process = await occupy(web);
    await assertRejects(() => collectPods({ pod }, { trace }));
  }
  await collectPods({ pod }, { trace });
  assertEquals(count("umount") >= 2, true, lines.join("\n"));
  assertEquals(lines.filter((line) => /--lazy|-l\b/.test(line)), []);
});

Deno.test("collectPods() takes no pod for idle whose app is a copy, since nothing tells whether it is used", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pod = `${place.pods}/a`;
  const request = { lower: place.lower, pod, app: "web", overlay: "never" as const };
  const { rootfs } = await renderOverlay({ ...request, ephemeral: true });
  await Deno.writeTextFile(`${rootfs}/made`, "kept");
  await using _process = await occupy(rootfs);
  const before = await disk(dir.path);
  const all = await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(brief(all, dir), { marked: [], removed: [], kept: ["pods/a: in-use"] });
  assertEquals(await disk(dir.path), before);
  // Whoever names it knows.
  await collectPods({ pod });
  assertEquals(await namesIn(place.pods), []);
});

/** Something about what is aside for which it is not removed. */
const ASIDE: readonly {
  readonly name: string;
  readonly code: string;
  readonly arrange: (garbage: string, scene: Scene) => Promise<unknown>;
}[] = [
  {
    name: "a file system mounted in it",
    code: "foreign-mount",
    arrange: (garbage) => mountTmpfs(`${garbage}/data`),
  },
  {
    name: "data mounted in it",
    code: "foreign-mount",
    arrange: async (garbage, { data }) => {
      await sh("mount", "--bind", data, `${garbage}/apps`);
    },
  },
  {
    name: "a link in place of its lock",
    code: "symlink",
    arrange: async (garbage, { data }) => {
      await Deno.remove(`${garbage}/overlay.lock`);
      await Deno.symlink(`${data}/file`, `${garbage}/overlay.lock`);
    },
  },
  {
    name: "a mode that lets others write to it",
    code: "shared-pod",
    arrange: (garbage) => Deno.chmod(garbage, 0o777),
  },
  {
    name: "a garbage around it that everybody can write to",
    code: "shared-pod",
    arrange: (garbage) => Deno.chmod(`${garbage}/..`, 0o777),
  },
];

for (const { name, code, arrange } of ASIDE) {
  Deno.test(`collectPods() does not remove what is aside, with ${name}`, async () => {
    await using dir = await tempDir();
    const scene = await setScene(dir);
    await collectPods({ pods: scene.pods, phase: "mark" });
    await arrange(`${scene.pods}/garbage/a`, scene);
    const before = await disk(dir.path);
    const request = { pods: scene.pods, gracePeriodMs: 0 };
    const collected = await collectPods(request);
    assertEquals(brief(collected, dir).kept, [`pods/garbage/a: ${code}`]);
    assertEquals(collected.kept[0]?.failed, true);
    await assertRejects(() => collectPods({ pod: scene.pod }), RefusedError);
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("collectPods() does not remove what is aside and used by another process", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir);
  await collectPods({ pods: scene.pods, phase: "mark" });
  await using _holder = await holdLock(`${scene.pods}/garbage/a/overlay.lock`);
  const before = await disk(dir.path);
  const collected = await collectPods({ pods: scene.pods, gracePeriodMs: 0 });
  assertEquals(brief(collected, dir).kept, ["pods/garbage/a: locked"]);
  assertEquals(collected.kept[0]?.failed, false);
  assertEquals(await disk(dir.path), before);
});

Deno.test("collectPods() does not follow a link that lies in the garbage", async () => {
  await using dir = await tempDir();
  const scene = await setScene(dir);
  await Deno.mkdir(`${scene.pods}/garbage`, { mode: 0o700 });
  // To a pod elsewhere, that could be removed.
  await sh("mv", scene.pod, `${scene.data}/pod`);
  await Deno.symlink(`${scene.data}/pod`, `${scene.pods}/garbage/a`);
  const before = await disk(dir.path);
  await collectPods({ pods: scene.pods, gracePeriodMs: 0 });
  assertEquals(await disk(dir.path), before);
  await assertRejects(() => collectPods({ pod: scene.pod }));
  assertEquals(await disk(dir.path), before);
});

Deno.test("collectPods() unmounts what came into the garbage with a pod, unless it is in use", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "a");
  const garbage = `${place.pods}/garbage`;
  await Deno.mkdir(garbage, { mode: 0o700 });
  // A directory can be renamed that something is mounted in.
  await sh("mv", pod, garbage);
  const rootfs = `${garbage}/a/apps/web/rootfs`;
  assertEquals(await mountsBelow(dir.path), [rootfs]);
  const request = { pods: place.pods, gracePeriodMs: 0 };
  {
    await using _process = await occupy(rootfs);
    const before = await disk(dir.path);
    const collected = await collectPods(request);
    assertEquals(brief(collected, dir).kept, ["pods/garbage/a: busy"]);
    assertStringIncludes(`${collected.kept[0]?.reason}`, `"${rootfs}"`);
    assertEquals(await disk(dir.path), before);
  }
  assertEquals(brief(await collectPods(request), dir).removed, ["pods/garbage/a"]);
  assertEquals([await mountsBelow(dir.path), await namesIn(place.pods)], [[], []]);
});

Deno.test("collectPods() loses nothing of a pod that has the name of the garbage", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  // Rendered from a tree of that name, its overlay directory looks like a pod's.
  const request = { lower: place.lower, tree: "overlay", app: "web", options: MARKS };
  const { upper } = await prepareOverlay({ ...request, pod: `${place.pods}/garbage` });
  await Deno.writeTextFile(`${upper}/made`, "kept");
  const before = await snapshot(`${place.pods}/garbage`);
  await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(await snapshot(`${place.pods}/garbage`), before);
  // And another one is removed, or stays; but does not end in it.
  await preparedPod(place, "a");
  await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(await isMissing(`${place.pods}/garbage/a`), true);
  assertEquals(await snapshot(`${place.pods}/garbage`), before);
});
