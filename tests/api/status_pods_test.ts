/**
 * The status of many pods: what is rendered, what it takes on the disk, and where `overlay.fstab` and the
 * kernel differ.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  OverlayError,
  overlayStatus,
  permissionFlags,
  prepareOverlay,
  renderOverlay,
  statusPermissions,
} from "../../mod.ts";
import type { OverlayStatus } from "../../mod.ts";
import { cli } from "../_cli.ts";
import { assertFails, disk, runMain } from "../_main.ts";
import {
  counter,
  idlePod,
  makePlace,
  mountedPod,
  nestedPod,
  preparedPod,
  rebootedPod,
} from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { STRANGER, swapping } from "../_swapper.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree, MARKS } from "../_tree.ts";

/** What is said of each app in few words: pod, app, state, drift. */
function words(renders: readonly OverlayStatus[], { path }: TempDir): string[] {
  return renders.map(({ pod, app, mounted, drift }) => {
    const state = `${mounted ? "mounted" : "unmounted"}${drift === undefined ? "" : ` ${drift}`}`;
    return `${pod.replace(`${path}/`, "")} ${app}: ${state}`;
  });
}

Deno.test("overlayStatus() says what is rendered in all pods of a directory, in the order of their names", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await mountedPod(place, "c");
  await idlePod(place, "b");
  await nestedPod(place, "a");
  await preparedPod(place, "d");
  await Deno.mkdir(`${place.pods}/empty`);
  await Deno.mkdir(`${place.pods}/data/overlay.fstab`, { recursive: true });
  await Deno.writeTextFile(`${place.pods}/file`, "");
  await Deno.symlink(`${place.pods}/a`, `${place.pods}/link`);
  await sh("cp", "-a", `${place.pods}/b`, `${place.pods}/garbage`);
  const before = await disk(dir.path);
  const { trace, count } = counter();
  const renders = await overlayStatus({ pods: place.pods }, { trace });
  assertEquals(words(renders, dir), [
    "pods/a : mounted",
    "pods/a web: mounted",
    "pods/a db: mounted",
    "pods/b web: unmounted",
    "pods/c web: mounted",
    "pods/d web: unmounted",
  ]);
  assertEquals(count("findmnt"), 1);
  assertEquals(renders.filter((one) => "drift" in one || "size" in one), []);
  assertEquals(await disk(dir.path), before);
});

Deno.test("overlayStatus() of one pod is the same however it is asked for", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await nestedPod(place, "a");
  const renders = await overlayStatus(pod);
  assertEquals(renders.length, 3);
  assertEquals(await overlayStatus({ pod }), renders);
  assertEquals(await overlayStatus({ pods: place.pods }), renders);
});

Deno.test("overlayStatus() of a directory without pods is empty, and of none at all an error", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  assertEquals(await overlayStatus({ pods: place.pods }), []);
  assertEquals(await overlayStatus({ pods: place.pods, size: true }), []);
  for (const request of [{ pod: dir.join("none") }, { pods: dir.join("none") }]) {
    const error = await assertRejects(() => overlayStatus(request), OverlayError);
    assertEquals([error.code, error.path], ["missing", dir.join("none")]);
  }
  const file = dir.join("image", "file");
  const error = await assertRejects(() => overlayStatus({ pods: file }), OverlayError);
  assertEquals([error.code, error.path], ["not-a-directory", file]);
});

Deno.test("overlayStatus() says that an app is not mounted which was, as after a reboot", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await nestedPod(place, "a");
  await rebootedPod(place, "b");
  await idlePod(place, "c");
  for (const mount of (await mountsBelow(pod)).reverse()) await sh("umount", "--", mount);
  assertEquals(words(await overlayStatus({ pods: place.pods }), dir), [
    "pods/a : unmounted not-mounted",
    // Their directories are in the image's upper, and not gone.
    "pods/a web: unmounted not-mounted",
    "pods/a db: unmounted not-mounted",
    "pods/b web: unmounted not-mounted",
    "pods/c web: unmounted",
  ]);
});

Deno.test("overlayStatus() says that an app is mounted by hand which its line does not say", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs } = await idlePod(place, "a");
  await sh("mount", "--fstab", `${pod}/overlay.fstab`, "--", rootfs);
  assertEquals(words(await overlayStatus({ pod }), dir), ["pods/a web: mounted not-recorded"]);
});

