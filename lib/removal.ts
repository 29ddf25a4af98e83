/**
 * Removing a pod with all that is in it. Links are removed and never followed, another device is never
 * entered, and what tells that there is something to remove goes last.
 *
 * @module
 */
import type { Checkpoints } from "./change_options.ts";
import { attempt, look } from "./disk.ts";
import { errno, OverlayError, RefusedError } from "./errors.ts";
import type { PodLayout } from "./layout.ts";
import { child, parent } from "./path.ts";
import { quote, shellQuote } from "./quote.ts";

/**
 * Removes a pod in which nothing is mounted and which is locked. `overlay.fstab` goes after everything
 * else, so that an interrupted removal can be taken up again.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod.
 *
 * @returns Whether it is gone by this call; otherwise another process removes it.
 * @throws {RefusedError} If something in it is on another device; what is before it is gone by then.
 * @throws {OverlayError} If something cannot be removed.
 */
export function removePod(pod: PodLayout, { checkpoint }: Checkpoints = {}): boolean {
  const device = look(pod.pod)?.dev;
  const last = [pod.fstab, pod.lock];
  for (const { name, isDirectory } of entriesOf(pod.pod)) {
    const path = child(pod.pod, name);
    if (last.includes(path)) continue;
    removeEntry(path, isDirectory, device);
    checkpoint?.("removed");
  }
  for (const path of last) {
    if (look(path) !== null) removeEntry(path, false, device);
    checkpoint?.("removed");
  }
  return attempt("remove", pod.pod, () => removeLast(pod));
}

/** Between the lock file's end and its own, another process can have locked the pod, to remove it too. */
function removeLast(pod: PodLayout): boolean {
  try {
    Deno.removeSync(pod.pod);
    return true;
  } catch (error) {
    if (errno(error) === "ENOENT") return false;
    const locked = errno(error) === "ENOTEMPTY" &&
      entriesOf(pod.pod).every(({ name }) => child(pod.pod, name) === pod.lock);
    if (locked) return false;
    throw error;
  }
}

function entriesOf(directory: string): Deno.DirEntry[] {
  return attempt("read directory", directory, () => {
    try {
      return [...Deno.readDirSync(directory)];
    } catch (error) {
      if (errno(error) !== "EACCES") throw error;
      // The kernel makes a directory in a work that not even its owner may read.
      Deno.chmodSync(directory, 0o700);
      return [...Deno.readDirSync(directory)];
    }
  });
}

/**
 * Removes a directory that this project made, with all that is in it; nothing if it is not there.
 *
 * @throws {RefusedError} If something in it is on another device.
 * @throws {OverlayError} If something cannot be removed.
 */
export function removeTree(path: string): void {
  const info = look(path);
  if (info !== null) removeEntry(path, info.isDirectory, info.dev);
}

function removeEntry(path: string, isDirectory: boolean, device: number | undefined): void {
  if (isDirectory) {
    refuseOther(path, device);
    for (const entry of entriesOf(path)) {
      removeEntry(child(path, entry.name), entry.isDirectory, device);
    }
  }
  attempt("remove", path, () => removeOne(path));
}

/**
 * What was listed as a directory must be one by its name, too. Deno shows a name that is not UTF-8 as
 * another name, which can be that of a link.
 */
function refuseOther(path: string, device: number | undefined): void {
  const info = look(path);
  if (info?.isDirectory !== true) throw nameError(path);
  if (info.dev === device) return;
  throw new RefusedError("foreign-mount", `Cannot remove ${quote(path)}: it is on another device`, {
    path,
    hint: `see what is mounted there: findmnt ${shellQuote(path)}`,
  });
}

function nameError(path: string): OverlayError {
  return new OverlayError("failed", `Cannot remove ${quote(path)}: its name is not valid UTF-8`, {
    path,
    hint: `remove it by hand: rm -r --one-file-system -- ${shellQuote(parent(path))}`,
  });
}

/** Removes a file, a link or an empty directory; somebody else may have done so. */
function removeOne(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (errno(error) !== "ENOENT") throw error;
    // Deno shows a name that is not UTF-8 in this way, and cannot use it.
    if (path.includes("\ufffd")) throw nameError(path);
  }
}
