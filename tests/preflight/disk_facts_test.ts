import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { collectFacts, findFileSystem } from "../../lib/preflight/disk_facts.ts";
import type { DirectoryFacts } from "../../lib/preflight/lower.ts";
import type { Facts } from "../../lib/preflight/disk_facts.ts";
import { permissionFlags } from "../../lib/system/permissions.ts";
import { requiredPermissions } from "../../lib/plan/required_permissions.ts";
import { planRender } from "../../lib/plan/plan.ts";
import type { MountPlan } from "../../lib/overlay/app_line.ts";
import type { RenderPlan } from "../../lib/plan/plan.ts";
import { preflight } from "../../lib/preflight/disk_rules.ts";
import { mountOverlay, mountTmpfs } from "../_disks.ts";
import { factsOf } from "../_facts.ts";
import { counter } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { sh, snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { makeTree } from "../_tree.ts";

function planOf(pod: string, lower: string | readonly string[], readOnly = false): RenderPlan {
  return planRender({ lower, pod, app: "web", tree: "t", readOnly });
}

/** What is mounted; also of lowers that are refused by their names alone. */
function mountOf(pod: string, lower: string | readonly string[]): MountPlan {
  const { mounts: [mount] } = planOf(pod, "/no/such/tree");
  return { ...mount, lower: typeof lower === "string" ? [lower] : lower };
}

function codesOf(mount: MountPlan, facts: Facts): string[] {
  return preflight(mount, facts).map(({ code }) => code);
}

/** What is known of a directory that is there under this name. */
async function known(path: string, real = path): Promise<DirectoryFacts> {
  const { dev, ino } = await Deno.stat(path);
  return { path, kind: "directory", real, id: `${dev}:${ino}` };
}

function unknown(path: string, kind: DirectoryFacts["kind"]): DirectoryFacts {
  return { path, kind, real: null, id: null };
}

Deno.test("collectFacts() says what each lower is, and changes nothing", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.symlink("nowhere", dir.join("dangling"));
  await Deno.symlink("loop", dir.join("loop"));
  const nothing = ["nowhere", "nowhere/below", "dangling", "loop", "image/file/below"];
  const lowers = [image, `${image}/file`, ...nothing.map((name) => dir.join(name))];
  const before = await snapshot(dir.path);
  const facts = await collectFacts(mountOf(dir.join("pod"), lowers), {});
  assertEquals(facts.lowers, [
    await known(image),
    { ...await known(`${image}/file`), kind: "file" },
    ...nothing.map((name) => unknown(dir.join(name), "missing")),
  ]);
  assertEquals(facts.unchecked, []);
  assertEquals(await snapshot(dir.path), before);
});

Deno.test("collectFacts() follows a symlink, and knows a directory under another name", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  const [link, bound] = [dir.join("link"), dir.join("bound")];
  await Deno.symlink("image", link);
  await Deno.mkdir(bound);
  await sh("mount", "--bind", image, bound);
  const mount = mountOf(dir.join("pod"), [`${link}/etc`, image, link, bound]);
  const facts = await collectFacts(mount, {});
  const { id } = await known(image);
  assertEquals(facts.lowers, [
    await known(`${link}/etc`, `${image}/etc`),
    { path: image, kind: "directory", real: image, id },
    { path: link, kind: "directory", real: image, id },
    { path: bound, kind: "directory", real: bound, id },
  ]);
  assertEquals(codesOf(mount, facts), ["lower-twice"]);
});

Deno.test({
  name: `collectFacts() says which lower its user may not read${
    isRealRoot ? "" : " [skipped: needs root]"
  }`,
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const locked = await makeTree(dir.join("locked"));
    await Deno.chmod(locked, 0);
    const mount = mountOf(dir.join("pod"), [locked, `${locked}/etc`]);
    // Root without its capabilities may read no more than any user.
    const wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    const facts = await factsOf(mount, { flags: ["--allow-read"], wrapper });
    assertEquals(facts.lowers, mount.lower.map((path) => unknown(path, "unreadable")));
    assertEquals(codesOf(mount, facts), ["unreadable"]);
  },
});

Deno.test("collectFacts() knows where the directories of a pod will be without symlinks", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("pods"));
  await Deno.symlink("pods", dir.join("link"));
  const there = mountOf(dir.join("pods", "one"), image);
  const linked = mountOf(dir.join("link", "one"), image);
  const expected = { upper: there.upper, work: there.work, rootfs: there.rootfs };
  assertEquals((await collectFacts(there, {})).real, expected);
  await Deno.mkdir(there.rootfs, { recursive: true });
  await Deno.mkdir(`${there.upper}`, { recursive: true });
  for (const mount of [there, linked]) {
    assertEquals((await collectFacts(mount, {})).real, expected);
  }
});

