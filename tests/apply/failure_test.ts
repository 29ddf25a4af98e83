import {
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  InterruptedError,
  MountError,
  OverlayError,
  RefusedError,
  renderOverlay,
  unmountOverlay,
} from "../../mod.ts";
import type { RenderRequest } from "../../mod.ts";
import { cli, commandLine } from "../_cli.ts";
import { mountTooDeep } from "../_disks.ts";
import { afterFirst, writerOf } from "../_fifo.ts";
import { assertErrorText, assertFails, disk, flagsOf, runMain } from "../_main.ts";
import { keepMounts, makePlace, mountedPod } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { modeOf, mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";

/** What a pod is like before the render that fails: not there, or with another app that is mounted. */
const PODS = ["missing", "used"] as const;

interface Scene {
  readonly dir: TempDir;
  /** A render that would succeed. */
  readonly good: RenderRequest;
}

interface Case {
  readonly name: string;
  readonly status: number;
  readonly code: string;
  readonly type: typeof OverlayError | typeof RefusedError | typeof MountError;
  readonly cause: string;
  /** Which pods it can happen to. @default {all} */
  readonly pods?: readonly (typeof PODS)[number][];
  /** Comes before the pod and its other app are made. */
  readonly prepare?: (dir: TempDir) => Promise<unknown>;
  /** Puts into place what is wrong, and says what then is asked for and which path is to blame. */
  readonly arrange: (scene: Scene) => Promise<[Partial<RenderRequest>, string]> | [
    Partial<RenderRequest>,
    string,
  ];
}

const failed = { status: 1, code: "failed", type: OverlayError } as const;
const missing = { ...failed, code: "missing" } as const;
const foreign = {
  status: 3,
  code: "foreign-mount",
  type: RefusedError,
  cause: "something else is mounted there",
} as const;
const refused = { status: 3, type: RefusedError } as const;
const mountFails = {
  status: 1,
  code: "mount-failed",
  type: MountError,
  cause: "the kernel refused it as invalid",
} as const;

/** A rootfs outside the pod, on which something can be mounted before there is a pod. */
async function outside({ dir, good }: Scene): Promise<{ dest: string; rootfs: string }> {
  const dest = dir.join("dest");
  await Deno.mkdir(`${dest}/rootfs`, { recursive: true });
  await Deno.writeTextFile(`${dest}/rootfs/kept`, good.pod);
  return { dest, rootfs: `${dest}/rootfs` };
}

async function readOnly(path: string): Promise<void> {
  await sh("mount", "-o", "remount,bind,ro", "--", path);
}

async function bindItself(path: string): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await sh("mount", "--bind", "--", path, path);
}

