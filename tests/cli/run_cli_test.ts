/**
 * `overlay-render run`: exit statuses, streams, signals, what a command sees, and what is left.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { cli, commandLine } from "../_cli.ts";
import type { CliResult } from "../_cli.ts";
import { isThere, RUNTIMES, testRun as test } from "../_rootfs.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { mountsBelow, sh, snapshot } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { BAKED } from "../../tools/flags.ts";

/** Runs a command in the rootfs, in a pod that stays. */
function run(
  dir: TempDir,
  command: readonly string[],
  flags: readonly string[] = [],
): Promise<CliResult> {
  return cli([
    "run",
    "--lower",
    dir.join("root"),
    "--pod",
    dir.join("pod"),
    ...flags,
    "--",
    ...command,
  ]);
}

/** Checks that nothing of a run is left: no mount, no file for its start. */
async function assertGone(dir: TempDir): Promise<void> {
  assertEquals(await mountsBelow(dir.path), []);
  const names = (await Array.fromAsync(Deno.readDir(dir.join("pod")))).map(({ name }) => name);
  assertEquals(names.filter((name) => name.includes("run-")), []);
}

for (const runtime of RUNTIMES) {
  test(`run --runtime ${runtime} hands on arguments, streams and the exit status`, async (dir) => {
    const flags = ["--runtime", runtime, "-e", "A=b c", "-w", "/tmp"];
    const script = 'echo "$A|$1|$PWD|$HOME"; echo err >&2; exit 7';
    const { status, stdout, stderr } = await run(dir, ["sh", "-c", script, "sh", "x\ny *"], flags);
    assertEquals([status, stdout], [7, "b c|x\ny *|/tmp|/root\n"]);
    assertMatch(stderr, /^err$/m);
    await assertGone(dir);
  });

  test(`run --runtime ${runtime} leaves no change behind`, async (dir) => {
    assertEquals((await run(dir, ["true"], ["--runtime", runtime])).status, 0);
    const { stdout } = await cli(["changes", "--pod", dir.join("pod")]);
    assertEquals(stdout, "");
  });

  test(`run --runtime ${runtime} ends with its command, and its command with it`, async (dir) => {
    for (const [signal, status] of [["INT", 43], ["TERM", 44], ["HUP", 45]] as const) {
      const script = `trap 'exit ${status}' ${signal}; echo ready; while :; do sleep 0.05; done`;
      const child = start(dir, ["sh", "-c", script], ["--runtime", runtime]);
      await readLine(child.stdout);
      child.kill(`SIG${signal}`);
      assertEquals((await child.status).code, status, signal);
    }
    const child = start(dir, ["sh", "-c", "echo ready; exec sleep 4242"], ["--runtime", runtime]);
    await readLine(child.stdout);
    child.kill("SIGKILL");
    await child.status;
    await waitUntil(async () => !(await commandLines()).includes(["sleep", "4242", ""].join("\0")));
    // What the killed one left in the pod, the next one removes.
    await run(dir, ["true"], ["--runtime", runtime]);
    const { stdout } = await cli(["status", "--pod", dir.join("pod"), "--json"]);
    assertEquals(JSON.parse(stdout).renders.length, 1);
    assertEquals((await cli(["unmount", "--pod", dir.join("pod")])).status, 0);
    await assertGone(dir);
    assertEquals(await listCgroups(child.pid), "");
  });

  test(`run --runtime ${runtime} says what cannot be started`, async (dir) => {
    await Deno.mkdir(dir.join("root/srv"));
    for (
      const [command, status] of [["nosuch", 127], ["/bin/nosuch", 127], ["/etc/passwd", 126], [
        "/srv",
        126,
      ]] as const
    ) {
      const { status: found, stderr } = await run(dir, [command], ["--runtime", runtime]);
      assertEquals(found, status, command);
      assertStringIncludes(stderr, `error: Cannot run "${command}": `);
    }
    await assertGone(dir);
  });

  test(`run --runtime ${runtime} --network none sees no other device`, async (dir) => {
    const { stdout } = await run(dir, ["ip", "-o", "link"], [
      "--runtime",
      runtime,
      "--network",
      "none",
    ]);
    assertMatch(stdout, /^1: lo: .*\n$/);
  });
}

function start(
  dir: TempDir,
  command: readonly string[],
  flags: readonly string[],
): Deno.ChildProcess {
  const args = ["run", "--quiet", "--lower", dir.join("root"), "--pod", dir.join("pod"), ...flags];
  const [program = "", ...rest] = commandLine([...args, "--", ...command]);
  return new Deno.Command(program, { args: rest, stdin: "null", stdout: "piped", stderr: "null" })
    .spawn();
}

async function readLine(stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.getReader();
  await reader.read();
  await reader.cancel();
}

