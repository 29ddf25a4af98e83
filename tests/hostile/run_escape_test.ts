/**
 * Ways out of a rootfs that a command in it tries, and what a hostile image does to the one that starts it.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { cli } from "../_cli.ts";
import { isThere, RUNTIMES, testRun } from "../_rootfs.ts";
import { hasScript, onTerminal } from "../_terminal.ts";
import { sh, snapshot } from "../_temp.ts";
import type { TempDir } from "../_temp.ts";
import { BAKED } from "../../tools/flags.ts";

/** Runs a command in the rootfs. */
type Run = (command: readonly string[], flags?: readonly string[]) => ReturnType<typeof cli>;

/** The tests are for the runtimes that confine a command. */
const CONFINING = RUNTIMES.filter((runtime) => runtime !== "chroot");

function test(name: string, fn: (dir: TempDir, run: Run) => Promise<void>): void {
  for (const runtime of CONFINING.length > 0 ? CONFINING : ["none"]) {
    testRun(`${name}, by ${runtime}`, async (dir) => {
      await fn(dir, (command, flags = []) => {
        const root = ["--lower", dir.join("root"), "--pod", dir.join("pod")];
        return cli(["run", ...root, "--runtime", runtime, ...flags, "--", ...command]);
      });
    });
  }
}

test("a command does not leave its root by a second chroot", async (dir, run) => {
  await Deno.writeTextFile(dir.join("secret"), "of the host");
  const up = Array(20).fill("..").join("/");
  const script = `mkdir -p /tmp/jail && chroot /tmp/jail /bin/sh 2>/dev/null
    cd /tmp && chroot /tmp/../tmp /bin/true 2>/dev/null; cd /; cat ${up}${dir.join("secret")}`;
  const { stdout, stderr } = await run(["sh", "-c", script]);
  assertEquals(stdout, "");
  assertStringIncludes(stderr, "No such file");
});

test("a command sees no process of the host", async (_, run) => {
  const { stdout } = await run(["ps"]);
  const ids = stdout.trim().split("\n").slice(1).map((line) => parseInt(line, 10));
  assert(ids.length > 0 && ids.every((id) => id < 20), stdout);
});

/** Files of /proc and /sys that change the host, which root may write whatever its capabilities. */
const KNOBS = [
  "/proc/sys/kernel/core_pattern",
  "/proc/sys/kernel/modprobe",
  "/proc/sys/vm/overcommit_memory",
  "/proc/sysrq-trigger",
  "/proc/irq/default_smp_affinity",
  "/proc/mtrr",
];

test("a command changes no setting of the kernel", async (_, run) => {
  // It writes what is there: a test must not change the machine it fails on.
  const script = 'for f; do [ -e "$f" ] && v=$(cat "$f" 2>/dev/null) && ' +
    '(printf "%s" "$v" > "$f") 2>/dev/null && echo "$f"; done; true';
  assertEquals((await run(["sh", "-c", script, "sh", ...KNOBS])).stdout, "");
});

test("a command opens no device of the host", async (dir, run) => {
  // The image holds a device, and the command makes one: both are the host's /dev/kmsg, which root can read.
  await sh("mknod", dir.join("root/tmp/kmsg"), "c", "1", "11");
  const script =
    "head -c 1 /tmp/kmsg 2>/dev/null | head -c 1; mknod /tmp/new c 1 11 2>/dev/null && " +
    "head -c 1 /tmp/new 2>/dev/null; echo none";
  assertEquals((await run(["sh", "-c", script])).stdout, "none\n");
});

test(
  "a command mounts nothing, and has no capability beyond those of a container",
  async (_, run) => {
    const { stdout } = await run([
      "sh",
      "-c",
      "cat /proc/self/status; mount -t tmpfs x /tmp && echo mounted",
    ]);
    assert(!stdout.includes("mounted"));
    assertStringIncludes(stdout, "NoNewPrivs:\t1");
    const [, effective = ""] = /CapEff:\t([0-9a-f]+)/.exec(stdout) ?? [];
    // CAP_SYS_ADMIN is 21, CAP_MKNOD 27, CAP_SYS_MODULE 16, CAP_SYS_PTRACE 19.
    for (const bit of [21n, 27n, 16n, 19n]) assertEquals(BigInt(`0x${effective}`) >> bit & 1n, 0n);
  },
);

