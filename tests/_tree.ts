/**
 * Trees to render from, and the mount options that rendering takes here.
 *
 * @module
 */
import { join } from "@std/path/posix/join";
import { isRealRoot } from "./_privilege.ts";
import { mountsBelow, sh } from "./_temp.ts";

/** What overlayfs needs beside the paths: in a user namespace its marks are user attributes. */
export const MARKS: readonly string[] = isRealRoot ? [] : ["userxattr"];

/** Makes a small tree: a file to read, a file to delete, a directory with a file, a symlink. */
export async function makeTree(path: string): Promise<string> {
  await Deno.mkdir(join(path, "etc"), { recursive: true });
  await Deno.writeTextFile(join(path, "file"), "from the tree");
  await Deno.writeTextFile(join(path, "gone"), "to be deleted");
  await Deno.writeTextFile(join(path, "etc", "motd"), "welcome");
  await Deno.symlink("file", join(path, "link"));
  return path;
}

/** Names of what a directory holds, sorted. */
export async function namesIn(path: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(path));
  return entries.map(({ name }) => name).sort();
}

/** Tells whether nothing is at the path. */
export async function isMissing(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

/** How many mounts are stacked on a mount point. */
export async function mountsOn(path: string): Promise<number> {
  return (await mountsBelow(path)).filter((target) => target === path).length;
}

/**
 * The options of the file system that is mounted there, as the kernel shows them; without `seclabel`, by
 * which SELinux says that files keep labels.
 */
export async function kernelOptions(path: string): Promise<string> {
  const args = ["--json", "--output", "FS-OPTIONS", "--mountpoint", path];
  const { filesystems } = JSON.parse(await sh("findmnt", ...args)) as {
    filesystems: { "fs-options": string }[];
  };
  return filesystems.map((row) => row["fs-options"].replace(/^(r[ow]),seclabel\b/, "$1")).join(
    "\n",
  );
}
