/**
 * The permission functions: they give directories an exact mode, owner and group, whatever the caller's
 * umask and the parent directory are.
 *
 * They are synchronous, see `disk.ts`, and never follow a symlink at the path itself. A user who can write
 * to a directory above it can still swap it; the checks of a pod prevent that.
 *
 * @module
 */
import { attempt, errno, errnoOfCause, look, lookForDirectory, readMode } from "./disk.ts";
import { checkMode, parseGroup } from "../request/names.ts";
import { quote } from "../core/quote.ts";

/**
 * Makes a directory with exactly this mode, unless it is there.
 *
 * mkdir(2) applies the umask, drops setuid and setgid from the mode and takes setgid from the directory
 * above; so the mode is set afterwards, by chmod(2). The directory above must exist.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the path.
 *
 * @param path The directory.
 * @param mode All twelve bits, such as `0o1777`.
 * @param like What the owner and group are taken from. @default {left as they are}
 * @returns `made` tells whether it was made, and `owned` whether it got the owner. A caller who may not chown
 * makes it without.
 * @throws {InvalidValueError} If the mode is invalid.
 * @throws {RefusedError} If the path is a symlink.
 * @throws {OverlayError} If the path is no directory, or the operating system refuses.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { makeDirectory } from "@overlay/render";
 *
 * const parent = await Deno.makeTempDir();
 * makeDirectory(`${parent}/shared`, 0o1777);
 * assert((Deno.statSync(`${parent}/shared`).mode! & 0o7777) === 0o1777);
 * await Deno.remove(parent, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write
 */
export function makeDirectory(
  path: string,
  mode: number,
  like?: { readonly uid: number | null; readonly gid: number | null },
): { readonly made: boolean; readonly owned: boolean } {
  checkMode(mode);
  for (let attempts = 0;; attempts++) {
    if (
      !attempt("make directory", path, () => mkdir(path, like === undefined ? mode & 0o777 : 0o700))
    ) {
      lookForDirectory(path);
      return { made: false, owned: true };
    }
    try {
      const owned = attempt("set the owner of", path, () => {
        return like === undefined || takeOwner(path, like);
      });
      attempt("set the mode of", path, () => Deno.chmodSync(path, mode));
      return { made: true, owned };
    } catch (error) {
      // Another process may have removed it, because it is empty.
      const gone = errnoOfCause(error) === "ENOENT";
      if (gone && attempts < 100) continue;
      Deno.removeSync(path);
      throw error;
    }
  }
}

/**
 * Makes a directory; returns `false` if it exists. Until its mode is set, one that gets another owner is
 * closed to all other users, and any other has the final mode reduced by the umask.
 */
function mkdir(path: string, mode: number): boolean {
  try {
    Deno.mkdirSync(path, { mode });
    return true;
  } catch (error) {
    if (errno(error) === "EEXIST") return false;
    throw error;
  }
}

/** Sets the owner of a directory; returns `false` for EPERM and EINVAL (an id that is not mapped). */
export function takeOwner(
  path: string,
  like: { readonly uid: number | null; readonly gid: number | null },
): boolean {
  try {
    Deno.chownSync(path, like.uid, like.gid);
    return true;
  } catch (error) {
    if (errno(error) === "EPERM" || errno(error) === "EINVAL") return false;
    throw error;
  }
}

/**
 * Removes an empty directory.
 *
 * @returns `false` if the directory is not empty.
 * @throws {OverlayError} If it cannot be removed for another reason.
 */
export function removeIfEmpty(path: string): boolean {
  if (look(path)?.isDirectory !== true) return true;
  return attempt("remove", path, () => {
    try {
      Deno.removeSync(path);
      return true;
    } catch (error) {
      if (errno(error) === "ENOTEMPTY") return false;
      // Another process has removed it.
      if (errno(error) === "ENOENT") return true;
      throw error;
    }
  });
}

/** Writes the warning for a directory that {@linkcode makeDirectory} could not give its owner. */
export function ownerWarning(
  path: string,
  { uid, gid }: { readonly uid: number | null; readonly gid: number | null },
): string {
  return `${quote(path)} keeps its owner: only root may give it to user ${uid}, group ${gid}`;
}

/**
 * Sets the mode of a directory, which drops the setgid bit that it inherited from its parent.
 *
 * Otherwise, directories that users create in a pod with a setgid directory would be setgid too (rkt
 * `prepareOverlay`).
 *
 * Requires `--allow-read` and `--allow-write` permissions for the path.
 *
 * @param path The directory.
 * @param mode The mode it gets; all twelve bits.
 * @returns The mode it had; the same as `mode` when there was nothing to do.
 * @throws {InvalidValueError} If the mode is invalid.
 * @throws {RefusedError} If the path is a symlink.
 * @throws {OverlayError} If there is no directory, or the operating system refuses.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { dropSetgid } from "@overlay/render";
 *
 * const path = await Deno.makeTempDir();
 * Deno.chmodSync(path, 0o2750);
 * assert(dropSetgid(path, 0o750) === 0o2750);
 * await Deno.remove(path);
 * ```
 *
 * @tags allow-read, allow-write
 */
export function dropSetgid(path: string, mode: number): number {
  checkMode(mode);
  const info = lookForDirectory(path);
  const had = info === null ? null : readMode(info);
  if (had !== mode) attempt("set the mode of", path, () => Deno.chmodSync(path, mode));
  return had ?? mode;
}

/**
 * Sets the group of a directory; its owner and mode stay.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the path.
 *
 * @param path The directory.
 * @param gid The group id, from 0 to 4294967294.
 * @returns The group it had; the same as `gid` when there was nothing to do.
 * @throws {InvalidValueError} If the group id is invalid.
 * @throws {RefusedError} If the path is a symlink.
 * @throws {OverlayError} If there is no directory, or the operating system refuses.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { setGroup } from "@overlay/render";
 *
 * const path = await Deno.makeTempDir();
 * const { gid } = Deno.statSync(path);
 * assert(setGroup(path, gid!) === gid);
 * await Deno.remove(path);
 * ```
 *
 * @tags allow-read, allow-write
 */
export function setGroup(path: string, gid: number): number {
  parseGroup(gid);
  const info = lookForDirectory(path);
  if (info?.gid !== gid) {
    attempt("set the group of", path, () => Deno.chownSync(path, null, gid));
  }
  return info?.gid ?? gid;
}