const CASES: readonly Case[] = [
  {
    ...missing,
    name: "a missing lower",
    cause: "it does not exist",
    arrange: ({ dir }) => [{ lower: dir.join("no-image") }, dir.join("no-image")],
  },
  {
    ...missing,
    name: "a missing lower below one that is there",
    cause: "it does not exist",
    arrange: ({ dir, good }) => {
      return [{ lower: [`${good.lower}`, dir.join("no-image")] }, dir.join("no-image")];
    },
  },
  {
    ...failed,
    code: "not-a-directory",
    name: "a lower that is a file",
    cause: "it is a file",
    arrange: ({ good }) => [{ lower: `${good.lower}/file` }, `${good.lower}/file`],
  },
  {
    ...missing,
    name: "a lower below a file",
    cause: "it does not exist",
    arrange: ({ good }) => [{ lower: `${good.lower}/file/x` }, `${good.lower}/file/x`],
  },
  {
    ...missing,
    name: "a missing manifest",
    cause: "it does not exist",
    arrange: ({ dir }) => [{ manifest: dir.join("none.json") }, dir.join("none.json")],
  },
  {
    ...missing,
    name: "a manifest that is a directory",
    cause: "it is a directory",
    arrange: ({ good }) => [{ manifest: `${good.lower}` }, `${good.lower}`],
  },
  {
    ...failed,
    code: "not-a-directory",
    name: "a destination that is a file",
    cause: "it is a file",
    arrange: async ({ dir }) => {
      await Deno.writeTextFile(dir.join("dest"), "a file");
      return [{ dest: dir.join("dest") }, dir.join("dest")];
    },
  },
  {
    ...failed,
    code: "not-a-directory",
    name: "a rootfs that is a file",
    cause: "it is a file",
    arrange: async ({ dir }) => {
      await Deno.mkdir(dir.join("dest"));
      await Deno.writeTextFile(dir.join("dest", "rootfs"), "a file");
      return [{ dest: dir.join("dest") }, dir.join("dest", "rootfs")];
    },
  },
  {
    ...failed,
    name: "a destination in a directory that is missing",
    cause: "No such file or directory",
    arrange: ({ dir }) => [{ dest: dir.join("no", "dest") }, dir.join("no", "dest")],
  },
  {
    ...failed,
    name: "a destination that cannot be made",
    cause: "Read-only file system",
    arrange: async ({ dir }) => {
      await bindItself(dir.join("locked"));
      await readOnly(dir.join("locked"));
      return [{ dest: dir.join("locked", "dest") }, dir.join("locked", "dest")];
    },
  },
  {
    ...foreign,
    name: "another file system on the rootfs",
    arrange: async (scene) => {
      const { dest, rootfs } = await outside(scene);
      await sh("mount", "-t", "tmpfs", "tmpfs", "--", rootfs);
      await Deno.writeTextFile(`${rootfs}/theirs`, "kept");
      return [{ dest }, rootfs];
    },
  },
  {
    ...foreign,
    name: "an overlay of others on the rootfs",
    arrange: async (scene) => {
      const { dest, rootfs } = await outside(scene);
      const layers = `lowerdir=${scene.good.lower}:${dest}`;
      await sh("mount", "-t", "overlay", "overlay", "-o", layers, "--", rootfs);
      return [{ dest }, rootfs];
    },
  },
  {
    ...foreign,
    name: "a bind mount of the same file system on the rootfs",
    arrange: async (scene) => {
      const { dest, rootfs } = await outside(scene);
      await sh("mount", "--bind", "--", `${scene.good.lower}/etc`, rootfs);
      return [{ dest }, rootfs];
    },
  },
  {
    ...foreign,
    name: "the rootfs bound to itself",
    arrange: async (scene) => {
      const { dest, rootfs } = await outside(scene);
      await bindItself(rootfs);
      return [{ dest }, rootfs];
    },
  },
  {
    ...foreign,
    name: "a bind mount of the lower on the rootfs of a view, made by others",
    arrange: async (scene) => {
      const { dest, rootfs } = await outside(scene);
      await sh("mount", "--bind", "--", `${scene.good.lower}`, rootfs);
      return [{ dest, readOnly: true, options: [] }, rootfs];
    },
  },
  {
    ...failed,
    name: "a pod that cannot be made",
    cause: "Read-only file system",
    pods: ["missing"],
    prepare: (dir) => bindItself(dir.join("pods")),
    arrange: async ({ dir, good }) => {
      await readOnly(dir.join("pods"));
      return [{}, good.pod];
    },
  },
  {
    ...failed,
    name: "a pod that cannot be written to",
    cause: "Read-only file system",
    pods: ["used"],
    prepare: (dir) => bindItself(dir.join("pods")),
    arrange: async ({ dir, good }) => {
      await readOnly(dir.join("pods"));
      return [{}, `${good.pod}/overlay.lock`];
    },
  },
  {
    ...failed,
    name: "a pod in a directory that is a file",
    cause: "Not a directory",
    pods: ["missing"],
    arrange: async ({ dir }) => {
      await Deno.writeTextFile(dir.join("no"), "");
      return [{ pod: dir.join("no", "pod") }, dir.join("no", "pod")];
    },
  },
  {
    ...failed,
    code: "not-a-directory",
    name: "a pod that is a file",
    cause: "it is a file",
    pods: ["missing"],
    arrange: async ({ good }) => {
      await Deno.writeTextFile(good.pod, "a file");
      return [{}, good.pod];
    },
  },
  {
    ...missing,
    name: "a group that there is none of",
    cause: "/etc/group has none",
    arrange: () => [{ group: "no-such-group" }, "/etc/group"],
  },
  {
    status: 3,
    code: "too-long",
    type: RefusedError,
    name: "more lowers than an option string can hold",
    cause: "the kernel reads at most 4095 bytes",
    arrange: ({ good }) => {
      const lower = Array.from({ length: 40 }, (_, i) => `/${i}${"x".repeat(200)}`);
      return [{ lower, tree: "t" }, good.pod];
    },
  },
  {
    ...mountFails,
    name: "a mount of an overlay on an overlay",
    arrange: async ({ dir, good }) => {
      const lower = await mountTooDeep(dir.join("deep"));
      return [{ lower }, `${good.pod}/apps/web/rootfs`];
    },
  },
  {
    ...refused,
    code: "conflicting-options",
    cause: 'option "metacopy=on" excludes "redirect_dir=off"',
    name: "options that exclude each other",
    arrange: ({ good }) => {
      const options = ["metacopy=on", "redirect_dir=off"];
      return [{ options }, `${good.pod}/apps/web/rootfs`];
    },
  },
  {
    ...refused,
    code: "upper-on-overlay",
    cause: "an overlay cannot hold another one's upper",
    name: "a mount with its upper on an overlay",
    pods: ["missing"],
    arrange: async ({ dir, good }) => {
      for (const name of ["l", "u", "w"]) await Deno.mkdir(dir.join(name));
      const layers = ["lowerdir=l", "upperdir=u", "workdir=w", ...MARKS].join(",")
        .replaceAll(/dir=/g, `dir=${dir.path}/`);
      await sh("mount", "-t", "overlay", "overlay", "-o", layers, "--", dir.join("pods"));
      return [{}, good.pod];
    },
  },
  {
    ...refused,
    code: "lower-nested",
    cause: "it lies in the lower",
    name: "a mount of one lower below another",
    arrange: ({ good }) => {
      const lower = [`${good.lower}`, `${good.lower}/etc`];
      return [{ lower }, `${good.lower}/etc`];
    },
  },
];

