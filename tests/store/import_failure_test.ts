/**
 * Imports that end in the middle: the disk is full, a program dies, somebody does not want to wait.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { WORKER_SIZE } from "../../lib/image/blob.ts";
import { errno } from "../../lib/system/disk.ts";
import { InterruptedError } from "../../lib/core/interrupted.ts";
import { OverlayError } from "../../lib/core/errors.ts";
import { checkTrees, importTree, listTreesSync } from "../../lib/store/tree.ts";
import { archive, archiveOfFiles, bytes, concat, file, gzip, layoutFiles } from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { cli, commandLine } from "../_cli.ts";
import { mountTmpfs } from "../_disks.ts";
import { runMain } from "../_main.ts";
import { noise, random } from "../_random.ts";
import { sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, namesIn } from "../_tree.ts";

const MEGABYTE = noise(1 << 20);

/** So many megabytes of it are inflated by another thread. */
const APART = Math.ceil(WORKER_SIZE / MEGABYTE.length) + 1;

function large(megabytes: number, ...more: Bytes[]): Uint8Array<ArrayBuffer> {
  const files = Array.from({ length: megabytes }, (_, at) => file(`large/${at}`, MEGABYTE));
  return archive(...files, ...more);
}

async function assertClean(store: string): Promise<void> {
  if (await isMissing(store)) return;
  // It was there before, and perhaps a store already.
  for (const name of await namesIn(store)) {
    if (name !== "store.lock") assertEquals(await namesIn(`${store}/${name}`), [], name);
  }
}

/** The programs that run as children of this process. */
function children(): { readonly pid: number; readonly name: string }[] {
  const tasks = [...Deno.readDirSync("/proc/self/task")].map(({ name }) => name);
  const pids = tasks.flatMap((task) => {
    try {
      return Deno.readTextFileSync(`/proc/self/task/${task}/children`).trim().split(" ");
    } catch (error) {
      // A thread that has ended meanwhile has none.
      if (error instanceof Deno.errors.NotFound || errno(error) === "ESRCH") return [];
      throw error;
    }
  });
  return pids.filter((pid) => pid !== "").map((pid) => {
    return { pid: Number(pid), name: Deno.readTextFileSync(`/proc/${pid}/comm`).trim() };
  });
}

Deno.test("tree import says that the disk is full, and leaves room for the next", async () => {
  await using dir = await tempDir();
  const store = await mountTmpfs(dir.join("store"), "size=2m,mode=0700");
  const [source, small] = [dir.join("large.tar"), dir.join("small.tar")];
  await Deno.writeFile(source, large(10));
  await Deno.writeFile(small, archive(file("small")));
  const result = await runMain(["tree", "import", `--store=${store}`, "--quiet", source]);
  assertEquals([result.status, result.stdout], [1, ""]);
  assertStringIncludes(result.stderr, "No space left on device");
  assertStringIncludes(result.stderr, "hint: free some space on the file system of the store");
  await assertClean(store);
  assertEquals((await importTree({ source: small, store })).entries, 1);
});

Deno.test("tree import says that the disk is full when what is full is the list of entries", async () => {
  await using dir = await tempDir();
  const store = await mountTmpfs(dir.join("store"), "size=1m,mode=0700");
  const source = dir.join("many.tar");
  const names = Array.from({ length: 10_000 }, (_, at) => file(`${at}${"n".repeat(90)}`, ""));
  await Deno.writeFile(source, archive(...names));
  const error = await assertRejects(() => importTree({ source, store }), OverlayError);
  assertStringIncludes(error.message, "No space left on device");
  await assertClean(store);
});

Deno.test("tree import says that the disk is full while it reads stdin", async () => {
  await using dir = await tempDir();
  const store = await mountTmpfs(dir.join("store"), "size=2m,mode=0700");
  const input = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < 10; at++) yield await Promise.resolve(MEGABYTE);
  };
  const act = () => importTree({ source: "-", store }, { input });
  const error = await assertRejects(act, OverlayError, `Cannot write "${store}/tmp/stdin"`);
  assertStringIncludes(error.message, "No space left on device");
  await assertClean(store);
});

