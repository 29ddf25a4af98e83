import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { OverlayError, RefusedError, renderOverlay, unmountOverlay } from "../../mod.ts";
import { lockPod } from "../../lib/system/lock.ts";
import { holdLock } from "../_lock_holder.ts";
import { assertErrorText, disk, runMain } from "../_main.ts";
import { modeOf, sh, tempDir } from "../_temp.ts";
import { isMissing, makeTree, MARKS } from "../_tree.ts";
import { underUmask } from "../_umask.ts";

Deno.test("lockPod() makes the lock file, for the owner alone", async () => {
  await using dir = await tempDir();
  for (const umask of [0o000, 0o022, 0o077]) {
    const path = dir.join(`lock-${umask}`);
    const made = await underUmask(umask, () => lockPod(path));
    assertEquals([made.made, made.path, modeOf(path)], [true, path, "0600"]);
    made[Symbol.dispose]();
    using found = await lockPod(path);
    assertEquals(found.made, false);
  }
});

Deno.test("lockPod() keeps its process id in the file while it is held", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  {
    using _lock = await lockPod(path);
    assertMatch(await Deno.readTextFile(path), new RegExp(`^${Deno.pid}\\b`));
  }
  assertEquals((await Deno.readTextFile(path)).trim(), "");
});

Deno.test("lockPod() locks for flock(1) too", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  const tryLock = () => new Deno.Command("flock", { args: ["-n", path, "true"] }).output();
  {
    using _lock = await lockPod(path);
    assertEquals((await tryLock()).success, false);
  }
  assertEquals((await tryLock()).success, true);
});

Deno.test("lockPod() refuses what another process holds, and names it", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  await using holder = await holdLock(path);
  const start = performance.now();
  const error = await assertRejects(() => lockPod(path, { waitMs: 100 }), RefusedError);
  assertEquals(performance.now() - start >= 100, true);
  assertEquals([error.code, error.path, error.exitStatus], ["locked", path, 3]);
  assertStringIncludes(error.message, `process ${holder.pid} holds it`);
  assertEquals(await Deno.readTextFile(path), `${holder.pid}\n`);
});

Deno.test("lockPod() does not name anybody when the file does not", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  await using _holder = await holdLock(path);
  for (const text of ["", "someone\n", "12 ; \u001b[2J\n", "-1"]) {
    await Deno.writeTextFile(path, text);
    const error = await assertRejects(() => lockPod(path, { waitMs: 0 }), RefusedError);
    if (!/^\d/.test(text)) {
      assertStringIncludes(error.message, "another process holds it");
      assertStringIncludes(error.hint ?? "", `fuser --verbose ${path}`);
    }
    assertEquals(error.message.includes("\u001b"), false);
  }
});

Deno.test("lockPod() gets the lock when its holder ends, however it ends", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  await using holder = await holdLock(path);
  const waiting = lockPod(path, { waitMs: 60_000 });
  await holder.kill();
  using lock = await waiting;
  assertEquals(lock.made, false);
  assertMatch(await Deno.readTextFile(path), new RegExp(`^${Deno.pid}\\b`));
});

Deno.test("lockPod() locks the file that is there, when a holder has removed the one it waited for", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  const first = await lockPod(path);
  const waiting = lockPod(path, { waitMs: 60_000 });
  await Deno.remove(path);
  first[Symbol.dispose]();
  using second = await waiting;
  assertEquals(second.made, true);
  // Whoever opens the file now meets the lock.
  const error = await assertRejects(() => lockPod(path, { waitMs: 0 }), RefusedError);
  assertEquals(error.code, "locked");
});

Deno.test("lockPod() locks the file that is there, when another one has been put in its place", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  const first = await lockPod(path);
  const waiting = lockPod(path, { waitMs: 60_000 });
  await Deno.rename(path, dir.join("old"));
  await Deno.writeTextFile(path, "");
  first[Symbol.dispose]();
  using second = await waiting;
  assertEquals(second.made, false);
  assertMatch(await Deno.readTextFile(path), new RegExp(`^${Deno.pid}\\b`));
});