/** The control groups of the container that a process made; the name of the container has its number. */
async function listCgroups(pid: number): Promise<string> {
  return await sh("find", "/sys/fs/cgroup", "-name", `overlay-render-${pid}-*`);
}

/** The command lines of all processes. */
async function commandLines(): Promise<string[]> {
  const all: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (/^\d+$/.test(name)) {
      all.push(await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => ""));
    }
  }
  return all;
}

async function waitUntil(isDone: () => Promise<boolean>): Promise<void> {
  for (let left = 600; !await isDone(); left--) {
    assert(left > 0, "it does not come to an end");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("run takes another user than root by runc", async (dir) => {
  if (!RUNTIMES.includes("runc")) return;
  const script = "id -u; id -g; id -G; echo $HOME; head -c 1 /proc/self/environ";
  const { status, stdout } = await run(dir, ["sh", "-c", script], ["-u", "www"]);
  assertEquals([status, stdout.split("\n").slice(0, 4)], [0, ["33", "34", "34 44", "/var/www"]]);
  const refused = await run(dir, ["true"], ["-u", "www", "--runtime", "bwrap"]);
  assertEquals(refused.status, 125);
  assertStringIncludes(refused.stderr, 'Cannot use runtime "bwrap"');
});

test("run goes on in a pod that was rendered before, mounted or not", async (dir) => {
  await run(dir, ["sh", "-c", "echo one > /file"]);
  const again = ["run", "--pod", dir.join("pod"), "--", "sh", "-c", "echo two >> /file"];
  assertEquals((await cli(again)).status, 0);
  assertEquals(
    (await cli(["render", "--lower", dir.join("root"), "--pod", dir.join("pod")])).status,
    0,
  );
  assertEquals((await cli(again)).status, 0);
  assertEquals(await Deno.readTextFile(dir.join("pod/rootfs/file")), "one\ntwo\ntwo\n");
  assertEquals((await mountsBelow(dir.path)).length, 1);
  const other = await cli(["run", "--pod", dir.join("pod"), "--read-only", "--", "true"]);
  assertEquals(other.status, 125);
  assertStringIncludes(other.stderr, "it stays as it was rendered");
});

test("run without a pod leaves nothing", async (dir) => {
  const before = await snapshot(dir.join("root"));
  const args = ["run", "--lower", dir.join("root"), "--pods", dir.join("pods"), "--"];
  assertEquals((await cli([...args, "sh", "-c", "echo x > /file; exit 3"])).status, 3);
  assertEquals((await cli([...args, "nosuch"])).status, 127);
  assertEquals(await Array.fromAsync(Deno.readDir(dir.join("pods"))), []);
  assertEquals(await snapshot(dir.join("root")), before);
  const named = await run(dir, ["touch", "/file"], ["--rm"]);
  assertEquals(named.status, 0);
  assertEquals(await isThere(dir.join("pod")), false);
});

test("run --bind shows a directory of the host", async (dir) => {
  await Deno.mkdir(dir.join("host"));
  await Deno.writeTextFile(dir.join("host/file"), "of the host");
  await Deno.symlink("/tmp", dir.join("root/link"));
  const read = await run(dir, ["cat", "/tmp/here/file"], [
    "--bind",
    `${dir.join("host")}:/link/here:ro`,
  ]);
  assertEquals(read.stdout, "of the host");
  const bind = ["--bind", `${dir.join("host")}:/tmp/here`];
  assertEquals(
    (await run(dir, ["touch", "/tmp/here/new"], [...bind.slice(0, 1), `${bind[1]}:ro`])).status,
    1,
  );
  assertEquals((await run(dir, ["touch", "/tmp/here/new"], bind)).status, 0);
  assert(await isThere(dir.join("host/new")));
  for (
    const text of [
      "host:/x",
      `${dir.path}:x`,
      `${dir.path}:/x:rx`,
      `${dir.path}/no:/x`,
      `${dir.path}:/`,
    ]
  ) {
    assertEquals((await run(dir, ["true"], ["--bind", text])).status, 125, text);
  }
});

test("run needs a rootfs without /dev, /proc and resolv.conf no less, and makes none", async (dir) => {
  await sh(
    "rm",
    "-r",
    dir.join("root/dev"),
    dir.join("root/proc"),
    dir.join("root/etc/resolv.conf"),
  );
  const { status, stderr } = await run(dir, ["true"]);
  assertEquals(status, 0);
  for (const name of ["/dev", "/proc", "/etc/resolv.conf"]) assertStringIncludes(stderr, name);
  assertEquals((await cli(["changes", "--pod", dir.join("pod")])).stdout, "");
});

test("run takes what it is not told from the config of the image", async (dir) => {
  const config = JSON.stringify({ Entrypoint: ["sh", "-c"], Cmd: ["echo $A $PWD"] });
  const store = ["--store", dir.join("store")];
  await sh("chmod", "0755", dir.join("root"));
  const imported = await cli(["tree", "import", dir.join("root"), "--name", "base", ...store]);
  assertEquals(imported.status, 0, imported.stderr);
  const pods = ["--pods", dir.join("pods")];
  const made = dir.join("made");
  assertEquals((await cli(["render", "--image", "base", "--pod", made, ...store])).status, 0);
  const { Entrypoint, Cmd } = JSON.parse(config);
  const committed = await cli([
    ...["commit", "--pod", made, "--name", "mine", "--squash", ...store, "--env", "A=b"],
    ...["--workdir", "/var/www", "--entrypoint", JSON.stringify(Entrypoint)],
    ...["--cmd", JSON.stringify(Cmd)],
  ]);
  assertEquals(committed.status, 0, committed.stderr);
  await cli(["unmount", "--pod", made]);
  const image = ["run", "--image", "mine", ...store, ...pods];
  assertEquals((await cli(image)).stdout, "b /var/www\n");
  assertEquals((await cli([...image, "-e", "A=c", "--", "echo $A"])).stdout, "c\n");
  assertEquals((await cli([...image, "--entrypoint", "", "--", "pwd"])).stdout, "/var/www\n");
  assertEquals((await cli([...image, "--entrypoint", "/bin/pwd"])).stdout, "/var/www\n");
});

test("run without a permission names it, and changes nothing", async (dir) => {
  const args = ["run", "--lower", dir.join("root"), "--pods", dir.join("pods")];
  const { stdout } = await cli([...args, "--flags", "--", "true"]);
  const flags = stdout.trim().split(" ");
  const done = await cli([...args, "--", "true"], { flags });
  assertEquals([done.status, done.stderr], [0, ""]);
  const before = await snapshot(dir.path);
  for (const flag of flags) {
    const { status, stderr } = await cli([...args, "--", "true"], {
      flags: flags.filter((other) => other !== flag),
    });
    assertEquals(status, 125, flag);
    assertStringIncludes(stderr, flag.slice(0, flag.indexOf("=")));
  }
  assertEquals(await snapshot(dir.path), before);
});

test("run of an ephemeral app that was rendered before needs rm, and says so", async (dir) => {
  const pod = ["--pod", dir.join("pod")];
  const render = ["render", "--lower", dir.join("root"), ...pod, "--ephemeral"];
  assertEquals((await cli(render)).status, 0);
  const { stdout } = await cli(["run", ...pod, "--flags", "--", "true"]);
  assertMatch(stdout, /--allow-run=\S*\/bin\/rm\b/);
});

test("run --dry-run touches nothing", async (dir) => {
  const before = await snapshot(dir.path);
  const { status, stdout } = await run(dir, ["true"], ["--dry-run"]);
  assertEquals(status, 0);
  assertStringIncludes(stdout, "/bin/setpriv");
  assertEquals(await snapshot(dir.path), before);
});

test("run refuses a command line without a rootfs or a command", async (dir) => {
  const pod = ["--pod", dir.join("pod")];
  const table: readonly (readonly [args: string[], words: string])[] = [
    [["--", "true"], "nothing to run it in is named"],
    [[...pod, "--", "true"], "it does not exist"],
    [["--lower", dir.join("root"), ...pod], "none is given, and the image has none"],
    [["--lower", dir.join("root"), ...pod, "true"], "Cannot use argument"],
    [["--lower", dir.join("root"), ...pod, "-e", "A", "--", "true"], "NAME=VALUE"],
    [["--lower", dir.join("root"), ...pod, "-w", "/no", "--", "true"], "no such directory"],
    [["--lower", dir.join("root"), ...pod, "-u", "who", "--", "true"], 'Cannot use user "who"'],
  ];
  for (const [args, words] of table) {
    const { status, stderr } = await cli(["run", ...args]);
    assertEquals(status, 125, args.join(" "));
    assertStringIncludes(stderr, words);
  }
});

test("run works with a closed stdin, and on a terminal it hands out none unless it is asked to", async (dir) => {
  const args = ["run", "--lower", dir.join("root"), "--pod", dir.join("pod")];
  const closed = ["sh", "-c", 'exec "$@" <&-', "sh"];
  const { status } = await cli([...args, "--", "cat"], { wrapper: closed });
  assertEquals(status, 0);
  if (!await hasScript()) return;
  const script = "[ -t 0 ] && (: < /dev/tty) 2> /dev/null && echo has it || echo has none";
  const without = await onTerminal([...args, "--", "sh", "-c", script], BAKED);
  assertMatch(without.stdout, /^has none$/m);
  const kept = await onTerminal([...args, "--tty", "--", "sh", "-c", script], BAKED);
  assertMatch(kept.stdout, /^has it$/m);
});