Deno.test("overlayStatus() says that something else is mounted on a rootfs, whatever the line says", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const pods = [
    await idlePod(place, "idle"),
    await rebootedPod(place, "rebooted"),
    await mountedPod(place, "under"),
  ];
  for (const { rootfs } of pods) await sh("mount", "-t", "tmpfs", "tmpfs", "--", rootfs);
  assertEquals(words(await overlayStatus({ pods: place.pods }), dir), [
    "pods/idle web: unmounted foreign",
    "pods/rebooted web: unmounted foreign",
    "pods/under web: unmounted foreign",
  ]);
});

/** What can be gone of an app. */
const GONE: readonly [string, (app: Parts) => string][] = [
  ["lower", ({ lower }) => lower],
  ["upper", ({ upper }) => upper],
  ["work", ({ upper }) => upper.replace("/upper/", "/work/")],
  ["rootfs", ({ rootfs }) => rootfs],
];

interface Parts {
  readonly lower: string;
  readonly upper: string;
  readonly rootfs: string;
}

for (const [what, pathOf] of GONE) {
  Deno.test(`overlayStatus() says that the ${what} of an app is missing`, async () => {
    for (const make of [prepareOverlay, renderOverlay]) {
      await using dir = await tempDir();
      const { pods, lower } = await makePlace(dir);
      const lost = await makeTree(dir.join("lost"));
      const request = { lower: lost, pod: `${pods}/a`, app: "web", options: MARKS };
      const { rootfs, upper } = await make(request);
      await prepareOverlay({ ...request, lower, app: "db" });
      if (make === renderOverlay) await sh("umount", "--", rootfs);
      const path = pathOf({ lower: lost, upper: `${upper}`, rootfs });
      await Deno.remove(path, { recursive: true });
      const renders = await overlayStatus({ pods });
      assertEquals(words(renders, dir), [
        "pods/a web: unmounted missing",
        "pods/a db: unmounted",
      ]);
      // A file in its place is as good as nothing.
      await Deno.writeTextFile(path, "");
      assertEquals((await overlayStatus({ pods }))[0]?.drift, "missing");
    }
  });
}

Deno.test("overlayStatus() says that a lower of many is missing, and that of a view", async () => {
  await using dir = await tempDir();
  const { pods, lower } = await makePlace(dir);
  const [top, lost] = [await makeTree(dir.join("top")), await makeTree(dir.join("lost"))];
  const request = { pod: `${pods}/a`, options: MARKS };
  await prepareOverlay({ ...request, lower: [top, lost, lower], app: "many", tree: "many" });
  await prepareOverlay({ lower: lost, pod: request.pod, app: "view", readOnly: true });
  await Deno.remove(lost, { recursive: true });
  assertEquals(words(await overlayStatus({ pods }), dir), [
    "pods/a many: unmounted missing",
    "pods/a view: unmounted missing",
  ]);
});

Deno.test("overlayStatus() does not call missing what a mounted app no longer needs", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await mountedPod(place, "a");
  await Deno.rename(place.lower, dir.join("moved"));
  assertEquals(words(await overlayStatus({ pod }), dir), ["pods/a web: mounted"]);
});

/** What du(1) says of a directory, without the directory itself. */
async function usage(path: string): Promise<{ bytes: number; files: number }> {
  const total = async (...flags: string[]): Promise<number> => {
    return Number.parseInt(await sh("du", "--summarize", ...flags, "--", path));
  };
  const { blocks } = await Deno.lstat(path);
  return {
    bytes: await total("--block-size=1") - (blocks ?? 0) * 512,
    files: await total("--inodes") - 1,
  };
}

Deno.test("overlayStatus() measures each upper as du does", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs, upper } = await mountedPod(place, "a");
  const other = await idlePod(place, "b", { app: "other" });
  await Deno.writeFile(`${rootfs}/large`, new Uint8Array(300_000));
  await Deno.link(`${rootfs}/large`, `${rootfs}/large-too`);
  await Deno.mkdir(`${rootfs}/a/b/c`, { recursive: true });
  for (let i = 0; i < 20; i++) {
    await Deno.writeTextFile(`${rootfs}/a/b/c/${i}`, "x".repeat(i * 500));
  }
  await sh("truncate", "--size=1G", `${rootfs}/sparse`);
  await Deno.symlink("/", `${rootfs}/root`);
  await Deno.symlink(".", `${rootfs}/loop`);
  await Deno.remove(`${rootfs}/gone`);
  await sh("mkfifo", `${rootfs}/pipe`);
  await sh("sync", "--file-system", upper);

  const [a, b] = await overlayStatus({ pods: place.pods, size: true });
  assertEquals(a?.size, await usage(upper));
  assertEquals(b?.size, await usage(other.upper));
  assertEquals((a?.size?.bytes ?? 0) > 300_000, true);
  assertEquals((a?.size?.bytes ?? 0) < 2_000_000, true, "a sparse file or a link counted in full");
  assertEquals((await overlayStatus({ pod, size: true }))[0]?.size, a?.size);
});