Deno.test("lockPod() lets one in at a time, though each removes the file", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  let inside = 0;
  const seen: number[] = [];
  await Promise.all(Array.from({ length: 12 }, async () => {
    using lock = await lockPod(path, { waitMs: 60_000 });
    seen.push(++inside);
    await new Promise((resolve) => setTimeout(resolve, 1));
    inside--;
    await Deno.remove(lock.path);
  }));
  assertEquals(seen, Array(12).fill(1));
  assertEquals(await isMissing(path), true);
});

Deno.test("lockPod() stops waiting when its signal is aborted, and rejects with the reason", async () => {
  await using dir = await tempDir();
  const path = dir.join("lock");
  await using holder = await holdLock(path);
  const controller = new AbortController();
  const reason = new Error("no time");
  const waiting = assertRejects(() => lockPod(path, { signal: controller.signal }));
  controller.abort(reason);
  assertEquals(await waiting, reason);
  assertEquals(await Deno.readTextFile(path), `${holder.pid}\n`);
});

Deno.test("lockPod() refuses what is no file", async () => {
  await using dir = await tempDir();
  await Deno.mkdir(dir.join("directory"));
  await Deno.writeTextFile(dir.join("file"), "");
  await Deno.symlink(dir.join("file"), dir.join("link"));
  await Deno.symlink(dir.join("nowhere"), dir.join("dangling"));
  await sh("mkfifo", dir.join("pipe"));
  for (const name of ["directory", "link", "dangling", "pipe"]) {
    const error = await assertRejects(() => lockPod(dir.join(name)), RefusedError);
    assertEquals([error.code, error.path], ["symlink", dir.join(name)]);
  }
  assertEquals(await isMissing(dir.join("nowhere")), true);
});

Deno.test("lockPod() fails where no file can be made", async () => {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("file"), "");
  for (const path of [dir.join("none", "lock"), dir.join("file", "lock")]) {
    const error = await assertRejects(() => lockPod(path), OverlayError);
    assertEquals([error.code, error.path], ["failed", path]);
  }
});

Deno.test("renderOverlay() and unmountOverlay() refuse a pod that another process changes", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
  await renderOverlay({ ...request, app: "db" });
  const path = dir.join("pod", "overlay.lock");
  await using holder = await holdLock(path);
  const before = await disk(dir.path);
  const acts = [
    () => renderOverlay(request, { waitMs: 30 }),
    () => unmountOverlay({ pod: request.pod }, { waitMs: 30 }),
  ];
  for (const act of acts) {
    const error = await assertRejects(act, RefusedError);
    assertEquals([error.code, error.path, error.exitStatus], ["locked", path, 3]);
    assertStringIncludes(error.message, `process ${holder.pid} holds it`);
    assertEquals(await disk(dir.path), before);
  }
});

Deno.test("renderOverlay() goes on as soon as the other process is done", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const request = { lower, pod: dir.join("pod"), app: "web", options: MARKS };
  await renderOverlay({ ...request, app: "db" });
  await using holder = await holdLock(dir.join("pod", "overlay.lock"));
  const rendering = renderOverlay(request, { waitMs: 60_000 });
  await holder.kill();
  assertEquals((await rendering).mounted, true);
  assertEquals((await Deno.readTextFile(dir.join("pod", "overlay.lock"))).trim(), "");
});

Deno.test("lockPod() tells why a file system cannot lock, and leaves no file", async () => {
  await using dir = await tempDir();
  const lower = await makeTree(dir.join("image"));
  const { tryLockSync } = Deno.FsFile.prototype;
  // No file system here fails so; NFS without its lock daemon does.
  Deno.FsFile.prototype.tryLockSync = () => {
    throw Object.assign(new Error("Input/output error (os error 5)"), { code: "EIO" });
  };
  try {
    const path = dir.join("overlay.lock");
    const error = await assertRejects(() => lockPod(path), OverlayError);
    assertEquals(error.message, `Cannot lock ${JSON.stringify(path)}: Input/output error`);
    assertEquals([error.code, await isMissing(path)], ["failed", true]);
    const args = ["render", "--lower", lower, "--pod", dir.join("pod")];
    const { status, stderr } = await runMain(args);
    assertEquals(status, 1);
    assertErrorText(stderr);
    assertEquals(await isMissing(dir.join("pod")), true);
  } finally {
    Deno.FsFile.prototype.tryLockSync = tryLockSync;
  }
});
