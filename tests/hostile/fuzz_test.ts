/**
 * Random requests over random disks, on the real kernel: our verdict and the kernel's must agree, or it is
 * known why what the kernel takes is unsafe; and whatever comes of it, nothing but the pod may change.
 *
 * How many are drawn can be said in the environment: OVERLAY_RENDER_FUZZ_CASES. The random numbers start
 * at OVERLAY_RENDER_FUZZ_SEED.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { OverlayError, renderOverlay, unmountOverlay } from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { mountRamfs, mountTooDeep } from "../_disks.ts";
import { assertKernelAgrees } from "../_oracle.ts";
import { isRealRoot } from "../_privilege.ts";
import { nastyName, random } from "../_random.ts";
import type { Random } from "../_random.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import { isMissing } from "../_tree.ts";

const CASES = Number(Deno.env.get("OVERLAY_RENDER_FUZZ_CASES") ?? 2000);
const SEED = Number(Deno.env.get("OVERLAY_RENDER_FUZZ_SEED") ?? 1);

/** What must have come up in a run of the usual length, so that it is known that it was tried. */
const EXPECTED: readonly string[] = [
  ...["mounted", "mount-failed", "missing", "not-a-directory", "lower-twice", "lower-nested"],
  ...["crossing", "symlink", "volatile", "different", "foreign-mount", "different-devices"],
  ...["upper-on-overlay", "upper-read-only", "upper-without-xattr", "shared-pod", "in-use"],
  ...["conflicting-options", "invalid-value"],
];

const OPTIONS: readonly string[] = [
  ...["volatile", "userxattr", "nosuid", "nodev", "xino=off", "xino=auto"],
  ...["index", "metacopy", "nfs_export"].flatMap((name) => [`${name}=on`, `${name}=off`]),
  ...["on", "off", "follow", "nofollow"].map((value) => `redirect_dir=${value}`),
];

/** One thing that could be wrong with a disk; it is given the directory of the case. */
type Mess = (scene: Scene) => void | Promise<void>;

interface Scene {
  readonly top: string;
  readonly pod: string;
  readonly app: string;
  /** Everything that a lower could be. */
  readonly lowers: readonly string[];
  readonly source: Random;
}

function upperOf({ pod, app }: Scene, word = "upper"): string {
  return `${pod}/overlay/t/${word}/${app}`;
}

async function renderBefore(scene: Scene, tree: string): Promise<void> {
  const { top, pod, app, source } = scene;
  const lower = pod.startsWith(tree) ? `${top}/other` : tree;
  await renderOverlay({ lower: [lower], tree: "t", pod, app });
  await Deno.writeTextFile(`${upperOf(scene)}/kept`, "by a user");
  if (source.int(2) === 0) await unmountOverlay({ pod });
}

async function link(path: string, target: string): Promise<void> {
  await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o750 });
  await Deno.symlink(target, path);
}

async function tmpfs(path: string, ...options: string[]): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode: 0o750 });
  await sh("mount", "-t", "tmpfs", "-o", ["mode=0750", ...options].join(), "tmpfs", "--", path);
}

/** An overlay that is not ours, with the given upper and work. */
async function overlayAt(target: string, upper: string, work: string): Promise<void> {
  const lower = `${target}-lower`;
  for (const path of [target, lower, upper, work]) {
    await Deno.mkdir(path, { recursive: true, mode: 0o750 });
  }
  const layers = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  await sh("mount", "-t", "overlay", "-o", layers, "overlay", "--", target);
}

const MESSES: readonly Mess[] = [
  (scene) => renderBefore(scene, `${scene.top}/tree`),
  (scene) => renderBefore(scene, `${scene.top}/other`),
  (scene) => Deno.mkdir(upperOf(scene), { recursive: true, mode: 0o750 }),
  (scene) => link(upperOf(scene), `${scene.top}/victim`),
  (scene) => link(upperOf(scene, "work"), `${scene.top}/victim`),
  ({ top, pod }) => link(`${pod}/overlay`, `${top}/victim`),
  ({ top, pod }) => link(`${pod}/overlay.fstab`, `${top}/victim/file`),
  ({ top, pod }) => link(pod, `${top}/victim`),
  async ({ pod }) => {
    await Deno.mkdir(pod);
    await Deno.writeTextFile(`${pod}/overlay`, "a file");
  },
  async ({ pod }) => {
    await Deno.mkdir(pod);
    await Deno.chmod(pod, 0o777);
  },
  (scene) => Deno.mkdir(`${upperOf(scene, "work")}/work/incompat/volatile`, { recursive: true }),
  ({ pod }) => tmpfs(pod),
  ({ pod }) => tmpfs(pod, "ro"),
  (scene) => tmpfs(upperOf(scene)),
  async ({ pod }) => void await mountRamfs(pod),
  async ({ top }) => void await mountTooDeep(`${top}/other`),
  async (scene) => {
    const work = upperOf(scene, "work");
    await Deno.mkdir(work, { recursive: true, mode: 0o750 });
    await sh("mount", "--bind", "--", work, work);
  },
  ({ pod }) => tmpfs(`${pod}/apps/web/rootfs`),
  ({ top, pod }) => overlayAt(pod, `${top}/u`, `${top}/w`),
  (scene) => overlayAt(`${scene.top}/foreign`, upperOf(scene), upperOf(scene, "work")),
];

