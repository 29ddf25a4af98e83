/**
 * The removal of pods where somebody or something is in its way: another user who swaps directories, a
 * signal, an attribute, a disk that is full.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { collectPods, OverlayError, prepareOverlay, renderOverlay } from "../../mod.ts";
import { cli, commandLine } from "../_cli.ts";
import { runMain } from "../_main.ts";
import { brief, makePlace, mountedPod, preparedPod } from "../_pods.ts";
import type { Place } from "../_pods.ts";
import { isRealRoot } from "../_privilege.ts";
import { mountsBelow, sh, tempDir } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { isMissing, MARKS, namesIn } from "../_tree.ts";

/**
 * Exchanges directories with links to a victim, again and again, in the working directory, which it holds
 * open wherever that is moved to. It sleeps for some 100 µs in between, which leaves the processor to gc.
 */
const RACER = `
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
  char d[32], l[32];
  for (int i = 0; i < 40; i++) {
    sprintf(d, "d%d", i);
    sprintf(l, "l%d", i);
    if (mkdir(d, 0755) || symlink(argv[1], l)) return 1;
  }
  puts("ready");
  fflush(stdout);
  for (;; usleep(50)) for (int i = 0; i < 40; i++) {
    sprintf(d, "d%d", i);
    sprintf(l, "l%d", i);
    renameat2(AT_FDCWD, d, AT_FDCWD, l, RENAME_EXCHANGE);
  }
}
`;

async function compiled(dir: TempDir): Promise<string> {
  await Deno.writeTextFile(dir.join("racer.c"), RACER);
  await sh("cc", "-O2", "-w", "-o", dir.join("racer"), dir.join("racer.c"));
  await Deno.chmod(dir.path, 0o755);
  return dir.join("racer");
}

async function hasCompiler(): Promise<boolean> {
  try {
    return (await new Deno.Command("cc", { args: ["--version"], stdout: "null" }).output()).success;
  } catch {
    return false;
  }
}

const canRace = isRealRoot && await hasCompiler();

/** The most rounds, and the most time, that a race is tried for. */
const ROUNDS = 200;
const RACE_MS = 60_000;

Deno.test({
  name: `collectPods() removes nothing outside a pod in which another user swaps directories${
    canRace ? "" : " [skipped: needs root and cc]"
  }`,
  ignore: !canRace,
  fn: async () => {
    await using dir = await tempDir();
    const place = await makePlace(dir);
    const racer = await compiled(dir);
    const victim = dir.join("victim");
    await Deno.mkdir(victim);
    const files = Array.from({ length: 50 }, (_, at) => `file${at}`).sort();
    for (const name of files) await Deno.writeTextFile(`${victim}/${name}`, "not the pod's");
    const end = Date.now() + RACE_MS;
    for (let round = 0; round < ROUNDS && Date.now() < end; round++) {
      const { pod, upper } = await preparedPod(place, "a");
      // A directory in which every user of the app may write, as its /tmp.
      await Deno.mkdir(`${upper}/tmp`);
      await Deno.chmod(`${upper}/tmp`, 0o1777);
      await using process = await start(racer, victim, `${upper}/tmp`, pod);
      for (let tries = 0; !await isMissing(`${place.pods}/a`) || tries === 0; tries++) {
        await collectPods({ pod }).catch((error) => {
          if (!(error instanceof OverlayError)) throw error;
        });
        if (tries > 3) break;
      }
      await process.end();
      assertEquals(await namesIn(victim), files, `round ${round}`);
      await collectPods({ pod, ignoreMissing: true });
      assertEquals(await namesIn(place.pods), [], `round ${round}`);
    }
  },
});

