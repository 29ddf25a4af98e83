/**
 * File systems to put a pod on, mounted in a temporary directory and gone with it.
 *
 * @module
 */
import { mountOptions } from "../mod.ts";
import { sh } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
import { MARKS } from "./_tree.ts";

/** Mounts an overlay on a new directory, on which another one's upper cannot lie; returns the directory. */
export async function mountOverlay(dir: TempDir): Promise<string> {
  const paths = ["lower", "upper", "work", "overlaid"].map((name) => dir.join(name));
  for (const path of paths) await Deno.mkdir(path);
  const [lower, upper, work, root = ""] = paths;
  const options = [`lowerdir=${lower},upperdir=${upper},workdir=${work}`, ...MARKS].join(",");
  await sh("mount", "-t", "overlay", "-o", options, "overlay", root);
  return root;
}

/** Mounts an empty file system on a new directory, and returns the directory. */
export async function mountTmpfs(path: string, options = "rw"): Promise<string> {
  await Deno.mkdir(path);
  await sh("mount", "-t", "tmpfs", "-o", options, "tmpfs", path);
  return path;
}

/**
 * Mounts an overlay on an overlay on a directory, which is made if it is not there. A render whose lower it
 * is passes every look before the mount, and the kernel refuses it as invalid: it stacks no third overlay.
 */
export async function mountTooDeep(target: string): Promise<string> {
  const [a, b, c, below] = [`${target}-a`, `${target}-b`, `${target}-c`, `${target}-below`];
  for (const path of [a, b, c, below, target]) {
    await Deno.mkdir(path, { recursive: true });
  }
  const layers = [[a, b, below], [below, c, target]] as const;
  for (const [upper, lower, root] of layers) {
    const config = { upper: null, work: null, label: null, options: MARKS };
    const options = mountOptions({ ...config, lower: [upper, lower] });
    await sh("mount", "-t", "overlay", "-o", options, "overlay", "--", root);
  }
  return target;
}

/** Mounts an empty file system that has no disk and keeps no attributes; returns the directory. */
export async function mountRamfs(path: string): Promise<string> {
  await Deno.mkdir(path);
  await sh("mount", "-t", "ramfs", "-o", "mode=0755", "ramfs", "--", path);
  return path;
}

/** Tells whether file systems can be made in files and mounted: that takes mkfs.ext4 and a loop device. */
export async function hasLoopDevices(): Promise<boolean> {
  try {
    await sh("mkfs.ext4", "-V");
    return (await sh("losetup", "--find")).startsWith("/dev/loop");
  } catch {
    return false;
  }
}

/** Mounts an ext4 whose directories keep no types of files. */
export async function mountWithoutTypes(path: string): Promise<string> {
  return await mountExt4(path, "-O", "^filetype");
}

/** Mounts a small ext4, from a file that has no name any more; returns the directory. */
export async function mountExt4(path: string, ...flags: readonly string[]): Promise<string> {
  const image = `${path}.img`;
  await Deno.mkdir(path);
  await Deno.writeFile(image, new Uint8Array());
  await Deno.truncate(image, 8 << 20);
  await sh("mkfs.ext4", "-q", ...flags, image);
  await sh("mount", "-o", "loop", "--", image, path);
  // It lives as long as it is mounted.
  await Deno.remove(image);
  return path;
}