Deno.test("tree import says so when a signal ends tar", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, large(8));
  let killed = 0;
  const onRead = () => {
    const tar = children().find(({ name }) => name === "tar");
    if (tar === undefined || killed++ > 0) return;
    Deno.kill(tar.pid, "SIGKILL");
  };
  const act = () => importTree({ source, store }, { onRead });
  await assertRejects(
    act,
    OverlayError,
    `Cannot unpack layer "${source}": tar was ended by signal 9`,
  );
  assert(killed > 0);
  assertEquals(children(), []);
  await assertClean(store);
});

Deno.test("tree import can be interrupted while tar hangs", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, large(8));
  const controller = new AbortController();
  const reason = new InterruptedError(2);
  let stopped = 0;
  const onRead = () => {
    const tar = children().find(({ name }) => name === "tar");
    if (tar === undefined || stopped++ > 0) return;
    Deno.kill(tar.pid, "SIGSTOP");
    setTimeout(() => controller.abort(reason), 100);
  };
  const { signal } = controller;
  const error = await assertRejects(() => importTree({ source, store }, { signal, onRead }));
  assertEquals([error, stopped > 0], [reason, true]);
  assertEquals(children(), []);
  await assertClean(store);
});

for (const program of ["xz", "zstd", "gzip"]) {
  Deno.test(`tree import ends ${program} when what comes out of it is refused`, async () => {
    await using dir = await tempDir();
    const [plain, store] = [dir.join("plain"), dir.join("store")];
    await Deno.writeFile(plain, archive(file("../x"), file("large", noise(2 << 20))));
    await sh("sh", "-c", `${program} -1 --stdout "$0" > "$0.${program}"`, plain);
    const source = `${plain}.${program}`;
    await assertRejects(() => importTree({ source, store }), OverlayError, 'the name "../x" holds');
    assertEquals(children(), []);
    await assertClean(store);
    // And the whole of what is not.
    await Deno.writeFile(plain, archive(file("x"), file("large", noise(2 << 20))));
    await sh("sh", "-c", `${program} -1 --stdout "$0" > "$0.${program}"`, plain);
    assertEquals((await importTree({ source, store })).bytes, (2 << 20) + 7);
    await Deno.truncate(source, 1 << 20);
    const error = await assertRejects(() => importTree({ source, store }), OverlayError);
    assertEquals(error.code, "bad-archive");
    assertEquals(children(), []);
    assertEquals(await namesIn(`${store}/tmp`), []);
  });
}

Deno.test("tree import ends when its signal is aborted, with its reason", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const layers = [3, 4, 5].map((megabytes) => ({ tar: large(megabytes) }));
  await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
  for (const at of [1, 5, 20]) {
    const controller = new AbortController();
    const reason = new InterruptedError(2);
    let reads = 0;
    const onRead = () => void (++reads === at && controller.abort(reason));
    const { signal } = controller;
    const error = await assertRejects(() => importTree({ source, store }, { signal, onRead }));
    assertEquals(error, reason);
    assertEquals(children(), []);
    await assertClean(store);
  }
});

