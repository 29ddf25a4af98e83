/**
 * `deno task demo`: renders two apps of one pod from a small tree with the real command and the real
 * kernel, writes through both, shows that the tree did not change, and takes everything away.
 *
 * @module
 */
import { hexDigest } from "../lib/core/digest.ts";
import { findNamespace } from "./namespace.ts";
import { run, say } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");

/** A small tree in the manner of busybox: one program, and links to it by the names it has. */
const TREE: readonly { path: string; mode?: number; text?: string; link?: string }[] = [
  { path: "", mode: 0o755 },
  { path: "bin", mode: 0o755 },
  { path: "bin/busybox", mode: 0o755, text: '#!/bin/sh\ncat "${0%/*}/../etc/motd"\n' },
  { path: "bin/greet", link: "busybox" },
  { path: "bin/sh", link: "busybox" },
  { path: "etc", mode: 0o755 },
  { path: "etc/hostname", mode: 0o644, text: "tree\n" },
  { path: "etc/motd", mode: 0o644, text: "greetings from the tree\n" },
  { path: "tmp", mode: 0o1777 },
  { path: "var", mode: 0o755 },
  { path: "var/mail", mode: 0o2775 },
];

/** The changes that an app makes in its rootfs. */
interface Writes {
  readonly app: string;
  readonly change: string;
  readonly create: string;
  readonly remove: string;
}

const WRITES: readonly Writes[] = [
  { app: "web", change: "etc/motd", create: "var/index.html", remove: "etc/hostname" },
  { app: "api", change: "etc/hostname", create: "tmp/session", remove: "bin/sh" },
];

async function makeTree(directory: string): Promise<void> {
  for (const { path, mode = 0, text, link } of TREE) {
    const full = `${directory}/${path}`;
    if (link !== undefined) {
      await Deno.symlink(link, full);
      continue;
    }
    if (text === undefined) await Deno.mkdir(full);
    else await Deno.writeTextFile(full, text);
    await Deno.chmod(full, mode);
  }
}

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<string> {
  return (await hexDigest("SHA-256", data)).slice(0, 16);
}

/** Lists the paths of a directory with their modes; links and whiteouts are marked. */
async function list(directory: string, path = ""): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${directory}/${path}`));
  const lines: string[] = [];
  for (const { name } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const child = path === "" ? name : `${path}/${name}`;
    const info = await Deno.lstat(`${directory}/${child}`);
    const mode = ((info.mode ?? 0) & 0o7777).toString(8).padStart(4, "0");
    if (info.isSymlink) lines.push(`${child} -> ${await Deno.readLink(`${directory}/${child}`)}`);
    else if (info.isCharDevice && info.rdev === 0) lines.push(`${child} (deleted)`);
    else lines.push(`${mode} ${child}${info.isDirectory ? "/" : ""}`);
    if (info.isDirectory) lines.push(...await list(directory, child));
  }
  return lines;
}

/** One hash over all of a tree: paths, modes, owners, times, links, contents. */
async function hashOf(directory: string): Promise<string> {
  const format = "%p %y %m %U %G %T@ %l\\n";
  const listing = await run(["find", ".", "-printf", format], { cwd: directory });
  const sums = await run(["sh", "-c", "find . -type f -exec sha256sum {} +"], { cwd: directory });
  const lines = (listing.stdout + sums.stdout).split("\n").sort();
  return await sha256(new TextEncoder().encode(lines.join("\n")));
}

/** Prints what goes on; the long name of the demo's directory becomes `$D`. */
class Printer {
  #directory: string;
  #count = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  step(text: string): void {
    this.#count += 1;
    say(`${this.#count}. ${this.#short(text)}\n`);
  }

  lines(text: string): void {
    for (const line of text.trimEnd().split("\n")) say(`     ${this.#short(line)}\n`);
  }

  /** Short parts, as many in a line as fit, with a heading. */
  row(heading: string, parts: readonly string[]): void {
    let line = heading.padEnd(4);
    for (const part of parts) {
      if (line.length + part.length > 90) {
        this.lines(line);
        line = "    ";
      }
      line += `  ${part}`;
    }
    this.lines(line);
  }

  #short(text: string): string {
    return text.replaceAll(this.#directory, "$D");
  }
}

/** Runs the real command with exactly these Deno flags, and fails if it does. */
async function overlayRender(flags: readonly string[], ...args: string[]): Promise<string> {
  const deno = [Deno.execPath(), "run", "--quiet", "--no-prompt", ...flags, `${ROOT}/cli.ts`];
  const { status, stdout, stderr } = await run([...deno, ...args]);
  if (status !== 0) {
    throw new Error(`overlay-render ${args.join(" ")} ended with ${status}:\n${stderr}`);
  }
  return stdout;
}