Deno.test("collectFacts() finds a tree and a pod that lie in each other behind a symlink", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.mkdir(dir.join("image", "pods", "one"), { recursive: true });
  await Deno.symlink("image/pods", dir.join("pods"));
  const mount = mountOf(dir.join("pods", "one"), image);
  assertEquals(codesOf(mount, await collectFacts(mount, {})), ["in-use"]);
});

Deno.test("collectFacts() of a view looks at the lowers alone", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  const { mounts: [mount] } = planOf(dir.join("pod"), image, true);
  const nothing = { real: null, devices: null, fileSystem: null, unchecked: [] };
  assertEquals(await collectFacts(mount, {}, { thorough: true }), {
    lowers: [await known(image)],
    ...nothing,
  });
});

for (const permissions of ["none", { read: ["/usr"] }] as const) {
  const [name, kind] = permissions === "none"
    ? ["no permission", "unchecked"] as const
    : ["few permissions", "directory"] as const;
  Deno.test(`collectFacts() with ${name} says what it did not look at`, {
    permissions: permissions === "none" ? "none" : { read: [...permissions.read] },
  }, async () => {
    const told: (readonly string[])[] = [];
    const mount = mountOf("/pods/one", ["/usr", "/etc"]);
    const facts = await collectFacts(mount, { trace: (argv) => void told.push(argv) });
    assertEquals(facts.lowers.map((lower) => lower.kind), [kind, "unchecked"]);
    const lowers = kind === "unchecked" ? ["/usr", "/etc"] : ["/etc"];
    assertEquals(facts.unchecked.slice(0, -1), lowers);
    assertMatch(facts.unchecked.at(-1) ?? "", /pod/);
    assertEquals([facts.real, facts.devices, facts.fileSystem], [null, null, null]);
    assertEquals(codesOf(mount, facts), []);
    assertEquals(told, []);
  });
}

Deno.test("collectFacts() does with the permissions of a plan what it can", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.symlink("image/etc", dir.join("link"));
  const plan = planOf(dir.join("pod"), [image, dir.join("link")]);
  const flags = permissionFlags(requiredPermissions(plan));
  const none = await factsOf(plan.mounts[0], { flags });
  // Where the pod will lie is not seen from within it.
  assertEquals([none.devices, none.unchecked.length], [null, 1]);
  assertEquals(codesOf(plan.mounts[0], none), ["lower-nested"]);
  await Deno.mkdir(dir.join("pod"));
  const there = await factsOf(plan.mounts[0], { flags });
  const { upper, work, rootfs } = plan.mounts[0];
  assertEquals(there.real, { upper: `${upper}`, work: `${work}`, rootfs });
  assertEquals(there.unchecked, []);
  assertEquals(there, await collectFacts(plan.mounts[0], {}));
});

/** The type of the file system of the temporary directory, and whether it has no disk of its own. */
async function fileSystemHere(dir: TempDir): Promise<{ type: string; isPlain: boolean }> {
  const words = await sh("findmnt", "-nr", "-o", "FSTYPE,MAJ:MIN", "--target", dir.path);
  const [type = "", device = ""] = words.trim().split(" ");
  return { type, isPlain: !device.startsWith("0:") };
}

/** The facts of a pod, and how many times findmnt was asked for them. */
async function asked(
  pod: string,
  lower: string,
  thorough = false,
): Promise<{ facts: Facts; times: number }> {
  const { trace, count } = counter();
  const programs = { trace: (argv: readonly string[]) => trace(`run ${argv.join(" ")}`) };
  const facts = await collectFacts(mountOf(pod, lower), programs, { thorough });
  return { facts, times: count("findmnt") };
}