/** Starts the racer as another user, who holds a directory of a pod open. */
async function start(
  racer: string,
  victim: string,
  cwd: string,
  pod: string,
): Promise<AsyncDisposable & { end(): Promise<void> }> {
  // He came in while the pod was open.
  await sh("chmod", "--recursive", "go+x", `${pod}/overlay`);
  await Deno.chmod(pod, 0o755);
  const child = new Deno.Command("setpriv", {
    args: ["--reuid=65534", "--regid=65534", "--clear-groups", racer, victim],
    cwd,
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  assertEquals(new TextDecoder().decode(value), "ready\n");
  await reader.cancel();
  let ended: Promise<void> | null = null;
  const end = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.status;
  };
  return { end: () => ended ??= end(), [Symbol.asyncDispose]: () => ended ??= end() };
}

for (const [signal, status] of [["SIGTERM", 143], ["SIGINT", 130]] as const) {
  Deno.test(`overlay-render gc hears ${signal} while it removes, and is taken up again`, async () => {
    await using dir = await tempDir();
    const place = await smallPlace(dir, "nr_inodes=0");
    const { pod, upper } = await preparedPod(place, "a");
    const many = 'cd "$1" && seq 100000 | xargs touch';
    await sh("sh", "-c", many, "sh", upper);
    const [program = "", ...args] = commandLine(["gc", "--pod", pod]);
    const child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const output = child.output();
    const garbage = `${place.pods}/garbage/a`;
    while (await isMissing(garbage)) await new Promise((resolve) => setTimeout(resolve, 1));
    child.kill(signal);
    const { code, stderr } = await output;
    assertEquals(code, status, new TextDecoder().decode(stderr));
    assertMatch(new TextDecoder().decode(stderr), /what was done stays; run it again to go on/);
    // Nothing goes on in the background, and what tells that there is a pod is there.
    const left = (await namesIn(`${garbage}/overlay/image/upper/web`)).length;
    assert(left > 0);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assertEquals((await namesIn(`${garbage}/overlay/image/upper/web`)).length, left);
    assert(!await isMissing(`${garbage}/overlay.fstab`));
    assertEquals(brief(await collectPods({ pod }), dir).removed, ["pods/garbage/a"]);
    assertEquals(await namesIn(place.pods), []);
  });
}

/** Tells whether the file system of temporary files knows the attribute. */
async function canBeImmutable(): Promise<boolean> {
  await using dir = await tempDir();
  await Deno.writeTextFile(dir.join("file"), "");
  try {
    await sh("chattr", "+i", dir.join("file"));
    await sh("chattr", "-i", dir.join("file"));
    return true;
  } catch {
    return false;
  }
}

const immutable = isRealRoot && await canBeImmutable();

for (const where of ["a file in it", "the pod itself"] as const) {
  Deno.test({
    name: `overlay-render gc says what to type when ${where} is immutable${
      immutable ? "" : " [skipped: needs root and chattr]"
    }`,
    ignore: !immutable,
    fn: async () => {
      await using dir = await tempDir();
      const place = await makePlace(dir);
      const { pod, upper } = await preparedPod(place, "a");
      const isFile = where === "a file in it";
      await sh("chattr", "+i", isFile ? `${upper}/made` : pod);
      const { status, stderr } = await runMain(["gc", `--pod=${pod}`]);
      const [, type = ""] = /\nhint: .*type as root: (chattr .*)\n$/.exec(stderr) ?? [];
      const path = isFile ? `${place.pods}/garbage/a` : pod;
      assertEquals([status, type], [1, `chattr ${isFile ? "-R " : ""}-i ${path}`], stderr);
      await sh("sh", "-c", type);
      assertEquals((await collectPods({ pod })).removed.length, 1);
    },
  });
}

/** Mounts a small file system for the pods of a place. */
async function smallPlace(dir: TempDir, options: string): Promise<Place> {
  const place = await makePlace(dir);
  await sh("mount", "-t", "tmpfs", "-o", `mode=0755,${options}`, "tmpfs", place.pods);
  return place;
}

Deno.test("collectPods() removes a pod from a file system that has not a byte left", async () => {
  await using dir = await tempDir();
  const place = await smallPlace(dir, "size=1m");
  const { pod } = await mountedPod(place, "a");
  await renderOverlay({ lower: place.lower, pod, app: "db", options: MARKS });
  const { pod: other } = await mountedPod(place, "b");
  await sh("sh", "-c", 'cat /dev/zero > "$1/big" 2>/dev/null || :', "sh", `${pod}/overlay/image`);
  await assertRejects(() => Deno.writeTextFile(`${other}/byte`, "x"), Error, "No space left");
  for (const name of ["b", "a"]) {
    const collected = await collectPods({ pod: `${place.pods}/${name}` });
    assertEquals(brief(collected, dir).removed, [`pods/garbage/${name}`]);
  }
  assertEquals([await namesIn(place.pods), await mountsBelow(dir.path)], [[], [place.pods]]);
});

for (const make of [mountedPod, preparedPod]) {
  Deno.test(`collectPods() frees space before it takes some, where nothing more can be made: ${make.name}`, async () => {
    await using dir = await tempDir();
    const place = await smallPlace(dir, "nr_inodes=200");
    const { pod, upper } = await make(place, "a");
    await sh("sh", "-c", 'cd "$1" && seq 1000 | xargs touch 2>/dev/null || :', "sh", upper);
    await assertRejects(() => Deno.mkdir(`${place.pods}/more`), Error, "No space left");
    assertEquals(brief(await collectPods({ pod }), dir).removed, ["pods/garbage/a"]);
    assertEquals(await namesIn(place.pods), []);
  });
}

Deno.test("collectPods() begins the grace period anew of what was put aside in the future", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  await collectPods({ pod, phase: "mark" });
  const garbage = `${place.pods}/garbage/a`;
  const future = new Date(Date.now() + 1000 * 86_400_000);
  await Deno.utime(garbage, future, future);
  const collected = await collectPods({ pods: place.pods, gracePeriodMs: 60_000 });
  assertMatch(`${collected.kept[0]?.reason}`, /its grace period ends in (1m|\d+s)$/);
  assert(((await Deno.stat(garbage)).mtime ?? future) < future);
  await Deno.utime(garbage, future, future);
  const now = await collectPods({ pods: place.pods, gracePeriodMs: 0 });
  assertEquals(brief(now, dir).removed, ["pods/garbage/a"]);
});

