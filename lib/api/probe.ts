/**
 * Tests whether an overlay works in a directory.
 *
 * @module
 */
import { attempt, describeError } from "../system/disk.ts";
import { mountOptions } from "../overlay/mount_config.ts";
import { child } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { printable } from "../core/quote.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";
import { extractMessage } from "../pod/mount_output.ts";

/** Runs an action in a temporary directory, which is removed afterwards. */
export async function withScratch<T>(
  place: string,
  act: (directory: string) => Promise<T>,
): Promise<T> {
  const directory = attempt("make directory in", place, () => {
    return Deno.makeTempDirSync({ dir: place, prefix: "overlay-render-probe-" });
  });
  try {
    return await act(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/**
 * Mounts an overlay, writes into it, deletes a file and a directory of the lower, makes the directory again,
 * and unmounts it. This needs working whiteouts and opaque directories.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the directory, and `--allow-run` for mount
 * and umount.
 *
 * @returns The reason why it does not work; `null` if it works.
 */
export async function probeMount(
  directory: string,
  options: readonly string[],
  programs: ProgramOptions,
): Promise<string | null> {
  return await withScratch(directory, async (scratch) => {
    const [lower = "", upper = "", work = "", root = ""] = ["lower", "upper", "work", "root"]
      .map((name) => child(scratch, name));
    for (const path of [lower, upper, work, root]) await Deno.mkdir(path);
    for (const name of ["directory", "other"]) {
      await Deno.mkdir(child(lower, name));
      await Deno.writeTextFile(child(lower, name, "file"), "from the lower");
    }
    const text = mountOptions({ lower: [lower], upper, work, label: null, options });
    const args = ["--types", "overlay", "--options", text, "--", "overlay", root];
    const mounted = await run(PROGRAMS.mount, args, { ...programs, cwd: "/" });
    if (mounted.status !== 0) return extractMessage(mounted, root);
    const failed = await use(root);
    const unmounted = await run(PROGRAMS.umount, ["--", root], { ...programs, cwd: "/" });
    if (unmounted.status === 0) return failed;
    // The mount belongs to this probe, and its directory is removed next.
    await run(PROGRAMS.umount, ["--lazy", "--", root], { ...programs, cwd: "/" });
    return `it cannot be unmounted: ${printable(unmounted.stderr)}`;
  });
}

/**
 * Uses an overlay. On a file system without d_type, the whiteout of a deleted file is listed as if the file
 * existed. Without opaque directories, a deleted directory cannot be made again.
 */
async function use(root: string): Promise<string | null> {
  const [directory, other] = [child(root, "directory"), child(root, "other")];
  try {
    await Deno.writeTextFile(child(root, "new"), "from the app");
    await Deno.remove(child(other, "file"));
    const listed = await Array.fromAsync(Deno.readDir(other));
    if (listed.length > 0) return "a file that was deleted is listed still (d_type)";
    await Deno.remove(directory, { recursive: true });
    await Deno.mkdir(directory);
    const left = await Array.fromAsync(Deno.readDir(directory));
    return left.length === 0 ? null : "a directory that was made again is not opaque";
  } catch (error) {
    return `a directory that was deleted cannot be made again (opaque): ${describeError(error)}`;
  }
}