/** Makes what a case needs, with one mess or none. */
async function makeScene(top: string, source: Random): Promise<Scene> {
  const nasty = `${top}/${nastyName(source)}`;
  for (const path of ["tree/etc/deep", "other/etc", "victim", "pods"]) {
    await Deno.mkdir(`${top}/${path}`, { recursive: true });
  }
  await Deno.mkdir(nasty, { recursive: true });
  for (const path of [`${top}/tree`, `${top}/other`, `${top}/victim`, nasty]) {
    await Deno.writeTextFile(`${path}/file`, `of ${path}`);
  }
  await Deno.symlink("tree", `${top}/link`);
  const pod = source.pick([...Array(9).fill(`${top}/pods/pod`), `${top}/tree/etc/pod`]);
  const lowers = [
    ...[`${top}/tree`, `${top}/tree`, `${top}/other`, `${top}/other`, nasty, nasty],
    ...[`${top}/link`, `${top}/tree/etc`, `${top}/tree/etc/deep`, `${top}/none`],
    ...[`${top}/tree/file`, `${pod}/overlay/t/upper/web`, `${top}/pods`],
  ];
  const scene = { top, pod, lowers, source, app: source.pick(["web", "web", "web", "db"]) };
  if (source.int(3) > 0) await source.pick(MESSES)(scene);
  return scene;
}

function drawRequest({ top, pod, app, lowers, source }: Scene): RenderRequest {
  const some = <T>(values: readonly T[], most: number) => {
    return Array.from({ length: source.int(most + 1) }, () => source.pick(values));
  };
  const lower = [source.pick(lowers.slice(0, 6)), ...some(lowers, 2)];
  const names = new Set<string>();
  const options = some(OPTIONS, 3).filter((option) => {
    const name = option.split("=")[0] ?? "";
    return !names.has(name) && names.add(name);
  });
  const dest = source.pick([
    ...Array(12).fill(null),
    ...[`${top}/elsewhere`, `${pod}/overlay/t/upper/web/in`, `${top}/tree/etc/in`],
  ]);
  const profile = source.pick(["rootfs-mode", "fixed-mode"] as const);
  return { lower, tree: "t", pod, app, options, profile, ...(dest === null ? {} : { dest }) };
}

/** All that lies on the file system of a directory, and not in mounts; inode numbers tell what is new. */
function walk(directory: string, ...skip: readonly string[]): string {
  const lines: string[] = [];
  const { dev } = Deno.lstatSync(directory);
  const add = (path: string): void => {
    if (skip.includes(path)) return;
    const { isDirectory, isFile, isSymlink, ...stat } = Deno.lstatSync(path);
    const content = isFile && stat.rdev === 0
      ? Deno.readTextFileSync(path)
      : isSymlink
      ? Deno.readLinkSync(path)
      : "";
    lines.push([path, stat.ino, stat.mode, stat.uid, stat.gid, content].join(" "));
    if (!isDirectory || stat.dev !== dev) return;
    for (const { name } of Deno.readDirSync(path)) add(`${path}/${name}`);
  };
  add(directory);
  return lines.sort().join("\n");
}

/** Renders, writes, and unmounts; returns `mounted` or the code of the refusal. */
async function judge(scene: Scene, request: RenderRequest, bench: string): Promise<string> {
  const { top, pod } = scene;
  const own = [pod, request.dest ?? pod];
  const [before, others] = [walk(top), walk(top, ...own)];
  const mounts = await mountsBelow(top);
  try {
    const { rootfs, upper, changed } = await renderOverlay(request);
    await Deno.writeTextFile(`${rootfs}/written`, "through the mount");
    assertEquals(await Deno.readTextFile(`${upper}/written`), "through the mount");
    assert((await mountsBelow(top)).includes(rootfs), "nothing is mounted");
    await unmountOverlay({ pod, app: scene.app });
    if (changed) assertEquals(await mountsBelow(top), mounts, "a mount is left");
    assertEquals(walk(top, ...own), others, "something beside the pod has changed");
    return "mounted";
  } catch (error) {
    if (!(error instanceof OverlayError)) throw error;
    const { code, message, hint } = error;
    assertEquals(/wrong fs type/.test(`${message} ${hint}`), false, message);
    assert(hint !== null && hint !== undefined && hint !== "", `no hint: ${message}`);
    assertEquals(walk(top), before, `${code} left something: ${message}`);
    assertEquals(await mountsBelow(top), mounts, `${code} left a mount: ${message}`);
    // What only the kernel finds is named after it, and not guessed.
    if (code === "mount-failed") assertMatch(hint, /overlay on an overlay|lies in another mount/);
    await assertKernelAgrees(request, error, bench);
    return code;
  }
}

Deno.test({
  name: `renderOverlay() and the kernel agree on random requests` +
    (isRealRoot ? "" : " [skipped: needs root]"),
  ignore: !isRealRoot,
  fn: async () => {
    const seen = new Map<string, number>();
    await using dir = await tempDir();
    for (let at = 0; at < CASES; at++) {
      const source = random(SEED * 1_000_003 + at);
      const [top, place] = [dir.join(`${at}`), dir.join(`judge-${at}`)];
      await Deno.mkdir(top);
      const scene = await makeScene(top, source);
      const request = drawRequest(scene);
      try {
        const outcome = await judge(scene, request, place);
        seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      } catch (error) {
        const options = `seed ${SEED}, case ${at}: ${JSON.stringify(request)}`;
        throw new Error(options, { cause: error });
      }
      for (const mount of (await mountsBelow(top)).reverse()) await sh("umount", "--", mount);
      await Deno.remove(top, { recursive: true });
      if (!await isMissing(place)) await Deno.remove(place, { recursive: true });
    }
    const never = EXPECTED.filter((outcome) => !seen.has(outcome));
    if (CASES >= 1000) assertEquals(never, [], `seen: ${[...seen]}`);
  },
});
