import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError, RefusedError, renderOverlay, renderPod, unmountOverlay } from "../../mod.ts";
import { collectTrees, importTree, listTreesSync, removeTree } from "../../lib/store/tree.ts";
import { ATTRIBUTES, smallImage } from "../_image.ts";
import { isRealRoot } from "../_privilege.ts";
import { snapshot, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { MARKS, namesIn } from "../_tree.ts";

const NEEDS_ROOT = isRealRoot ? "" : " [skipped: needs root]";

/** A store with one tree. */
interface Scene {
  readonly store: string;
  readonly id: string;
  /** Renders a pod from the tree, and unmounts it. */
  readonly use: (pod: string) => Promise<void>;
  /** Removes the tree. */
  readonly remove: () => Promise<unknown>;
}

async function setUp(dir: TempDir): Promise<Scene> {
  const [source, store] = [await smallImage(dir), dir.join("store")];
  const { id } = await importTree({ source, store, ...ATTRIBUTES });
  const use = async (pod: string) => {
    await renderOverlay({ image: "test", store, pod, options: MARKS });
    await unmountOverlay({ pod });
  };
  const remove = () => removeTree({ store, tree: id });
  return { store, id, use, remove };
}

async function assertKept(
  { store, remove }: Scene,
  says: string,
): Promise<RefusedError> {
  const error = await assertRejects(remove, RefusedError, says);
  assertEquals([error.code, error.exitStatus], ["in-use", 3]);
  assertEquals((await collectTrees({ store })).trees, []);
  assertEquals(listTreesSync({ store }).length, 1);
  return error;
}

for (const name of ["pod.new", "pod ", "pod\n", " pod", "pod.aside", "pod\t\r", "\ufeff", "%2F"]) {
  Deno.test(`a tree is not removed while pod ${JSON.stringify(name)} uses it`, async () => {
    await using dir = await tempDir();
    const scene = await setUp(dir);
    const pod = dir.join(name);
    await scene.use(pod);
    await assertKept(scene, JSON.stringify(pod));
    assertEquals(listTreesSync(scene)[0]?.pods, [pod]);
    await Deno.remove(pod, { recursive: true });
    await scene.remove();
    assertEquals(await collectTrees(scene).then(() => namesIn(`${scene.store}/pod`)), []);
  });
}

/** 32 bits that tell names apart (FNV-1a), going on from those of what is before. */
function hashOf(text: string, before = 0x811c9dc5): number {
  let hash = before;
  for (const char of text) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  return hash;
}

/** Two pods in a directory whose percent-encoded names have the same hash. */
function alike(directory: string): [string, string] {
  const before = hashOf(encodeURIComponent(`${directory}/`));
  const seen = new Map<number, number>();
  for (let at = 0;; at++) {
    const hash = hashOf(`${at}`, before);
    const other = seen.get(hash);
    if (other !== undefined) return [`${directory}/${other}`, `${directory}/${at}`];
    seen.set(hash, at);
  }
}

Deno.test("a tree is not removed while one of two pods uses it whose names begin and hash alike", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const directory = dir.join("d".repeat(200));
  await Deno.mkdir(directory);
  const [one, other] = alike(directory);
  for (const pod of [one, other]) await scene.use(pod);
  assertEquals((await namesIn(`${scene.store}/pod`)).length, 2);
  await Deno.remove(one, { recursive: true });
  await collectTrees(scene);
  await assertKept(scene, JSON.stringify(other));
});

/** What can stand in the place of a note, with the pod that it is of. */
const NO_NOTES: readonly [what: string, put: (note: string, pod: string) => Promise<void>][] = [
  ["is cut off", (note, pod) => Deno.writeTextFile(note, pod.slice(0, -1))],
  ["is empty", (note) => Deno.writeTextFile(note, "")],
  ["has a line end", (note, pod) => Deno.writeTextFile(note, `${pod}\n`)],
  ["names another pod", (note, pod) => Deno.writeTextFile(note, `${pod}-other`)],
  ["is not UTF-8", (note) => Deno.writeFile(note, new Uint8Array([47, 0xff]))],
  ["is a relative path", (note) => Deno.writeTextFile(note, "pod")],
  ["is a directory", async (note) => {
    await Deno.remove(note);
    await Deno.mkdir(note);
  }],
  ["is a symlink", async (note) => {
    await Deno.rename(note, `${note}-real`);
    await Deno.symlink(`${note}-real`, note);
  }],
  ["has a name as it had before", async (note, pod) => {
    await Deno.remove(note);
    const old = note.replace(/[^/]*$/, encodeURIComponent(pod));
    await Deno.writeTextFile(old, `${pod}\n`);
  }],
  ["has an unknown name", (note) => Deno.rename(note, `${note}.old`)],
];

for (const [what, put] of NO_NOTES) {
  Deno.test(`a note of a pod that ${what} keeps all trees, and is named`, async () => {
    await using dir = await tempDir();
    const scene = await setUp(dir);
    const pod = dir.join("pod");
    await scene.use(pod);
    const [name = ""] = await namesIn(`${scene.store}/pod`);
    await put(`${scene.store}/pod/${name}`, pod);
    const names = await namesIn(`${scene.store}/pod`);
    const error = await assertKept(scene, "is no note of a pod as a render writes it");
    const damaged = names.find((name) => error.message.includes(JSON.stringify(name).slice(1, -1)));
    assertStringIncludes(error.hint ?? "", `${scene.store}/pod/${damaged}`);
    const warned: string[] = [];
    await collectTrees(scene, { warn: (text) => void warned.push(text) });
    assertStringIncludes(warned.join(), `${scene.store}/pod/${damaged}`);
    assertEquals(await namesIn(`${scene.store}/pod`), names);
  });
}