test("a command inherits no file descriptor", async (dir, run) => {
  await Deno.writeTextFile(dir.join("secret"), "of the host");
  const holds = ["bash", "-c", `exec 5<"$0" 63<"$0" && exec "$@"`, dir.join("secret")];
  const args = ["--lower", dir.join("root"), "--pod", dir.join("pod")];
  const script =
    "for n in 3 4 5 6 63; do [ -e /proc/self/fd/$n ] && cat /proc/self/fd/$n; done; true";
  const { status, stdout } = await cli(["run", ...args, "--", "sh", "-c", script], {
    wrapper: holds,
  });
  assertEquals([status, stdout.replaceAll("\n", "")], [0, ""]);
  assertEquals((await run(["sh", "-c", "readlink /proc/self/cwd"])).stdout, "/\n");
});

test("a command's environment holds nothing of the host", async (dir, _) => {
  const args = ["run", "--lower", dir.join("root"), "--pod", dir.join("pod"), "--", "env"];
  const { stdout } = await cli(args, { env: { SECRET: "of the host" } });
  assert(!stdout.includes("SECRET") && !stdout.includes("NO_COLOR"), stdout);
});

test("variables of the image load nothing into the programs that start it", async (dir, run) => {
  const lib = dir.join("root/evil.so");
  await Deno.writeTextFile(lib, "no library");
  const flags = ["-e", `LD_PRELOAD=${lib}`, "-e", "BASH_ENV=/evil", "-e", `LD_AUDIT=${lib}`];
  const { status, stderr } = await run(["true"], flags);
  assertEquals(status, 0);
  assert(!stderr.includes("evil.so"), stderr);
});

test("a symlink of the image leads no mount out of it", async (dir, run) => {
  await Deno.mkdir(dir.join("victim"));
  await Deno.writeTextFile(dir.join("victim/resolv.conf"), "of the host");
  await Deno.mkdir(dir.join("host"));
  await Deno.remove(dir.join("root/etc/resolv.conf"));
  await Deno.symlink(dir.join("victim/resolv.conf"), dir.join("root/etc/resolv.conf"));
  await Deno.symlink(dir.join("victim"), dir.join("root/data"));
  await Deno.symlink(`/oldroot${dir.join("victim")}`, dir.join("root/old"));
  const before = await snapshot(dir.join("victim"));
  for (const target of ["/data/made", "/old/made", "/data/../../made"]) {
    await run(["true"], ["--bind", `${dir.join("host")}:${target}`]);
    assertEquals(await snapshot(dir.join("victim")), before, target);
  }
});

test("a terminal that a command is started in takes no words of it", async (dir, _) => {
  if (!await hasScript() || !await isThere("/usr/bin/perl")) return;
  const bind = ["/usr", "/lib", "/lib64"].filter((path) => Deno.statSync(path).isDirectory)
    .flatMap((path) => ["--bind", `${path}:${path}:ro`]);
  // TIOCSTI is 0x5412; TIOCSCTTY, which would take the terminal over, is 0x540e.
  const program = "my ($zero, $key) = (0, qq(x)); ioctl(STDIN, 0x540e, $zero); " +
    "print ioctl(STDIN, 0x5412, $key) ? qq(typed) : qq(refused)";
  const args = ["run", "--lower", dir.join("root"), "--pod", dir.join("pod"), ...bind];
  const command = ["--", "/usr/bin/perl", "-e", program];
  assertStringIncludes((await onTerminal([...args, ...command], BAKED)).stdout, "refused");
  // On a kernel that lets a process type into its terminal, one that keeps it can.
  const legacy = await Deno.readTextFile("/proc/sys/dev/tty/legacy_tiocsti").catch(() => "1");
  const kept = await onTerminal([...args, "--tty", ...command], BAKED);
  assertStringIncludes(kept.stdout, legacy.trim() === "1" ? "typed" : "refused");
});