/** Runs the command, and sends it a signal as soon as a path is there. */
async function interrupted(
  args: readonly string[],
  { path, signal }: { readonly path: string; readonly signal: Deno.Signal },
  stdin: "null" | "piped",
): Promise<{ readonly status: number; readonly said: string }> {
  const [program = "", ...rest] = commandLine(args);
  const child = new Deno.Command(program, {
    args: rest,
    stdin,
    stdout: "null",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const isThere = () => {
    try {
      return Deno.lstatSync(path) !== null;
    } catch {
      return false;
    }
  };
  while (!isThere()) await new Promise((resolve) => setTimeout(resolve, 2));
  child.kill(signal);
  const said = await new Response(child.stderr).text();
  const { code } = await child.status;
  if (stdin === "piped") await child.stdin.abort().catch(() => {});
  return { status: code, said };
}

for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`tree import ends with ${status} on ${signal}, and leaves nothing`, async () => {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    // One of them is inflated by another thread.
    const content = large(30);
    await Deno.writeFile(source, signal === "SIGINT" ? content : gzip(content, 1));
    const at = { path: `${store}/tmp/0/root/large/3`, signal };
    const args = ["tree", "import", `--store=${store}`, "--quiet", source];
    const result = await interrupted(args, at, "null");
    assertEquals(result.status, status, result.said);
    assertStringIncludes(result.said, "and undone");
    await assertClean(store);
    // The next one completes.
    assertEquals((await cli(args)).status, 0);
    assertEquals(listTreesSync({ store }).length, 1);
  });

  Deno.test(`tree import ends with ${status} on ${signal} while stdin is silent`, async () => {
    await using dir = await tempDir();
    const store = dir.join("store");
    const args = ["tree", "import", `--store=${store}`, "-"];
    const result = await interrupted(args, { path: `${store}/tmp/stdin`, signal }, "piped");
    assertEquals(result.status, status, result.said);
    assertStringIncludes(result.said, "and undone");
    await assertClean(store);
  });
}

Deno.test("tree import reads an image from stdin, in pieces of any size", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const layers = [{ tar: large(2) }, { tar: archive(file("a"), file(".wh.large", "")) }];
  const image = archiveOfFiles(layoutFiles(layers));
  const input = async function* (): AsyncGenerator<Uint8Array> {
    const source = random(2);
    for (let at = 0; at < image.length;) {
      const end = at + 1 + source.int(100_000);
      yield await Promise.resolve(image.subarray(at, end));
      at = end;
    }
  };
  const tree = await importTree({ source: "-", store, name: "mine" }, { input });
  assertEquals([tree.layers, tree.image, tree.changed], [2, "mine", true]);
  const { stdout } = await runMain(["tree", "path", `--store=${store}`, "mine"]);
  const [top = "", bottom = ""] = stdout.split("\n");
  assertEquals(await namesIn(`${top}/.`), ["a", "large"]);
  assertEquals(await namesIn(`${bottom}/large`), ["0", "1"]);
});

Deno.test("the command reads an image from its own stdin", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(file("a", bytes("from stdin"))));
  const piped = ["sh", "-c", 'cat "$0" | "$@"', source];
  const args = ["tree", "import", `--store=${store}`, "--json", "-"];
  const result = await cli(args, { wrapper: piped });
  assertEquals(result.status, 0, result.stderr);
  const [key] = await namesIn(`${store}/layer`);
  assertEquals(await Deno.readTextFile(`${store}/layer/${key}/a`), "from stdin");
});

Deno.test("tree import in a user namespace refuses marks that it cannot set", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(file("d/.wh..wh..opq", ""), file("d/x")));
  const wrapper = ["unshare", "--user", "--map-root-user", "--mount"];
  const importer = new URL("../_importer.ts", import.meta.url).pathname;
  const [unshare = "", ...args] = [...wrapper, Deno.execPath(), "run", "-A", importer];
  const refused = await assertRejects(() => sh(unshare, ...args, source, store), Error);
  assertStringIncludes(refused.message, "Cannot set 'trusted.overlay.opaque'");
  await assertClean(store);
  const flags = ["tree", "import", `--store=${store}`, "--quiet", source];
  const marked = await cli(flags, { wrapper });
  assertEquals(marked.status, 0, marked.stderr);
  assertEquals(listTreesSync({ store }).length, 1);
});

Deno.test("tree import says so when tar cannot be run", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(file("x")));
  // A file in place of the program, in a mount namespace that ends with the command.
  const script = 'mount --bind "$0" /bin/tar && exec "$@"';
  const wrapper = ["unshare", "--mount", "sh", "-c", script, source];
  await Deno.mkdir(dir.join("directory"));
  for (const image of [source, dir.join("directory")]) {
    const result = await cli(["tree", "import", `--store=${store}`, image], { wrapper });
    assertEquals([result.status, result.stdout], [1, ""]);
    assertStringIncludes(result.stderr, 'error: Cannot run "/bin/tar": Permission denied\n');
    assertStringIncludes(
      result.stderr,
      "hint: it must be the program of GNU tar, and executable\n",
    );
    await assertClean(store);
  }
});