/** Makes the pod: none, or one with an app that is mounted, and an `overlay/` of a mode that will be set. */
async function setScene(dir: TempDir, pod: (typeof PODS)[number]): Promise<Scene> {
  await Deno.mkdir(dir.join("pods"), { recursive: true });
  const lower = await makeTree(dir.join("image"));
  const good = { lower, pod: dir.join("pods", "pod"), app: "web", options: MARKS };
  if (pod === "used") {
    const { rootfs } = await renderOverlay({ ...good, app: "db" });
    await Deno.writeTextFile(`${rootfs}/made`, "by db");
    await Deno.chmod(`${good.pod}/overlay`, 0o2770);
  }
  return { dir, good };
}

for (const { name, type, prepare, arrange, pods = PODS, ...expected } of CASES) {
  for (const pod of pods) {
    Deno.test(`renderOverlay() leaves nothing after ${name}, pod ${pod}`, async () => {
      await using dir = await tempDir();
      await prepare?.(dir);
      const scene = await setScene(dir, pod);
      const [bad, path] = await arrange(scene);
      const request = { ...scene.good, ...bad };
      await assertFails(dir.path, ["render", ...flagsOf(request)], { ...expected, path });

      const before = await disk(dir.path);
      const error = await assertRejects(() => renderOverlay(request), type);
      assertEquals([error.code, error.path], [expected.code, path]);
      assertEquals(error.exitStatus, expected.status);
      assertEquals(await disk(dir.path), before);
      if (pod === "used") assertEquals(modeOf(`${scene.good.pod}/overlay`), "2770");
      else if (path !== scene.good.pod) assertEquals(await isMissing(scene.good.pod), true);
    });
  }
}