async function write(rootfs: string, { app, change, create, remove }: Writes): Promise<void> {
  await Deno.writeTextFile(`${rootfs}/${change}`, `greetings from ${app}\n`);
  await Deno.writeTextFile(`${rootfs}/${create}`, `made by ${app}\n`);
  await Deno.remove(`${rootfs}/${remove}`);
}

/** Runs the demo in a private namespace. Returns whether the tree is unchanged. */
async function show(directory: string, options: readonly string[]): Promise<boolean> {
  const print = new Printer(directory);
  const tree = `${directory}/tree`;
  const pod = `${directory}/pod`;
  const extra = options.flatMap((option) => ["--option", option]);
  const request = (app: string) => ["--lower", tree, "--pod", pod, "--app", app, ...extra];
  await makeTree(tree);
  const before = await hashOf(tree);
  print.step("A tree, which nothing may change:");
  print.row("tree", await list(tree));

  print.step(`The plan; it needs no permission and touches nothing:`);
  print.lines(`overlay-render plan ${request("web").join(" ")}`);
  print.lines(await overlayRender([], "plan", ...request("web")));

  print.step("Two apps are rendered, each with exactly the flags that its plan printed:");
  const rootfs: Record<string, string> = {};
  let flags: string[] = [];
  for (const { app } of WRITES) {
    flags = JSON.parse(await overlayRender([], "plan", "--json", ...request(app))).flags;
    print.lines(`overlay-render render ${request(app).join(" ")}`);
    rootfs[app] = (await overlayRender(flags, "render", ...request(app))).trimEnd();
    print.lines(`  ${rootfs[app]}`);
  }
  print.lines(await overlayRender(flags, "status", "--pod", pod));

  print.step("Each writes into its rootfs, and sees its own writes only:");
  for (const writes of WRITES) await write(rootfs[writes.app] ?? "", writes);
  for (const { app, change, create, remove } of WRITES) {
    print.row(app, [`changed ${change}`, `created ${create}`, `deleted ${remove}`]);
  }
  for (const { app } of WRITES) {
    const { stdout } = await run([`${rootfs[app]}/bin/greet`]);
    print.row(app, [`runs bin/greet: ${stdout.trimEnd()}`]);
  }

  print.step("The merged roots:");
  for (const { app } of WRITES) print.row(app, await list(rootfs[app] ?? ""));

  print.step("The uppers, which hold what was written and no more:");
  for (const { app } of WRITES) print.row(app, await list(`${pod}/overlay/tree/upper/${app}`));

  const after = await hashOf(tree);
  print.step("The tree, as a hash of all names, modes, owners, times and contents:");
  print.lines(`before ${before}\nafter  ${after}  ${before === after ? "unchanged" : "CHANGED"}`);

  print.step("Unmounting keeps what was written:");
  print.lines(await overlayRender(flags, "unmount", "--pod", pod));
  print.lines(await overlayRender(flags, "status", "--pod", pod));
  return before === after;
}

/** Runs the demo where nothing that it mounts is seen outside, or can outlive it. */
async function demo(directory: string): Promise<number> {
  const space = await findNamespace(directory);
  if ("missing" in space) {
    await Deno.stderr.write(new TextEncoder().encode(`error: ${space.missing}`));
    return 1;
  }
  say(`Two writable root filesystems from one tree, in ${space.name}. D=${directory}\n`);
  const self = [Deno.execPath(), "run", "--allow-all", "--quiet", import.meta.filename ?? ""];
  const [program = "", ...args] = [...space.enter(directory), ...self, directory, ...space.options];
  const env = { NO_COLOR: "1", RUST_BACKTRACE: "0", DENO_NO_UPDATE_CHECK: "1" };
  const child = new Deno.Command(program, { args, env, stdin: "null" }).spawn();
  // This process has to remove the directory, so it ends after the one that uses it.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => child.kill("SIGTERM"));
  return (await child.status).code;
}

/** Makes the demo's directory, and removes it whatever happened in between. */
async function main(): Promise<number> {
  const made = await Deno.makeTempDir({ prefix: "overlay-render-demo-" });
  let status = 1;
  try {
    status = await demo(await Deno.realPath(made));
  } finally {
    // The kernel makes work/work with mode 000, which stops everybody but root.
    await run(["chmod", "-R", "u+rwX", made]);
    await Deno.remove(made, { recursive: true });
  }
  if (status === 0) say("Everything is removed again.\n");
  return status;
}

const [directory, ...options] = Deno.args;
if (directory === undefined) Deno.exit(await main());
if (!await show(directory, options)) Deno.exit(1);
