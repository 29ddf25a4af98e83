/**
 * `runInOverlay()`: streams, signals and errors of a command that a program runs.
 *
 * @module
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InvalidValueError, OverlayError, runInOverlay, runPermissions } from "../../mod.ts";
import type { RunningCommand, RunRequest } from "../../mod.ts";
import { isThere, RUNTIMES, testRun } from "../_rootfs.ts";
import { mountsBelow } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

function test(
  name: string,
  fn: (request: RunRequest & { readonly pod: string }, dir: TempDir) => Promise<void>,
): void {
  testRun(name, async (dir) => {
    await fn({ lower: dir.join("root"), pod: dir.join("pod") }, dir);
    assertEquals(await mountsBelow(dir.path), []);
  });
}

const PIPED = { stdin: "null", stdout: "piped", stderr: "piped" } as const;

function decode(bytes: Uint8Array | null): string {
  return new TextDecoder().decode(bytes ?? undefined);
}

for (const runtime of RUNTIMES) {
  test(`runInOverlay() by ${runtime} returns the end of a command and its output`, async (request) => {
    const warnings: string[] = [];
    const traced: string[] = [];
    const result = await runInOverlay({
      ...request,
      runtime,
      env: { A: "b", LD_PRELOAD: "/none" },
      workdir: "/tmp",
      network: "none",
      cmd: ["sh", "-c", "unset LD_PRELOAD; echo $A; pwd; echo err >&2; exit 3"],
    }, {
      ...PIPED,
      warn: (text) => void warnings.push(text),
      trace: (text) => void traced.push(text),
    });
    assertEquals([result.code, result.signal, decode(result.stdout)], [3, null, "b\n/tmp\n"]);
    assertStringIncludes(decode(result.stderr), "err\n");
    assertEquals(warnings.some((text) => text.includes("LD_PRELOAD")), runtime === "chroot");
    assert(traced.some((text) => text.startsWith("run ")));
  });
}

test("runInOverlay() gives its caller the streams and the signals", async (request) => {
  let running: RunningCommand | null = null;
  const script = "trap 'exit 9' USR1; cat; echo ready; while :; do sleep 0.05; done";
  const result = await runInOverlay({ ...request, cmd: ["sh", "-c", script] }, {
    ...PIPED,
    stdin: "piped",
    started: (command) => {
      running = command;
      const writer = command.process.stdin.getWriter();
      writer.write(new TextEncoder().encode("typed\n")).then(() => writer.close());
      const reader = command.process.stdout.getReader();
      const wait = async () => {
        let text = "";
        while (!text.includes("ready")) text += decode((await reader.read()).value ?? null);
        assertStringIncludes(text, "typed\n");
        await command.kill("SIGUSR1");
        await reader.cancel();
      };
      wait();
    },
  });
  assert(running !== null);
  assertEquals([result.code, result.stdout], [9, null]);
});

test("runInOverlay() ends a command when it is aborted, and starts none afterwards", async (request) => {
  const controller = new AbortController();
  const reason = new Error("enough");
  const options = { ...PIPED, signal: controller.signal };
  const cmd = ["sh", "-c", "exec sleep 600"];
  const started = () => controller.abort(reason);
  const error = await assertRejects(() =>
    runInOverlay({ ...request, cmd }, { ...options, started })
  );
  assertEquals(error, reason);
  let isStarted = false;
  const late = { ...options, started: () => void (isStarted = true) };
  assertEquals(await assertRejects(() => runInOverlay({ ...request, cmd }, late)), reason);
  assertEquals(isStarted, false);
});

test("runInOverlay() goes on in a pod, and removes one that it made", async (request, dir) => {
  const { pod } = request;
  await runInOverlay({ ...request, cmd: ["sh", "-c", "echo one > /file"] }, PIPED);
  const again = await runInOverlay({ pod, cmd: ["cat", "/file"] }, PIPED);
  assertEquals(decode(again.stdout), "one\n");
  const pods = dir.join("pods");
  const alone = { lower: dir.join("root"), pods, cmd: ["true"] };
  assertEquals((await runInOverlay(alone, PIPED)).code, 0);
  assertEquals(await Array.fromAsync(Deno.readDir(pods)), []);
  assertEquals((await runInOverlay({ pod, remove: true, cmd: ["true"] }, PIPED)).code, 0);
  assertEquals(await isThere(pod), false);
});

test("runInOverlay() refuses what is no request, and leaves nothing", async (request, dir) => {
  const table: readonly (readonly [given: object, words: string])[] = [
    [{ cmd: ["true"], pod: undefined, lower: undefined }, "nothing to run it in is named"],
    [{ cmd: "true" }, "it must be a list of strings"],
    [{ cmd: ["true"], env: { A: 1 } }, "it must be an object of strings"],
    [{ cmd: ["true"], env: { "A=": "" } }, "NAME=VALUE"],
    [{ cmd: ["true"], runtime: "docker" }, "docker"],
    [{ cmd: ["true"], network: "bridge" }, "bridge"],
    [{ cmd: ["true"], colour: "red" }, "there is no such field"],
    [{ cmd: ["tr\0ue"] }, "NUL"],
    [{ cmd: [] }, "none is given"],
    [{ cmd: ["true"], workdir: "tmp" }, "it must begin with a slash"],
    [{ cmd: ["true"], bind: ["x"] }, "SOURCE:TARGET"],
    [{ cmd: ["true"], bind: [`${dir.path}:/`] }, "hide all of the rootfs"],
    [{ cmd: ["true"], runtime: "chroot", bind: [`${dir.path}:/mnt`] }, "cannot show it"],
    [{ cmd: ["true"], runtime: "bwrap", user: "33" }, "it can only run root"],
  ];
  for (const [given, words] of table) {
    const wrong = { ...request, ...given } as RunRequest;
    const error = await assertRejects(() => runInOverlay(wrong, PIPED), InvalidValueError);
    assertStringIncludes(error.message, words);
  }
  for (const [command, code] of [["nosuch", "missing"], ["/etc", "failed"]] as const) {
    const error = await assertRejects(
      () => runInOverlay({ ...request, cmd: [command] }, PIPED),
      OverlayError,
    );
    assertEquals(error.code, code);
  }
});

test("runPermissions() are those of the render, the process and the end", async (request, dir) => {
  const { read, write, run } = await runPermissions({ ...request, remove: true, cmd: ["true"] });
  assert([dir.path, "/etc/resolv.conf"].every((path) => read.includes(path)));
  assertEquals(write, [dir.path]);
  for (const program of ["mount", "umount", "rm", "setpriv"]) {
    assert(run.includes(`/bin/${program}`));
  }
  const alone = await runPermissions({ ...request, network: "none", cmd: ["true"] });
  assert(!alone.read.includes("/etc/resolv.conf"));
});