Deno.test("overlay-render render exits 1 and leaves nothing when mount fails", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "used");
  const lower = await mountTooDeep(dir.join("deep"));
  const before = await disk(dir.path);
  const { status, stdout, stderr } = await cli(["render", ...flagsOf({ ...good, lower })]);
  assertEquals([status, stdout], [1, ""]);
  assertErrorText(stderr);
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderOverlay() carries what mount said in its error", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "missing");
  const lower = await mountTooDeep(dir.join("deep"));
  const error = await assertRejects(() => renderOverlay({ ...good, lower }), MountError);
  const { argv, status, stderr } = error.failure;
  assertEquals([argv[0], status], ["/bin/mount", 32]);
  assertStringIncludes(stderr, "wrong fs type, bad option");
  assertStringIncludes(error.message, `lowerdir=${lower},upperdir=${good.pod}/overlay/deep/upper`);
});

Deno.test({
  name: "overlay-render render by who may not write there leaves nothing [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const { good } = await setScene(dir, "missing");
    await Deno.chmod(dir.join("pods"), 0o555);
    const before = await disk(dir.path);
    // Root without its capabilities may write no more than any user.
    const wrapper = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
    const { status, stderr } = await cli(["render", ...flagsOf(good)], { wrapper });
    assertEquals(status, 1);
    assertErrorText(stderr);
    assertStringIncludes(stderr, `Cannot make directory "${good.pod}": Permission denied`);
    assertMatch(stderr, /hint: (run as a user who has access to|root may not: )/);
    assertEquals(await disk(dir.path), before);
  },
});

Deno.test("renderOverlay() says which lowers the kernel refuses to stack", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "missing");
  const lower = `${good.lower}`;
  await Deno.symlink(lower, dir.join("alias"));
  const table: readonly [lower: string[], code: string, words: RegExp][] = [
    [[lower, lower], "lower-twice", /it is given twice/],
    [[lower, dir.join("alias")], "lower-twice", /it is the lower ".*image", too/],
    [[lower, `${lower}/etc`], "lower-nested", /it lies in the lower/],
    [[`${dir.join("alias")}/etc`, lower], "lower-nested", /it lies in the lower/],
  ];
  const before = await disk(dir.path);
  for (const [lower, code, words] of table) {
    const request = { ...good, lower, tree: "image" };
    const error = await assertRejects(() => renderOverlay(request), RefusedError);
    // The kernel's own word, ELOOP, speaks of symbolic links, of which there are none.
    assertEquals(error.code, code);
    assertMatch(error.message, words);
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test({
  name: "overlay-render render by who may not mount leaves nothing [skipped: needs root]",
  ignore: !isRealRoot,
  fn: async () => {
    await using dir = await tempDir();
    const { good } = await setScene(dir, "missing");
    const before = await disk(dir.path);
    const wrapper = ["setpriv", "--bounding-set=-sys_admin"];
    const { status, stderr } = await cli(["render", ...flagsOf(good)], { wrapper });
    assertEquals(status, 1);
    assertErrorText(stderr);
    assertStringIncludes(stderr, "hint: run as root, or inside: unshare --user");
    assertEquals(await disk(dir.path), before);
  },
});

Deno.test("renderOverlay() leaves the other apps of the pod alone", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "used");
  const db = `${good.pod}/apps/db/rootfs`;
  await sh("umount", "--", db);
  const { status, stdout, stderr } = await runMain(["render", ...flagsOf(good)]);
  assertEquals([status, stdout, stderr], [0, `${db.replace("/db/", "/web/")}\n`, ""]);
  assertEquals((await mountsBelow(good.pod)).includes(db), false);
});

