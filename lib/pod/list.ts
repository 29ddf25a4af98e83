/**
 * The pods of a directory.
 *
 * @module
 */
import type { Reporter } from "../system/change_options.ts";
import { entriesIn, errnoOfCause, look, lookForDirectory } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { podLayout } from "../request/layout.ts";
import { parsePath } from "../request/names.ts";
import { basename, child } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** One pod, or all pods in a directory. Paths are absolute. */
export type PodsRequest =
  | {
    /** The pod. */
    readonly pod: string;
  }
  | {
    /** The directory that the pods are in. */
    readonly pods: string;
  };

/** The name of the directory, beside the pods, for pods that are set aside. */
export const GARBAGE = "garbage";

/** Tells whether a directory is a pod: it holds the lock, which a render makes first, or `overlay.fstab`. */
export function isPod(path: string): boolean {
  const { fstab, lock } = podLayout(path);
  return look(fstab)?.isFile === true || look(lock)?.isFile === true;
}

/** Finds a free name in a directory: the name of a pod, or that name and a number. */
export function freeName(directory: string, pod: string): string {
  const name = basename(pod);
  for (let at = 0;; at++) {
    const path = child(directory, at === 0 ? name : `${name}~${at}`);
    if (look(path) === null) return path;
  }
}

/** Removes the number that {@linkcode freeName} adds to a name. */
export function withoutNumber(name: string): string {
  return name.replace(/~\d+$/, "");
}

/** Lists the names of the directories in a directory, sorted; symlinks are left out. */
export function directoriesIn(path: string): string[] {
  return entriesIn(path).filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
}

/**
 * The pods of a request: the one it names, or those in the directory. A directory that may
 * not be read is skipped with a warning.
 *
 * Requires `--allow-read` permission for the pod or the directory.
 *
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {OverlayError} If the directory is not there.
 */
export function listPods(request: PodsRequest, { warn }: Reporter = {}): readonly string[] {
  if ("pod" in request) return [podLayout(request.pod).pod];
  const directory = parsePath("directory of pods", request.pods);
  if (lookForDirectory(directory) === null) {
    const message = `Cannot use directory of pods ${quote(directory)}: it does not exist`;
    throw new OverlayError("missing", message, { path: directory, hint: "check --pods" });
  }
  return directoriesIn(directory).map((name) => child(directory, name)).filter((path) => {
    try {
      if (basename(path) !== GARBAGE) return isPod(path);
      if (isPod(path)) warn?.(`pod ${quote(path)} is passed over: gc needs that name for itself`);
      return false;
    } catch (error) {
      if (errnoOfCause(error) !== "EACCES") throw error;
      warn?.(`${quote(path)} is passed over: this user may not look into it`);
      return false;
    }
  });
}