Deno.test("a render writes its note anew where it is damaged", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const pod = dir.join("pod");
  await scene.use(pod);
  const [name = ""] = await namesIn(`${scene.store}/pod`);
  const note = `${scene.store}/pod/${name}`;
  for (const content of ["", `${pod}-`, pod.replace("pod", "dop")]) {
    await Deno.writeTextFile(note, content);
    await scene.use(pod);
    assertEquals(await Deno.readTextFile(note), pod);
  }
  await assertKept(scene, "uses it");
});

Deno.test("a note that gc had set aside when it was killed keeps the tree, until the pod is gone", async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  const pod = dir.join("pod");
  await scene.use(pod);
  const [name = ""] = await namesIn(`${scene.store}/pod`);
  const note = `${scene.store}/pod/${name}`;
  await Deno.rename(note, `${note}.aside`);
  await assertKept(scene, "uses it");
  await scene.use(pod);
  assertEquals(await namesIn(`${scene.store}/pod`), [name, `${name}.aside`]);
  await Deno.remove(pod, { recursive: true });
  await collectTrees(scene);
  assertEquals(await namesIn(`${scene.store}/pod`), []);
});

Deno.test("each tree of a pod must be there after the pod was noted", async () => {
  await using dir = await tempDir();
  const { store, id } = await setUp(dir);
  await Deno.mkdir(dir.join("directory"));
  const { id: other } = await importTree({ source: dir.join("directory"), store });
  for (const gone of [id, other]) {
    const rendered = `${store}/tree/${gone}/rendered`;
    // As a removal does that has seen no note of the pod.
    const checkpoint = (step: string) => {
      if (step === "lock") Deno.renameSync(rendered, `${rendered}.removing`);
    };
    const apps = [id, other].map((tree) => ({ app: tree.slice(-4), tree, options: MARKS }));
    const request = { pod: dir.join("pod"), store, apps };
    await assertRejects(() => renderPod(request, { checkpoint }), OverlayError, "is gone");
    assertEquals(await namesIn(`${store}/pod`), []);
    await Deno.rename(`${rendered}.removing`, rendered);
  }
});

/** What another user can make of a pod of his. */
const NOT_OURS: readonly [what: string, make: (pod: string, other: string) => Promise<void>][] = [
  ["belongs to another user now", (pod) => Deno.chown(pod, 1234, null)],
  ["can be changed by others now", (pod) => Deno.chmod(pod, 0o777)],
  ["is a symlink now", async (pod, other) => {
    await Deno.rename(pod, `${pod}-moved`);
    await Deno.symlink(other, pod);
  }],
  ["has a symlink for its lock now", async (pod, other) => {
    await Deno.remove(`${pod}/overlay.lock`);
    await Deno.symlink(`${other}/overlay.lock`, `${pod}/overlay.lock`);
  }],
];

for (const [what, make] of NOT_OURS) {
  Deno.test(`a pod that ${what} is not touched, and keeps the tree${NEEDS_ROOT}`, {
    ignore: !isRealRoot,
  }, async () => {
    await using dir = await tempDir();
    const scene = await setUp(dir);
    const [pod, other] = [dir.join("pod"), dir.join("other")];
    await scene.use(pod);
    await Deno.mkdir(other);
    await Deno.writeTextFile(`${other}/overlay.lock`, "precious".repeat(20));
    await make(pod, other);
    const before = [await snapshot(pod), await snapshot(other)];
    const error = await assertKept(scene, "it is not known whether pod");
    assertStringIncludes(error.message, JSON.stringify(pod));
    assertEquals([await snapshot(pod), await snapshot(other)], before);
    assertEquals((await namesIn(`${scene.store}/pod`)).length, 1);
  });
}

Deno.test(`a lock that another user swaps for a symlink is not written through${NEEDS_ROOT}`, {
  ignore: !isRealRoot,
}, async () => {
  await using dir = await tempDir();
  const scene = await setUp(dir);
  await Deno.chmod(dir.path, 0o755);
  const [pod, victim] = [dir.join("pod"), dir.join("victim")];
  await scene.use(pod);
  const content = "precious".repeat(20);
  await Deno.writeTextFile(victim, content);
  await Deno.chown(pod, 1234, 1234);
  const script = 'for (;;) { symlink $ARGV[0], "l"; rename "l", "overlay.lock"; ' +
    'open F, ">", "f"; close F; rename "f", "overlay.lock" }';
  await using swapper = new Deno.Command("perl", {
    args: ["-e", script, victim],
    cwd: pod,
    uid: 1234,
    gid: 1234,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const end = performance.now() + 60_000;
  for (let round = 0; round < 200 && performance.now() < end; round++) {
    await assertRejects(scene.remove, OverlayError);
    await collectTrees(scene);
    assertEquals(await Deno.readTextFile(victim), content, `round ${round}`);
  }
  assert(swapper.pid > 0);
});
