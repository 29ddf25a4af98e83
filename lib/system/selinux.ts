/**
 * SELinux labels. Deno has no call for them, so chcon(1) sets them.
 *
 * @module
 */
import { lookForDirectory } from "./disk.ts";
import { OverlayError } from "../core/errors.ts";
import { mountTable } from "./mount_table.ts";
import { parseLabel } from "../request/names.ts";
import { PROGRAMS } from "./programs.ts";
import { quote } from "../core/quote.ts";
import { programError, run } from "./run.ts";
import type { ProgramOptions } from "./run.ts";
import type { Mount } from "./mount_table.ts";

/**
 * Asks the mount table whether SELinux is enabled for programs, see {@linkcode hasSelinux}.
 *
 * Requires `--allow-run` permission for findmnt.
 */
export async function selinuxEnabled(options: ProgramOptions): Promise<boolean> {
  return hasSelinux(await mountTable(options, "selinuxfs"));
}

/** The messages of chcon(1) for the failures that have a hint. */
const CURES: readonly (readonly [said: RegExp, cure: string])[] = [
  [
    /Operation not supported/,
    "put the pod on a file system that stores labels, or render without --label",
  ],
  [/Invalid argument/, "give a context of the loaded policy, such as ls --context shows"],
  [
    /Permission denied/,
    "the policy forbids it, see: ausearch --message avc --start recent; relabel from a domain that may, " +
    "or give another --label",
  ],
  [/Operation not permitted/, "run as a user who may set labels, such as root"],
];

/**
 * Sets the SELinux label of a directory.
 *
 * The caller must check whether SELinux is enabled. If it is not, the label is stored where the file system
 * supports it, and has no effect.
 *
 * Requires `--allow-read` permission for the path, and `--allow-run` permission for chcon.
 *
 * @param path The directory.
 * @param context The SELinux context.
 * @throws {InvalidValueError} If the context is not one.
 * @throws {RefusedError} If the path is a symlink.
 * @throws {OverlayError} If chcon cannot set it, for example on a file system without labels.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { setLabel } from "@overlay/render";
 *
 * const path = await Deno.makeTempDir();
 * await setLabel(path, "system_u:object_r:container_file_t:s0").catch((error) => {
 *   assert(error.path === path);
 * });
 * await Deno.remove(path);
 * ```
 *
 * @tags allow-read, allow-run
 */
export async function setLabel(
  path: string,
  context: string,
  options: ProgramOptions = {},
): Promise<void> {
  const label = parseLabel(context);
  if (lookForDirectory(path) === null) {
    throw new OverlayError("missing", `Cannot set label of ${quote(path)}: it does not exist`, {
      path,
    });
  }
  const args = ["--no-dereference", "--", label, path];
  const result = await run(PROGRAMS.chcon, args, { ...options, cwd: "/" });
  if (result.status === 0) return;
  const hint = CURES.find(([words]) => words.test(result.stderr))?.[1];
  throw programError(result, "set label of", path, { hint });
}

/**
 * Reports whether SELinux is enabled for programs, by the rule of libselinux: the topmost mount at some
 * mount point is a writable selinuxfs. In a container it often is not, and mount(8) then drops every label.
 * libselinux also requires `/etc/selinux/config`, which the mount table does not show; a label that was
 * dropped for that reason is missing from the table after the mount.
 *
 * Requires no permissions.
 */
export function hasSelinux(table: readonly Mount[]): boolean {
  const topmost = new Map(table.map((mount) => [mount.target, mount]));
  return [...topmost.values()].some(({ fstype, flags, options }) => {
    return fstype === "selinuxfs" && !flags.includes("ro") && !options.split(",").includes("ro");
  });
}
