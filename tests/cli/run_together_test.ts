/**
 * `overlay-render run` beside others, and at its limits: several commands in one pod, and what keeps an app from being unmounted.
 *
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { cli, commandLine } from "../_cli.ts";
import { isThere, testRun as test } from "../_rootfs.ts";
import { runInOverlay } from "../../lib/api/run_overlay.ts";
import { mountsBelow } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";

const render = (dir: TempDir) => ["--lower", dir.join("root"), "--pod", dir.join("pod")];

/** A command that waits for a line of its stdin, and then ends with a status. */
class Waiting {
  readonly child: Deno.ChildProcess;

  constructor(flags: readonly string[], status: number) {
    const script = `echo ready; read -r line; exit ${status}`;
    const [program = "", ...args] = commandLine(["run", ...flags, "--", "sh", "-c", script]);
    const streams = { stdin: "piped", stdout: "piped", stderr: "piped" } as const;
    this.child = new Deno.Command(program, { args, ...streams }).spawn();
  }

  async ready(): Promise<this> {
    const reader = this.child.stdout.getReader();
    await reader.read();
    reader.releaseLock();
    return this;
  }

  async end(): Promise<{ readonly status: number; readonly stderr: string }> {
    const writer = this.child.stdin.getWriter();
    await writer.write(new TextEncoder().encode("go\n"));
    await writer.close();
    const { code, stderr } = await this.child.output();
    return { status: code, stderr: new TextDecoder().decode(stderr) };
  }
}

test("run leaves the app mounted while another command runs in it, and the last one unmounts it", async (dir) => {
  const first = await new Waiting(render(dir), 3).ready();
  const second = await new Waiting(["--pod", dir.join("pod")], 4).ready();
  const third = await new Waiting(render(dir), 5).ready();
  assertEquals((await first.end()).status, 3);
  assertEquals((await mountsBelow(dir.path)).length, 1);
  assertEquals((await second.end()).status, 4);
  assertEquals((await mountsBelow(dir.path)).length, 1);
  assertEquals((await third.end()).status, 5);
  assertEquals(await mountsBelow(dir.path), []);
});

test("run does not wait for a command in another app of the pod", async (dir) => {
  const other = await new Waiting([...render(dir), "--app", "other"], 0).ready();
  const { status } = await cli(["run", ...render(dir), "--app", "one", "--", "true"]);
  assertEquals(status, 0);
  assertEquals((await mountsBelow(dir.path)).length, 1);
  await other.end();
  assertEquals(await mountsBelow(dir.path), []);
});

test("run --rm keeps a pod that another command runs in, and tells its own exit status", async (dir) => {
  const first = await new Waiting(render(dir), 3).ready();
  const args = ["run", "--pod", dir.join("pod"), "--rm", "--", "sh", "-c", "exit 6"];
  const { status, stderr } = await cli(args);
  assertEquals(status, 6);
  assertStringIncludes(stderr, "the pod stays: another command runs in it");
  assertEquals((await mountsBelow(dir.path)).length, 1);
  assertEquals((await first.end()).status, 3);
});

test("run tells the exit status of its command although the app is in use", async (dir) => {
  const first = await new Waiting(render(dir), 9).ready();
  const holder = new Deno.Command("sleep", {
    args: ["1000"],
    cwd: dir.join("pod/rootfs"),
  }).spawn();
  try {
    const { status, stderr } = await first.end();
    assertEquals(status, 9);
    assertStringIncludes(stderr, `warning: Cannot unmount "${dir.join("pod/rootfs")}"`);
  } finally {
    holder.kill();
    await holder.status;
  }
  assertEquals((await cli(["unmount", "--pod", dir.join("pod")])).status, 0);
});