/** Takes programs away, in a mount namespace that ends with the command. */
function lacking(dir: TempDir, ...programs: string[]): string[] {
  const script = `mount -t tmpfs tmpfs "$0" && mkdir "$0/upper" "$0/work" &&
    mount -t overlay -o "lowerdir=/usr/bin,upperdir=$0/upper,workdir=$0/work" overlay /usr/bin &&
    rm ${programs.map((name) => `/bin/${name}`).join(" ")} && exec "$@"`;
  return ["unshare", "--mount", "sh", "-c", script, dir.join("over")];
}

Deno.test("a program that is missing is named, and what it is of", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  await Deno.mkdir(dir.join("over"));
  await Deno.mkdir(dir.join("directory"));
  await Deno.writeFile(dir.join("plain"), archive(file("x")));
  for (const program of ["xz", "zstd"]) {
    await sh("sh", "-c", `${program} --stdout "$0" >"$0.${program}"`, dir.join("plain"));
  }
  const table = [
    ["tar", "GNU tar", ["import", dir.join("plain")]],
    ["tar", "GNU tar", ["import", dir.join("directory")]],
    ["sync", "coreutils", ["import", dir.join("plain")]],
    ["xz", "XZ Utils", ["import", dir.join("plain.xz")]],
    ["zstd", "Zstandard", ["import", dir.join("plain.zstd")]],
    ["find", "GNU findutils", ["check", "--quick", "mine"]],
    ["tar", "GNU tar", ["check", "mine"]],
  ] as const;
  for (const [program, origin, args] of table) {
    if (args[0] === "check") await importTree({ source: dir.join("plain"), store, name: "mine" });
    const wrapper = lacking(dir, program);
    const result = await cli(["tree", ...args, `--store=${store}`], { wrapper });
    assertEquals([result.status, result.stdout], [1, ""], result.stderr);
    const said = `error: Cannot run "/bin/${program}": it is not there\nhint: install ${origin}\n`;
    assertStringIncludes(result.stderr, said);
    if (args[0] === "import") assertEquals(await isMissing(store), true);
  }
});

Deno.test("an import waits for one that fails and takes back the store it has made", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  await Deno.writeFile(source, archive(file("x")));
  const reason = new Error("the sender is gone");
  const waiting = Promise.withResolvers<void>();
  const input = async function* (): AsyncGenerator<Uint8Array> {
    yield MEGABYTE;
    await waiting.promise;
    throw reason;
  };
  const failing = assertRejects(() => importTree({ source: "-", store }, { input }));
  while (await isMissing(`${store}/tmp/stdin`)) await new Promise((done) => setTimeout(done, 2));
  const next = importTree({ source, store });
  setTimeout(waiting.resolve, 50);
  assertEquals(await failing, reason);
  assertEquals((await next).entries, 1);
  assertEquals(listTreesSync({ store }).length, 1);
  // What was there before stays, be it empty.
  const empty = dir.join("empty");
  await Deno.mkdir(empty, { mode: 0o700 });
  await Deno.writeFile(source, archive(file("../x")));
  await assertRejects(() => importTree({ source, store: empty }), OverlayError);
  await assertRejects(() => importTree({ source, store }), OverlayError);
  assertEquals([await isMissing(empty), listTreesSync({ store }).length], [false, 1]);
});

/** Ends an import when this many steps of it are done. */
async function failAt(source: string, store: string, steps: number): Promise<unknown> {
  let done = 0;
  const reason = new Error("enough");
  const checkpoint = (step: string) => {
    if (step === "layer" && ++done === steps) throw reason;
  };
  return await importTree({ source, store }, { checkpoint }).catch((error) => {
    assertEquals(error, reason);
    return null;
  });
}