/** How many lines a render tells: an interruption can come at each of them. */
async function linesOf(request: RenderRequest): Promise<number> {
  let lines = 0;
  await renderOverlay(request, { trace: () => void lines++ });
  await unmountOverlay({ pod: request.pod, app: request.app ?? "" });
  await Deno.remove(request.pod, { recursive: true });
  return lines;
}

for (const [signal, status] of [[2, 130], [15, 143]] as const) {
  Deno.test(`main() exits ${status} and leaves nothing, at whatever point signal ${signal} comes`, async () => {
    await using dir = await tempDir();
    const { good } = await setScene(dir, "missing");
    const manifest = dir.join("manifest.json");
    await Deno.writeTextFile(manifest, "{}");
    const request = { ...good, group: 0, manifest };
    const lines = await linesOf(request);
    assertEquals(lines > 10, true);
    const before = await disk(dir.path);
    for (let at = 1; at <= lines; at++) {
      let seen = 0;
      let send = (_signal: number): void => {};
      let stderr = "";
      const result = await runMain(["render", "--verbose", ...flagsOf(request)], {
        err: (text) => {
          stderr += text;
          if (++seen === at) send(signal);
        },
        onSignal: (handler) => {
          send = handler;
          return () => {};
        },
      });
      assertEquals([result.status, result.stdout], [status, ""], `at line ${at}:\n${stderr}`);
      const said = stderr.split("\n").filter((line) => /^(error|hint):/.test(line));
      assertEquals(said, [`error: Cannot finish: interrupted by signal ${signal}, and undone`]);
      assertEquals(await disk(dir.path), before);
    }
  });
}

/** Reads what a process says until it has said a word, and the rest of it when asked to. */
async function listen(
  stream: ReadableStream<Uint8Array>,
  word: string,
): Promise<() => Promise<string>> {
  const words = stream.pipeThrough(new TextDecoderStream()).values();
  let said = "";
  while (!said.includes(word)) {
    const { value, done } = await words.next();
    if (done) throw new Error(`it never came to "${word}": ${said}`);
    said += value;
  }
  return async () => said + (await Array.fromAsync(words)).join("");
}

for (const [signal, status] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`overlay-render render exits ${status} on ${signal} while it waits for the lock`, async () => {
    await using dir = await tempDir();
    const { good } = await setScene(dir, "used");
    using held = await Deno.open(`${good.pod}/overlay.lock`, { read: true, write: true });
    await held.lock(true);
    const before = await disk(dir.path);
    const [program = "", ...args] = commandLine(["render", "--verbose", ...flagsOf(good)]);
    await using child = new Deno.Command(program, {
      args,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const rest = await listen(child.stderr, "lock ");
    child.kill(signal);
    const ended = await child.status;
    assertEquals([ended.code, ended.signal], [status, null]);
    assertStringIncludes(await rest(), "\nerror: Cannot finish: interrupted by signal");
    assertEquals(await disk(dir.path), before);
  });
}

Deno.test("renderOverlay() rejects with the reason of a signal that is aborted before", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "missing");
  const before = await disk(dir.path);
  const reason = new InterruptedError(15);
  const options = { signal: AbortSignal.abort(reason) };
  assertEquals(await assertRejects(() => renderOverlay(good, options)), reason);
  assertEquals(await disk(dir.path), before);
});

Deno.test("renderOverlay() says what it could not take back", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "missing");
  const image = `${good.pod}/overlay/image`;
  const trace = (text: string) => {
    if (text.startsWith("mount ")) Deno.writeTextFileSync(`${image}/theirs`, "made meanwhile");
  };
  const request = { ...good, lower: await mountTooDeep(dir.join("deep", "image")) };
  const error = await assertRejects(() => renderOverlay(request, { trace }), OverlayError);
  assertEquals(error.code, "mount-failed");
  assertStringIncludes(error.message, `could not remove "${image}": Directory not empty`);
  assertInstanceOf(error.cause, MountError);
  assertEquals(await Deno.readTextFile(`${image}/theirs`), "made meanwhile");
  assertEquals(await isMissing(`${image}/upper`), true);
});

