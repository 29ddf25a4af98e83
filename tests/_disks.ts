/**
 * File systems to put a pod on, mounted in a temporary directory and gone with it.
 *
 * @module
 */
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
