/**
 * `deno task test:selinux`: labels on a kernel with SELinux in enforcing mode, in a virtual machine.
 *
 * The machine is emulated, so that neither KVM nor SELinux is needed here; it takes some minutes.
 * Its parts are made by the first run, and kept in the user's cache. Where a program for it is missing,
 * nothing is run, and the reason said.
 *
 * @module
 */
import { run, say } from "../../tools/run.ts";

const HERE = new URL("./", import.meta.url).pathname;
const ROOT = new URL("../../", import.meta.url).pathname;
const PROGRAMS = ["qemu-system-x86_64", "mmdebstrap", "secilc", "cpio"];
const MINUTES = 30;

/** Ends what is running when this process is asked to end, so that nothing is left behind. */
const interrupted = new AbortController();

/** Runs a program that must succeed. */
async function must(...argv: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(argv, { cwd: ROOT, signal: interrupted.signal });
  if (status !== 0) throw new Error(`${argv.join(" ")}: exit status ${status}: ${stderr}${stdout}`);
  return stdout;
}

async function missingPrograms(): Promise<string[]> {
  const found = await Promise.all(PROGRAMS.map((name) => run(["which", name])));
  return PROGRAMS.filter((_, at) => found[at]?.status !== 0);
}

/** What the machine is made from decides where it is kept. */
async function machineDirectory(): Promise<string> {
  const sources = ["machine.sh", "init.sh", "policy.cil"].map((name) => HERE + name);
  const [sum = ""] = (await must("sh", "-c", 'cat "$@" | sha256sum', "sh", ...sources)).split(" ");
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return `${cache}/overlay-render/selinux-${sum.slice(0, 16)}`;
}

/** Makes kernel and system, unless they are there. */
async function makeMachine(directory: string): Promise<void> {
  if ((await run(["test", "-d", directory])).status === 0) return;
  say("          making the machine\n");
  await must("mkdir", "-p", directory.slice(0, directory.lastIndexOf("/")));
  const made = (await must("mktemp", "-d", `${directory}.XXXXXX`)).trim();
  try {
    await must("bash", `${HERE}machine.sh`, made);
    // Another run may have been faster; its machine is as good.
    await run(["mv", "--no-target-directory", made, directory]);
  } finally {
    await run(["rm", "-rf", made]);
  }
}

/** The system with what is tested in it: the kernel reads archives that follow one another. */
async function makeInitrd(directory: string, machine: string): Promise<string> {
  await must(Deno.execPath(), "task", "--quiet", "bundle");
  const files = `${directory}/files/machine`;
  await must("mkdir", "-p", files);
  const parts = [Deno.execPath(), `${ROOT}dist/overlay-render.js`, `${HERE}checks.sh`];
  await must("cp", "--dereference", ...parts, files);
  const pack = "cd files && find . -mindepth 1 | cpio --create --quiet --format=newc --owner=0:0";
  await must(
    "sh",
    "-c",
    `cd "$1" && { cat "$2"; (${pack}); } > initrd`,
    "sh",
    directory,
    `${machine}/system.cpio`,
  );
  return `${directory}/initrd`;
}

/** Boots the machine, shows what the checks say, and returns it. */
async function boot(machine: string, directory: string): Promise<string> {
  const initrd = await makeInitrd(directory, machine);
  const log = `${directory}/kernel.log`;
  const qemu = new Deno.Command("timeout", {
    args: [
      ...["--kill-after=9", `${MINUTES}m`, "qemu-system-x86_64", "-nodefaults", "-no-user-config"],
      ...["-no-reboot", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2G"],
      ...["-display", "none", "-kernel", `${machine}/kernel`, "-initrd", initrd],
      ...["-append", "console=ttyS0 quiet panic=-1 security=selinux selinux=1 enforcing=1"],
      ...["-serial", `file:${log}`, "-serial", "stdio"],
    ],
    stdin: "null",
    stdout: "piped",
    signal: interrupted.signal,
  }).spawn();
  let said = "";
  for await (const text of qemu.stdout.pipeThrough(new TextDecoderStream())) {
    said += text;
    say(text);
  }
  const { code } = await qemu.status;
  if (code !== 0) said += `the machine ended with status ${code}\n`;
  if (!/^\d+ passed, \d+ failed$/m.test(said)) say(await Deno.readTextFile(log));
  return said;
}

async function main(): Promise<number> {
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(name, () => interrupted.abort());
  }
  const missing = await missingPrograms();
  if (missing.length > 0) {
    say(`skipped: SELinux: ${missing.join(", ")} not found\n0 passed, 0 failed, 1 skipped\n`);
    return 0;
  }
  const machine = await machineDirectory();
  await makeMachine(machine);
  const directory = await Deno.makeTempDir({ prefix: "overlay-render-selinux-" });
  try {
    return /^[1-9]\d* passed, 0 failed$/m.test(await boot(machine, directory)) ? 0 : 1;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

if (import.meta.main) Deno.exit(await main());
