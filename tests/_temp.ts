/**
 * Temporary directories that go away with their scope, and what of a disk can be compared.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { join } from "@std/path/posix/join";

// The processes of the command cover what the tests' own covers by `main()`, and to count it takes each of
// them a third more time.
Deno.env.delete("DENO_COVERAGE_DIR");

/** A temporary directory; unmounts what is mounted in it and removes it when its scope ends. */
export interface TempDir extends AsyncDisposable {
  /** The directory, without symlinks. */
  readonly path: string;
  /** The path of something in it. */
  join(...names: string[]): string;
}

/** Runs a program as the tests' own user and returns what it answered. */
export async function sh(command: string, ...args: string[]): Promise<string> {
  const output = await new Deno.Command(command, { args, stdin: "null" }).output();
  const text = new TextDecoder().decode(output.stdout);
  if (output.success) return text;
  const said = new TextDecoder().decode(output.stderr);
  throw new Error(`${command} ${args.join(" ")}: exit status ${output.code}: ${said}`);
}

/** The mount points at or below a directory, in the order of mounting; see proc_pid_mountinfo(5). */
export async function mountsBelow(directory: string): Promise<string[]> {
  const table = await Deno.readTextFile("/proc/self/mountinfo");
  const targets = table.split("\n").map((line) => mountPoint(line.split(" ")[4] ?? ""));
  return targets.filter((target) => `${target}/`.startsWith(`${directory}/`));
}

/** A field of the kernel's table; the directory of a mount can be gone. */
function mountPoint(field: string): string {
  const decoded = field.replaceAll(
    /\\(\d{3})/g,
    (_, octal) => String.fromCharCode(parseInt(octal, 8)),
  );
  return decoded.replace(/\/\/deleted$/, "");
}

/** Makes a temporary directory. */
export async function tempDir(): Promise<TempDir> {
  const made = await Deno.makeTempDir({ prefix: "overlay-render-test-" });
  const path = await Deno.realPath(made);
  return {
    path,
    join: (...names) => join(path, ...names),
    async [Symbol.asyncDispose](): Promise<void> {
      for (const mount of (await mountsBelow(path)).reverse()) await sh("umount", "--", mount);
      // Who is not root may have to be let in again.
      if (Deno.uid() !== 0) await sh("chmod", "-R", "u+rwX", path);
      await Deno.remove(path, { recursive: true });
    },
  };
}

const KINDS = [
  ["isFile", "f"],
  ["isDirectory", "d"],
  ["isSymlink", "l"],
  ["isFifo", "p"],
  [
    "isSocket",
    "s",
  ],
  ["isCharDevice", "c"],
  ["isBlockDevice", "b"],
] as const;

/** A line of an entry, as find(1) would print it; and one with the sum of a file, as sha256sum(1) would. */
function* linesOf(path: string, name: string, dev: number): Generator<string> {
  const info = Deno.lstatSync(path);
  const [, kind] = KINDS.find(([is]) => info[is]) ?? ["", "?"];
  const mode = ((info.mode ?? 0) & 0o7777).toString(8);
  const link = info.isSymlink ? Deno.readLinkSync(path) : "";
  const size = info.isDirectory ? "-" : info.size;
  yield `${kind} ${mode === "0" ? "" : "0"}${mode} ${info.uid} ${info.gid} ${size} ${link} ${name}`;
  if (info.isFile) {
    yield `${createHash("sha256").update(Deno.readFileSync(path)).digest("hex")}  ${path}`;
  }
  if (!info.isDirectory || info.dev !== dev) return;
  for (const entry of Deno.readDirSync(path)) {
    // Such a name is not the one on the disk, which only find(1) can use.
    if (entry.name.includes("\ufffd")) throw new NotText(path);
    yield* linesOf(
      `${path}/${entry.name}`,
      name === "" ? entry.name : `${name}/${entry.name}`,
      dev,
    );
  }
}

/** A directory holds a name that is not UTF-8. */
class NotText extends Error {}

/**
 * Everything below a directory, one line an entry: type, mode, owner, group, size of files, link target,
 * sum of the content of files, and path. Two listings are equal when the disk is byte for byte the same.
 */
export async function snapshot(directory: string): Promise<string> {
  try {
    return [...linesOf(directory, "", (await Deno.lstat(directory)).dev)].sort().join("\n");
  } catch (error) {
    if (error instanceof NotText) return await listByFind(directory);
    throw error;
  }
}

/** The same by programs, which know names that are not UTF-8. */
async function listByFind(directory: string): Promise<string> {
  const format = "%y %#m %U %G %s %l %P\\0";
  const listing = await sh("find", directory, "-xdev", "-printf", format);
  const entries = listing.split("\0").filter((line) => line !== "");
  const sizes = entries.map((line) =>
    line.startsWith("d") ? line.replace(/ \d+ {2}/, " -  ") : line
  );
  const files = ["-type", "f", "-exec", "sha256sum", "-z", "{}", "+"];
  const sums = await sh("find", directory, "-xdev", ...files);
  return [...sizes, ...sums.split("\0").filter((line) => line !== "")].sort().join("\n");
}

/** The twelve mode bits of a path, not following a link, as octal digits. */
export function modeOf(path: string): string {
  return ((Deno.lstatSync(path).mode ?? 0) & 0o7777).toString(8).padStart(4, "0");
}