Deno.test("tree import leaves whole layers and no tree when it ends between layers", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const layers = ["a", "b", "c"].map((name) => ({ tar: archive(file(name)) }));
  await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
  assertEquals(await failAt(source, store, 2), null);
  assertEquals((await namesIn(`${store}/layer`)).length, 2);
  assertEquals((await namesIn(`${store}/record`)).length, 4);
  assertEquals((await namesIn(`${store}/l`)).length, 2);
  assertEquals([await namesIn(`${store}/tmp`), listTreesSync({ store })], [[], []]);
  // The next one takes them over.
  const have: number[] = [];
  const tree = await importTree({ source, store }, { onHave: (layer) => void have.push(layer) });
  assertEquals([have, tree.layers, listTreesSync({ store }).length], [[0, 1], 3, 1]);
});

/** A layer that is inflated by another thread, since it is large. */
const LARGE_LAYER = { tar: large(APART, file("last")) };

for (
  const [what, change, said] of [
    ["another digest", { digest: `sha256:${"0".repeat(64)}` }, "its digest is sha256:"],
    ["another diff id", { diffId: `sha256:${"0".repeat(64)}` }, "its diff id is sha256:"],
    [
      "a cut",
      { blob: gzip(LARGE_LAYER.tar).subarray(0, WORKER_SIZE + 1000) },
      "unexpected end of file",
    ],
    [
      "more after it",
      { blob: concat(gzip(LARGE_LAYER.tar), new Uint8Array(9), bytes("x")) },
      "something follows",
    ],
    ["what leads out of it", { tar: large(APART, file("../out")) }, "leads out of the layer"],
  ] as const
) {
  Deno.test(`tree import refuses a large layer with ${what}`, async () => {
    await using dir = await tempDir();
    const [source, store] = [dir.join("source"), dir.join("store")];
    await Deno.writeFile(source, archiveOfFiles(layoutFiles([{ ...LARGE_LAYER, ...change }])));
    const error = await assertRejects(() => importTree({ source, store }), OverlayError);
    assertStringIncludes(error.message, said);
    assertEquals(children(), []);
    await assertClean(store);
  });
}

Deno.test("tree import unpacks large layers, both at once", async () => {
  await using dir = await tempDir();
  const [source, store] = [dir.join("source"), dir.join("store")];
  const layers = [LARGE_LAYER, {
    tar: archive(file("more", concat(...Array(APART).fill(MEGABYTE)))),
  }];
  await Deno.writeFile(source, archiveOfFiles(layoutFiles(layers)));
  const { layers: count, entries } = await importTree({ source, store });
  assertEquals([count, entries], [2, APART + 2]);
  assertEquals((await checkTrees({ store })).map(({ differences }) => differences), [[]]);
});

Deno.test("tree import tells why reading failed, however the archive is compressed", async () => {
  await using dir = await tempDir();
  const store = dir.join("store");
  const programs = ["cat", "gzip -1 --stdout", "xz -0 --stdout", "zstd --stdout"];
  const all = programs.map((program) => ({ program, megabytes: 3, ends: [1, 4] }));
  // So much is inflated by another thread.
  for (
    const { program, megabytes, ends } of [
      ...all,
      { program: "gzip -1 --stdout", megabytes: APART, ends: [1, 4, 8] },
    ]
  ) {
    const [plain, source] = [dir.join("plain"), dir.join("source")];
    await Deno.writeFile(plain, large(megabytes));
    await sh("sh", "-c", `${program} "$0" > "$1"`, plain, source);
    for (const at of ends) {
      let reads = 0;
      const reason = new Error("the disk is broken");
      const onRead = () => {
        if (++reads === at) throw reason;
      };
      const error = await assertRejects(() => importTree({ source, store }, { onRead }));
      assertEquals(error, reason);
      assertEquals(children(), []);
      await assertClean(store);
    }
  }
});