Deno.test("overlayStatus() counts a file with several names once", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, upper } = await preparedPod(place, "a");
  await Deno.writeFile(`${upper}/made`, new Uint8Array(100_000));
  const size = async (): Promise<unknown> => (await overlayStatus({ pod, size: true }))[0]?.size;
  const before = await size();
  for (const name of ["one", "two"]) await Deno.link(`${upper}/made`, `${upper}/${name}`);
  assertEquals(await size(), before);
});

Deno.test("overlayStatus() measures nothing of a view, nor of an upper that is not there", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, upper } = await preparedPod(place, "a");
  await prepareOverlay({ lower: place.lower, pod, app: "view", readOnly: true });
  const other = await preparedPod(place, "b");
  await Deno.remove(upper, { recursive: true });
  const renders = await overlayStatus({ pods: place.pods, size: true });
  assertEquals(words(renders, dir), [
    "pods/a web: unmounted missing",
    "pods/a view: unmounted",
    "pods/b web: unmounted",
  ]);
  assertEquals(renders[1]?.size, undefined);
  assertEquals(renders[2]?.size, await usage(other.upper));
});

/** Names that Deno does not see as they are: as a directory, a file, a second name, a link, and deep down. */
const ODD_NAMES: readonly [what: string, script: string][] = [
  // Deno shows the name of the directory as that of the link.
  ...[".", "/usr/bin"].map((target): [string, string] => [
    `a directory beside a link to ${target} that looks alike`,
    `mkdir $'odd\\377' && echo a >$'odd\\377/a' && ln -s ${target} $'odd\\357\\277\\275'`,
  ]),
  ["a file", `head -c 100000 /dev/zero >$'\\344'`],
  ["two names of a file", `head -c 100000 /dev/zero >a && ln a $'\\344' && ln a $'\\345'`],
  [
    "a directory far down",
    `mkdir -p a/b/c/$'\\377'/d && head -c 9000 /dev/zero >a/b/c/$'\\377'/d/e`,
  ],
  ["a sparse file and a device", `truncate -s 1G $'\\344' && mkfifo $'\\345\\n1:2 3'`],
  ["no such name", `echo a >$'\\357\\277\\275'`],
];

for (const [what, script] of ODD_NAMES) {
  Deno.test(`overlayStatus() measures as du does what has names that are not UTF-8: ${what}`, async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const { pod, upper } = await preparedPod(place, "a");
    await sh("bash", "-c", `cd "$1" && ${script} && sync --file-system .`, "bash", upper);
    const [app] = await overlayStatus({ pod, size: true });
    assertEquals(app?.size, await usage(upper));
    await sh("rm", "-r", "--", upper);
  });
}

Deno.test("overlayStatus() measures a path that is longer than the kernel takes at once", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, upper } = await preparedPod(place, "a");
  const deep = 'cd "$1" && for i in $(seq 30); do mkdir "$2" && cd -P "./$2" || exit; done';
  await sh("bash", "-c", deep, "bash", upper, "d".repeat(200));
  const [app] = await overlayStatus({ pod, size: true });
  assertEquals(app?.size?.files, 31);
  await sh("rm", "-r", "--", upper);
});

Deno.test({
  name: "overlayStatus() measures nothing that an app which is running leads to by a link",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    await Deno.chmod(dir.path, 0o755);
    const place = await makePlace(dir);
    const { pod, upper } = await preparedPod(place, "a");
    const [own, victim] = [`${upper}/own`, dir.join("victim")];
    await Deno.mkdir(`${own}/directory`, { recursive: true });
    await Deno.mkdir(victim);
    for (let at = 0; at < 50; at++) await Deno.writeTextFile(`${victim}/${at}`, "");
    await Deno.symlink(victim, `${own}/link`);
    await sh("chown", "--no-dereference", "--recursive", String(STRANGER), own);
    for (const path of [pod, `${pod}/overlay`, `${pod}/overlay/image`]) {
      await Deno.chmod(path, 0o755);
    }
    await using _racer = swapping(`${own}/directory`, `${own}/link`);
    const most = 4;
    for (let round = 0; round < 200; round++) {
      const [app] = await overlayStatus({ pod, size: true });
      assert((app?.size?.files ?? 0) <= most, `${app?.size?.files} files in round ${round}`);
    }
  },
});