Deno.test("renderOverlay() leaves what lies below a mount that it cannot take back", async () => {
  await using dir = await tempDir();
  const { good } = await setScene(dir, "missing");
  const rootfs = `${good.pod}/apps/web/rootfs`;
  const { signal } = new AbortController();
  const opened: Deno.FsFile[] = [];
  // Comes as soon as the rootfs is mounted, when somebody has begun to use it.
  signal.throwIfAborted = () => {
    try {
      opened.push(Deno.openSync(`${rootfs}/file`));
    } catch {
      return;
    }
    throw new InterruptedError(2);
  };
  const error = await assertRejects(() => renderOverlay(good, { signal }), OverlayError);
  opened.forEach((file) => file.close());
  assertEquals([opened.length, error.code], [1, "interrupted"]);
  assertStringIncludes(error.message, `could not unmount "${rootfs}": target is busy`);
  assertEquals(await mountsBelow(dir.path), [rootfs]);
  assertEquals(await Deno.readTextFile(`${rootfs}/file`), "from the tree");
  assertEquals(await isMissing(`${good.pod}/overlay/image/upper/web`), false);
});

Deno.test("renderOverlay() does not hang when a FIFO takes the place of a manifest", async () => {
  await using dir = await tempDir();
  const manifest = dir.join("manifest");
  await Deno.writeTextFile(manifest, "{}");
  await sh("mkfifo", dir.join("fifo"));
  const lower = await makeTree(dir.join("image"));
  const request = { lower, pod: dir.join("pod"), app: "web", manifest, options: MARKS };
  await using _writer = writerOf(manifest);
  const checkpoint = (step: string) => {
    if (step === "lock") Deno.renameSync(dir.join("fifo"), manifest);
  };
  const error = await assertRejects(() => renderOverlay(request, { checkpoint }), OverlayError);
  const reason = "it is neither a file nor a directory";
  assertEquals(error.message, `Cannot read manifest ${JSON.stringify(manifest)}: ${reason}`);
  assertEquals(await isMissing(request.pod), true);
});

Deno.test("renderOverlay() reads no manifest without an end", async () => {
  await using dir = await tempDir();
  const manifest = dir.join("manifest");
  await Deno.writeTextFile(manifest, "");
  await Deno.truncate(manifest, 2 ** 40);
  const lower = await makeTree(dir.join("image"));
  const request = { lower, pod: dir.join("pod"), app: "web", manifest, options: MARKS };
  const error = await assertRejects(() => renderOverlay(request), OverlayError);
  assertEquals([error.code, await isMissing(request.pod)], ["too-large", true]);
});

Deno.test("renderOverlay() does not hang when a FIFO takes the place of a lower", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  await sh("mkfifo", dir.join("fifo"));
  const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
  await using _writer = writerOf(lower);
  using _patch = afterFirst("statSync", lower, () => {
    Deno.renameSync(lower, dir.join("aside"));
    Deno.renameSync(dir.join("fifo"), lower);
  });
  const error = await assertRejects(() => renderOverlay(request), OverlayError);
  assertEquals([error.code, await isMissing(request.pod)], ["missing", true]);
});

Deno.test("an upper that is in use elsewhere is told as such, and no stranger's mount is named", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const options = [...MARKS, "index=on"];
  const { pod } = await mountedPod(place, "one", {
    options: ["index=on"],
    ephemeral: false,
  });
  await using _other = await keepMounts();
  await unmountOverlay({ pod });
  const request = { lower: place.lower, pod, app: "web", options };
  const error = await assertRejects(() => renderOverlay(request), MountError);
  assertEquals(error.code, "busy");
  assertMatch(
    error.message,
    /^Cannot mount overlay at "[^"]+": its upper or its work is in use, with options /,
  );
  assertMatch(error.hint ?? "", /^a process uses them still, perhaps in another mount namespace/);
});