Deno.test("collectPods() goes on with a removal that was killed, with a name that is not UTF-8 in the pod", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  for (let at = 1;; at++) {
    const { pod } = await preparedPod(place, "a");
    await sh(
      "sh",
      "-c",
      'mkdir "$1/$(printf "odd\\\\377")" && : > "$1/$(printf "odd\\\\377")/file"',
      "sh",
      pod,
    );
    const crash = new Error("crash");
    let steps = 0;
    const checkpoint = () => {
      if (++steps === at) throw crash;
    };
    const crashed = await collectPods({ pod }, { checkpoint }).then(() => false, (error) => {
      assertEquals(error, crash);
      return true;
    });
    if (crashed) await collectPods({ pod });
    assertEquals(await namesIn(place.pods), [], `after step ${at}`);
    if (!crashed) return assert(at > 3);
  }
});

Deno.test("renderOverlay() takes a copy back that has a name that is not UTF-8, and one that was left", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  await sh("sh", "-c", ': > "$1/$(printf "odd\\\\377")"', "sh", place.lower);
  const request = {
    lower: place.lower,
    pod: `${place.pods}/a`,
    app: "web",
    overlay: "never" as const,
  };
  const crash = new Error("crash");
  const checkpoint = (step: string) => {
    if (step === "copy") throw crash;
  };
  assertEquals(await assertRejects(() => prepareOverlay(request, { checkpoint })), crash);
  assertEquals(await namesIn(place.pods), []);
  const { rootfs } = await prepareOverlay(request);
  // What a run left that was killed while it copied.
  await Deno.rename(rootfs, `${rootfs.replace(/rootfs$/, "")}.overlay-render.rootfs`);
  await prepareOverlay(request);
  assertEquals(
    await Deno.readTextFile(`${rootfs}/file`),
    await Deno.readTextFile(`${place.lower}/file`),
  );
});

Deno.test("overlay-render gc needs a permission for rm, and touches nothing without it", async () => {
  await using dir = await tempDir();
  const place = await makePlace(dir);
  const { pod } = await preparedPod(place, "a");
  const flags = [
    `--allow-read=${place.pods}`,
    `--allow-write=${place.pods}`,
    "--allow-run=/bin/mount,/bin/umount,/bin/findmnt,/bin/find",
    "--allow-sys=uid",
  ];
  const { status, stderr } = await cli(["gc", "--pod", pod], { flags });
  assertEquals([status, await namesIn(place.pods)], [4, ["a"]]);
  assertMatch(stderr, /--allow-run=\/bin\/rm/);
});