test("run --rm does not remove a pod that was there before when its command is not started", async (dir) => {
  const make = ["run", ...render(dir), "--", "sh", "-c", "echo precious > /data"];
  assertEquals((await cli(make)).status, 0);
  await Deno.mkdir(dir.join("other"));
  const pod = ["--rm", "--pod", dir.join("pod")];
  const table = [
    ["--lower", dir.join("other"), ...pod, "--", "true"],
    ["--lower", dir.join("root"), ...pod, "--workdir", "/typo", "--", "true"],
    [...pod, "--", "nosuch"],
  ];
  for (const args of table) {
    await cli(["run", ...args]);
    const { stdout } = await cli(["run", "--pod", dir.join("pod"), "--", "cat", "/data"]);
    assertEquals(stdout, "precious\n", args.join(" "));
  }
  assertEquals(await mountsBelow(dir.path), []);
  assertEquals((await cli(["run", ...pod, "--", "true"])).status, 0);
  assertEquals(await isThere(dir.join("pod")), false);
});

test("run hands on a signal that comes before the command has begun", async (dir) => {
  const request = { lower: dir.join("root"), pod: dir.join("pod"), cmd: ["sleep", "1000"] };
  const streams = { stdin: "null", stdout: "null", stderr: "null" } as const;
  const sent: Promise<void>[] = [];
  const { code } = await runInOverlay(request, {
    ...streams,
    started: ({ kill }) => void sent.push(kill("SIGTERM")),
  });
  await Promise.all(sent);
  assertEquals(code, 143);
  const controller = new AbortController();
  const aborted = runInOverlay(request, {
    ...streams,
    signal: controller.signal,
    started: () => controller.abort(new Error("no more")),
  });
  await assertRejects(() => aborted, Error, "no more");
  assertEquals(await mountsBelow(dir.path), []);
});

test("run says with status 126 that the kernel does not execute a command", async (dir) => {
  await Deno.writeTextFile(dir.join("root/bin/odd"), "#!/no/such/interpreter\n", { mode: 0o755 });
  const flags = ["run", ...render(dir), "--runtime", "bwrap"];
  const { status, stderr } = await cli([...flags, "--", "odd"]);
  assertEquals(status, 126);
  assertStringIncludes(stderr, 'error: Cannot run "odd": the runtime did not start it');
  assertEquals((await cli([...flags, "--", "false"])).status, 1);
});

test("run takes more words than bubblewrap does", async (dir) => {
  const words = Array.from({ length: 9000 }, String);
  const command = ["--", "sh", "-c", "echo $#", "sh", ...words];
  const refused = await cli(["run", ...render(dir), "--runtime", "bwrap", ...command]);
  assertEquals(refused.status, 125);
  assertStringIncludes(refused.stderr, "too many words");
  if (!await isThere("/sbin/runc")) return;
  assertEquals((await cli(["run", ...render(dir), ...command])).stdout, "9000\n");
});

test("run ends a command whose listener fails", async (dir) => {
  const request = { lower: dir.join("root"), pod: dir.join("pod"), cmd: ["sleep", "1000"] };
  const failing: { process?: Deno.ChildProcess } = {};
  const failed = runInOverlay(request, {
    stdin: "null",
    started: ({ process }) => {
      failing.process = process;
      throw new Error("of the listener");
    },
  });
  await assertRejects(() => failed, Error, "of the listener");
  assertEquals((await failing.process?.status)?.signal, "SIGKILL");
  assertEquals(await mountsBelow(dir.path), []);
});

test("run does not take an app for what a killed run left", async (dir) => {
  await Deno.writeTextFile(dir.join("root/lock"), "");
  const app = [...render(dir), "--app", "one", "--dest", dir.join("pod/run-one")];
  assertEquals((await cli(["render", ...app])).status, 0);
  await Deno.writeTextFile(dir.join("pod/run-one/rootfs/lock"), "").catch(() => {});
  await Deno.writeTextFile(dir.join("pod/run-one/lock"), "");
  assertEquals((await cli(["run", ...render(dir), "--app", "two", "--", "true"])).status, 0);
  assertEquals(await isThere(dir.join("pod/run-one/lock")), true);
});

test("run takes a directory of the host as working directory", async (dir) => {
  await Deno.mkdir(dir.join("host/below"), { recursive: true });
  const bind = ["run", ...render(dir), "--bind", `${dir.join("host")}:/src`];
  assertEquals((await cli([...bind, "-w", "/src/below", "--", "pwd"])).stdout, "/src/below\n");
  const { status, stderr } = await cli([...bind, "-w", "/src/no", "--", "pwd"]);
  assertEquals(status, 126);
  assertStringIncludes(stderr, "/src/no");
});