Deno.test("overlay-render status --pods prints a table with the pods", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const up = await mountedPod(place, "up");
  const down = await rebootedPod(place, "down");
  const { status, stdout, stderr } = await runMain(["status", `--pods=${place.pods}`]);
  assertEquals([status, stderr], [0, ""]);
  assertEquals(stdout.split("\n").map((line) => line.split(/ {2,}/)), [
    ["POD", "APP", "TREE", "STATE", "ROOTFS"],
    [down.pod, "web", "image", "to be restored", down.rootfs],
    [up.pod, "web", "image", "mounted", up.rootfs],
    [""],
  ]);
});

Deno.test("overlay-render status --size prints bytes and files", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod, rootfs, upper } = await mountedPod(place, "a");
  const { bytes, files } = await usage(upper);
  const row = ["web", "image", "mounted", `${bytes}`, `${files}`, rootfs];
  const header = ["APP", "TREE", "STATE", "BYTES", "FILES", "ROOTFS"];
  const one = await runMain(["status", `--pod=${pod}`, "--size"]);
  assertEquals(one.stdout.split("\n").map((line) => line.split(/ {2,}/)), [header, row, [""]]);
  const all = await runMain(["status", `--pods=${place.pods}`, "--size"]);
  assertEquals(all.stdout.split("\n").map((line) => line.split(/ {2,}/)), [
    ["POD", ...header],
    [pod, ...row],
    [""],
  ]);
});

Deno.test("overlay-render status --json prints drift and size where there is one", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await mountedPod(place, "up");
  await rebootedPod(place, "down");
  for (const flags of [[], ["--size"]]) {
    const { status, stdout, stderr } = await runMain([
      ...["status", "--json", `--pods=${place.pods}`, ...flags],
    ]);
    assertEquals([status, stderr], [0, ""]);
    assertMatch(stdout, /^{"version":1,"renders":\[.*\]}\n$/);
    const { renders: [down, up] } = JSON.parse(stdout);
    assertEquals([down.drift, "drift" in up], ["not-mounted", false]);
    const form = flags.length > 0 ? ["bytes", "files"] : [];
    assertEquals([down, up].map(({ size }) => Object.keys(size ?? {})), [form, form]);
    assertEquals(
      JSON.parse(stdout).renders,
      await overlayStatus({ pods: place.pods, ...(flags.length > 0 ? { size: true } : {}) }),
    );
  }
});

Deno.test("overlay-render status --pods says so when nothing is rendered", async () => {
  await using dir = await tempDir();
  const { pods } = await makePlace(dir);
  const text = await runMain(["status", `--pods=${pods}`]);
  assertEquals(text, { status: 0, stdout: "", stderr: `nothing is rendered in "${pods}"\n` });
  const json = await runMain(["status", "--json", "--quiet", `--pods=${pods}`]);
  assertEquals(json, { status: 0, stdout: '{"version":1,"renders":[]}\n', stderr: "" });
});

Deno.test("overlay-render status refuses flags that do not go together, and what is not there", async () => {
  await using dir = await tempDir();
  const { pods } = await makePlace(dir);
  const usage = { status: 2, code: "usage" };
  await assertFails(dir.path, ["status"], usage);
  await assertFails(dir.path, ["status", `--pods=${pods}`, `--pod=${pods}/a`], usage);
  await assertFails(dir.path, ["status", `--pods=${pods}`, "--app=a"], usage);
  const missing = { status: 1, code: "missing", path: dir.join("none") };
  await assertFails(dir.path, ["status", `--pods=${dir.join("none")}`], missing);
});

Deno.test("overlay-render status --pods needs the permissions that statusPermissions() names", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await mountedPod(place, "up");
  await rebootedPod(place, "down");
  const flags = permissionFlags(statusPermissions(place.pods));
  const args = ["status", "--pods", place.pods, "--size", "--json"];
  const { status, stdout, stderr } = await cli(args, { flags });
  assertEquals([status, stderr], [0, ""]);
  assertEquals(
    JSON.parse(stdout).renders,
    await overlayStatus({ pods: place.pods, size: true }),
  );
  const none = await cli(args, { flags: flags.slice(1) });
  assertEquals(JSON.parse(none.stdout).error.code, "permission");
  assertEquals(none.status, 4);
});