for (const isThere of [true, false]) {
  const state = isThere ? "is there" : "is not there yet";

  Deno.test(`collectFacts() asks for the type of a tmpfs, for a pod that ${state}`, async () => {
    await using dir = await tempDir();
    const [image, pods] = [await makeTree(dir.join("image")), await mountTmpfs(dir.join("pods"))];
    if (isThere) await Deno.mkdir(`${pods}/one`);
    const { facts, times } = await asked(`${pods}/one`, image);
    const { dev } = await Deno.stat(pods);
    assertEquals(facts.devices, { upper: dev, work: dev });
    assertEquals([facts.fileSystem, times], [{ type: "tmpfs", readOnly: false }, 1]);
    assertEquals(codesOf(mountOf(`${pods}/one`, image), facts), []);
  });

  Deno.test(`collectFacts() asks for the type of an overlay, for a pod that ${state}`, async () => {
    await using dir = await tempDir();
    const [image, pods] = [await makeTree(dir.join("image")), await mountOverlay(dir)];
    if (isThere) await Deno.mkdir(`${pods}/one`);
    const { facts, times } = await asked(`${pods}/one`, image);
    assertEquals([facts.fileSystem, times], [{ type: "overlay", readOnly: false }, 1]);
    // The judgement, which the kernel has only one word for: "wrong fs type".
    assertEquals(codesOf(mountOf(`${pods}/one`, image), facts), ["upper-on-overlay"]);
  });

  Deno.test(`collectFacts() asks nothing of an ordinary disk, for a pod that ${state}`, async () => {
    await using dir = await tempDir();
    const [image, pod] = [await makeTree(dir.join("image")), dir.join("pod")];
    if (isThere) await Deno.mkdir(pod);
    const { type, isPlain } = await fileSystemHere(dir);
    const fileSystem = { type, readOnly: false };
    const { facts, times } = await asked(pod, image);
    assertEquals([facts.fileSystem, times], isPlain ? [null, 0] : [fileSystem, 1]);
    const thorough = await asked(pod, image, true);
    assertEquals(thorough, { facts: { ...facts, fileSystem }, times: 1 });
  });
}

Deno.test("collectFacts() that may not run findmnt says so, and knows the rest", async () => {
  await using dir = await tempDir();
  const [image, pod] = [await makeTree(dir.join("image")), await mountTmpfs(dir.join("pod"))];
  const { facts } = await asked(pod, image);
  const flags = [`--allow-read=${dir.path}`];
  for (const thorough of [true, false]) {
    const { unchecked, ...rest } = await factsOf(mountOf(pod, image), { flags, thorough });
    assertEquals(rest, { ...rest, lowers: facts.lowers, devices: facts.devices, fileSystem: null });
    assertEquals(unchecked.length, 1);
    assertMatch(unchecked[0] ?? "", /file system/);
  }
});

Deno.test("collectFacts() does not fail where a symlink leads nowhere", async () => {
  await using dir = await tempDir();
  const image = await makeTree(dir.join("image"));
  await Deno.symlink("nowhere", dir.join("dangling"));
  await Deno.symlink("loop", dir.join("loop"));
  for (const pod of ["dangling", "dangling/one", "loop", "loop/one", "image/file/one"]) {
    // A path through a link that leads nowhere is refused later, in words.
    const mount = mountOf(dir.join(pod), image);
    const facts = await collectFacts(mount, {});
    assertEquals(facts.lowers, [await known(image)]);
  }
});

Deno.test("collectFacts() sees that a mount parts the upper from its work", async () => {
  await using dir = await tempDir();
  const [image, pod] = [await makeTree(dir.join("image")), dir.join("pod")];
  const mount = mountOf(pod, image);
  await Deno.mkdir(`${pod}/overlay/t`, { recursive: true });
  await mountTmpfs(`${pod}/overlay/t/work`);
  const facts = await collectFacts(mount, {});
  assertNotEquals(facts.devices?.upper, facts.devices?.work);
  assertEquals(codesOf(mount, facts), ["different-devices"]);
});

Deno.test("collectFacts() sees that nothing can be written where the pod will be", async () => {
  await using dir = await tempDir();
  const [image, pods] = [await makeTree(dir.join("image")), dir.join("pods")];
  await mountTmpfs(pods, "ro");
  const mount = mountOf(`${pods}/one`, image);
  const facts = await collectFacts(mount, {});
  assertEquals(facts.fileSystem, { type: "tmpfs", readOnly: true });
  assertEquals(codesOf(mount, facts), ["upper-read-only"]);
});

Deno.test("findFileSystem() says the type, and whether nothing can be written", async () => {
  await using dir = await tempDir();
  const { type } = await fileSystemHere(dir);
  assertEquals(await findFileSystem(dir.path, {}), { type, readOnly: false });
  const tmpfs = await mountTmpfs(dir.join("a b,\\"));
  await Deno.mkdir(`${tmpfs}/below`);
  assertEquals(await findFileSystem(`${tmpfs}/below`, {}), { type: "tmpfs", readOnly: false });
  const bound = dir.join("bound");
  await Deno.mkdir(bound);
  await sh("mount", "--bind", tmpfs, bound);
  // The mount alone is read-only, the file system is not.
  await sh("mount", "-o", "remount,bind,ro", bound);
  assertEquals(await findFileSystem(bound, {}), { type: "tmpfs", readOnly: true });
  assertEquals(await findFileSystem(tmpfs, {}), { type: "tmpfs", readOnly: false });
});

Deno.test("findFileSystem() says nothing of what is not there", async () => {
  await using dir = await tempDir();
  assertEquals(await findFileSystem(dir.join("nowhere", "below"), {}), null);
});
