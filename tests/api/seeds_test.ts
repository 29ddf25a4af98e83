import { assertEquals } from "@std/assert";
import { renderOverlay, unmountOverlay } from "../../mod.ts";
import type { ProfileName } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** Ids of nobody's here; in a user namespace only its own root is mapped. */
const [UID, GID, POD_GROUP, GROUP] = isRealRoot ? [123, 456, 789, 1011] : [0, 0, 0, 0];

const PROFILES: readonly ProfileName[] = ["rootfs-mode", "fixed-mode", "manifest"];
const LOWER_MODES = [0o755, 0o750, 0o700, 0o1777, 0o2755];
const UMASKS = [0o000, 0o022, 0o077];
const APPS = ["web", ""];

/** One row of the table: who renders what, and how. */
interface Row {
  readonly profile: ProfileName;
  readonly lowerMode: number;
  readonly umask: number;
  readonly app: string;
}

const ROWS: readonly Row[] = PROFILES.flatMap((profile) =>
  LOWER_MODES.flatMap((lowerMode) =>
    UMASKS.flatMap((umask) => APPS.map((app) => ({ profile, lowerMode, umask, app })))
  )
);

function octal(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

function nameOf({ profile, lowerMode, umask, app }: Row): string {
  const what = app === "" ? "the pod's own image" : `app ${app}`;
  return `${profile}, ${what}, lower ${octal(lowerMode)}, umask ${octal(umask).slice(1)}`;
}

/** A lower, a manifest, and a pod that hands its group down to what is made in it. */
async function setUp(dir: TempDir, lowerMode: number): Promise<void> {
  const lower = await makeTree(dir.join("image"));
  await Deno.chown(lower, UID, GID);
  await Deno.chmod(lower, lowerMode);
  await Deno.writeTextFile(dir.join("manifest.json"), "{}");
  await Deno.mkdir(dir.join("pod"));
  await Deno.chown(dir.join("pod"), 0, POD_GROUP);
  await Deno.chmod(dir.join("pod"), 0o2750);
}

/** What must lie in the pod, as mode, owner and group of each path. */
function expected({ profile, lowerMode, app }: Row): Record<string, string> {
  const stat = (mode: number, uid = 0, gid = 0) => `${octal(mode)} ${uid}:${gid}`;
  const likeLower = profile === "rootfs-mode";
  const dirMode = profile === "manifest" ? 0o755 : 0o750;
  const directory = stat(dirMode);
  // What is made in the pod itself takes its group, so that the group can go in; never its mode.
  const top = stat(dirMode, 0, POD_GROUP);
  const root = likeLower ? stat(lowerMode, UID, GID) : directory;
  const own = app === ""
    ? {
      "overlay/image/upper": root,
      "overlay/image/work": directory,
      "stage1/manifest": stat(0o640),
      "stage1/rootfs": root,
    }
    : {
      "overlay/image/upper": likeLower ? stat(lowerMode & 0o755) : directory,
      [`overlay/image/upper/${app}`]: root,
      "overlay/image/work": directory,
      [`overlay/image/work/${app}`]: directory,
      "stage1/rootfs": directory,
      "stage1/rootfs/opt": directory,
      "stage1/rootfs/opt/stage2": directory,
      [`stage1/rootfs/opt/stage2/${app}`]: directory,
      [`stage1/rootfs/opt/stage2/${app}/manifest`]: stat(0o640),
      [`stage1/rootfs/opt/stage2/${app}/rootfs`]: root,
    };
  return {
    "": stat(0o2750, 0, POD_GROUP),
    "overlay": top,
    "overlay/image": stat(dirMode, 0, profile === "manifest" ? 0 : GROUP),
    "overlay.fstab": stat(0o644, 0, POD_GROUP),
    "overlay.lock": stat(0o600, 0, POD_GROUP),
    "stage1": top,
    ...own,
  };
}

/** The same at the default destination. The manifest in the pod itself takes its group. */
function atDefault(rkt: Record<string, string>, { app }: Row): Record<string, string> {
  const moved = Object.entries(rkt).flatMap(([path, stat]): [string, string][] => {
    if (!path.startsWith("stage1")) return [[path, stat]];
    if (app !== "") {
      if (path === "stage1") return [["apps", stat]];
      const inApps = path.replace("stage1/rootfs/opt/stage2/", "apps/");
      return inApps === path ? [] : [[inApps, stat]];
    }
    if (path === "stage1") return [];
    const inherits = path === "stage1/manifest";
    return [[path.slice("stage1/".length), inherits ? stat.replace(/:.*/, `:${POD_GROUP}`) : stat]];
  });
  return Object.fromEntries(moved);
}

/** Everything that lies in the pod; of the work not what the kernel keeps in it. */
async function found(pod: string): Promise<Record<string, string>> {
  const format = "%P\\t%04m %U:%G\\n";
  const listing = await sh("find", pod, "-xdev", "-printf", format);
  const lines = listing.split("\n").filter((line) => line !== "" && !/\/work\t0000 /.test(line));
  return Object.fromEntries(lines.map((line) => line.split("\t")));
}

function request(dir: TempDir, row: Row): Parameters<typeof renderOverlay>[0] {
  return {
    lower: dir.join("image"),
    pod: dir.join("pod"),
    app: row.app,
    profile: row.profile,
    group: GROUP,
    manifest: dir.join("manifest.json"),
    layout: "rkt",
    options: MARKS,
  };
}

/** Runs with a umask of its own; nothing else runs meanwhile. */
async function underUmask<T>(umask: number, act: () => Promise<T>): Promise<T> {
  const before = Deno.umask(umask);
  try {
    return await act();
  } finally {
    Deno.umask(before);
  }
}

for (const row of ROWS) {
  Deno.test(`renderOverlay() leaves what the table says: ${nameOf(row)}`, async () => {
    await using dir = await tempDir();
    await setUp(dir, row.lowerMode);
    const lowerBefore = await snapshot(dir.join("image"));
    await underUmask(row.umask, async () => {
      const { rootfs, upper } = await renderOverlay(request(dir, row));
      const kept = expected(row);
      const below = await found(dir.join("pod"));
      assertEquals(Object.entries(below).sort(), Object.entries(kept).sort());

      await Deno.writeTextFile(`${rootfs}/made`, "by the app");
      await Deno.mkdir(`${rootfs}/etc/made`);
      await Deno.remove(`${rootfs}/gone`);
      const made = await Deno.stat(`${rootfs}/made`);
      assertEquals(octal((made.mode ?? 0) & 0o7777), octal(0o666 & ~row.umask));
      const madeInside = await Deno.stat(`${rootfs}/etc/made`);
      assertEquals(octal((madeInside.mode ?? 0) & 0o7777), octal(0o777 & ~row.umask));
      assertEquals(await Deno.readTextFile(`${upper}/made`), "by the app");
      assertEquals(await isMissing(`${rootfs}/gone`), true);
      assertEquals(await Deno.readTextFile(`${rootfs}/link`), "from the tree");
      await unmountOverlay({ pod: dir.join("pod") });
      const unmounted = await found(dir.join("pod"));
      assertEquals(Object.keys(kept).map((path) => [path, unmounted[path]]), Object.entries(kept));
    });
    assertEquals(await snapshot(dir.join("image")), lowerBefore);
  });
}

Deno.test("renderOverlay() lets only a setgid lower hand its group down", async () => {
  await using dir = await tempDir();
  for (const lowerMode of [0o755, 0o2755]) {
    const pod = dir.join(`pod-${octal(lowerMode)}`);
    const lower = await makeTree(dir.join(`image-${octal(lowerMode)}`));
    await Deno.chown(lower, UID, GID);
    await Deno.chmod(lower, lowerMode);
    await using render = await renderOverlay({ lower, pod, app: "web", options: MARKS });
    await Deno.writeTextFile(`${render.rootfs}/made`, "");
    await Deno.mkdir(`${render.rootfs}/directory`);
    const setgid = lowerMode & 0o2000;
    const file = await Deno.stat(`${render.rootfs}/made`);
    assertEquals([(file.mode ?? 0) & 0o2000, file.gid], [0, setgid === 0 ? 0 : GID]);
    const directory = await Deno.stat(`${render.rootfs}/directory`);
    assertEquals([(directory.mode ?? 0) & 0o2000, directory.gid], [setgid, setgid === 0 ? 0 : GID]);
  }
});

for (const profile of PROFILES) {
  for (const app of APPS) {
    const row: Row = { profile, lowerMode: 0o1777, umask: 0o077, app };

    Deno.test(`renderOverlay() leaves the same at the default destination: ${nameOf(row)}`, async () => {
      await using dir = await tempDir();
      await setUp(dir, row.lowerMode);
      const { layout: _layout, ...rest } = request(dir, row);
      await underUmask(row.umask, async () => void await renderOverlay(rest));
      assertEquals(await found(dir.join("pod")), atDefault(expected(row), row));
    });
  }

  Deno.test(`overlay-render render leaves what the table says: ${profile}, as a command`, async () => {
    await using dir = await tempDir();
    const row: Row = { profile, lowerMode: 0o1777, umask: 0o077, app: "web" };
    await setUp(dir, row.lowerMode);
    const args = ["--lower", dir.join("image"), "--pod", dir.join("pod"), "--app", "web"];
    const more = [
      "--profile",
      profile,
      "--group",
      `${GROUP}`,
      "--manifest",
      "manifest.json",
      "--layout",
      "rkt",
    ];
    const marks = MARKS.map((mark) => `--option=${mark}`);
    const { status, stderr } = await cli(["render", ...args, ...more, ...marks], {
      umask: "077",
      cwd: dir.path,
    });
    assertEquals([status, stderr], [0, ""]);
    const kept = Object.entries(expected(row)).sort();
    assertEquals(Object.entries(await found(dir.join("pod"))).sort(), kept);
  });

  Deno.test(`renderOverlay() treats an overlay that is there as ${profile} says`, async () => {
    await using dir = await tempDir();
    await setUp(dir, 0o755);
    await Deno.mkdir(dir.join("pod", "overlay"));
    await Deno.chmod(dir.join("pod", "overlay"), 0o2711);
    await renderOverlay(request(dir, { profile, lowerMode: 0o755, umask: 0o022, app: "web" }));
    const { overlay } = await found(dir.join("pod"));
    const mode = profile === "manifest" ? "2711" : "0750";
    assertEquals(overlay, `${mode} 0:${POD_GROUP}`);
  });

  Deno.test(`renderOverlay() takes the dir mode of the request with ${profile}`, async () => {
    await using dir = await tempDir();
    await setUp(dir, 0o755);
    const row: Row = { profile, lowerMode: 0o755, umask: 0o077, app: "web" };
    await underUmask(row.umask, async () => {
      await renderOverlay({ ...request(dir, row), dirMode: "0711" });
    });
    const paths = await found(dir.join("pod"));
    const directories = ["overlay", "overlay/image", "overlay/image/work/web", "stage1/rootfs/opt"];
    const modes = directories.map((path) => paths[path]?.slice(0, 4));
    assertEquals(modes, ["0711", "0711", "0711", "0711"]);
    const root = profile === "rootfs-mode" ? "0755" : "0711";
    assertEquals(paths["overlay/image/upper/web"]?.slice(0, 4), root);
    assertEquals(paths["stage1/rootfs/opt/stage2/web/rootfs"]?.slice(0, 4), root);
  });

  Deno.test(`renderOverlay() sets no group that was not asked for with ${profile}`, async () => {
    await using dir = await tempDir();
    await setUp(dir, 0o755);
    const row: Row = { profile, lowerMode: 0o755, umask: 0o022, app: "web" };
    const { group: _group, ...rest } = request(dir, row);
    await renderOverlay(rest);
    const paths = await found(dir.join("pod"));
    assertEquals(paths["overlay/image"]?.slice(5), "0:0");
  });
}

for (const umask of UMASKS) {
  Deno.test(`renderOverlay() makes a missing pod 0750 under umask ${octal(umask)}`, async () => {
    await using dir = await tempDir();
    await makeTree(dir.join("image"));
    await underUmask(umask, async () => {
      const pod = dir.join("pod");
      await renderOverlay({ lower: dir.join("image"), pod, app: "web", options: MARKS });
    });
    assertEquals((await found(dir.join("pod")))[""], "0750 0:0");
  });
}
