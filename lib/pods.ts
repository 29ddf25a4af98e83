/**
 * The pods of a directory.
 *
 * @module
 */
import { attempt, look, lookForDirectory } from "./disk.ts";
import { errno, OverlayError } from "./errors.ts";
import { podLayout } from "./layout.ts";
import { parsePath } from "./names.ts";
import { child } from "./path.ts";
import { quote } from "./quote.ts";

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

/** The name of the directory, beside the pods, that holds those which are to be removed. */
export const GARBAGE = "garbage";

/** Whether a directory is a pod: it holds the lock, which a render makes first, or the lines. */
export function isPod(path: string): boolean {
  const { fstab, lock } = podLayout(path);
  return look(fstab)?.isFile === true || look(lock)?.isFile === true;
}

/** What is in a directory; nothing if it is not there, as when another process has removed it. */
export function entriesIn(path: string): readonly Deno.DirEntry[] {
  return attempt("read directory", path, () => {
    try {
      return [...Deno.readDirSync(path)];
    } catch (error) {
      if (errno(error) === "ENOENT") return [];
      throw error;
    }
  });
}

/** The names of the directories in a directory, sorted; links are none. */
export function directoriesIn(path: string): string[] {
  return entriesIn(path).filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
}

/**
 * The pods of a request: the one it names, or those in the directory.
 *
 * Requires `--allow-read` permission for the pod or the directory.
 *
 * @throws {InvalidValueError} If the path is not absolute.
 * @throws {OverlayError} If the directory is not there.
 */
export function podsOf(request: PodsRequest): readonly string[] {
  if ("pod" in request) return [parsePath("pod", request.pod)];
  const directory = parsePath("directory of pods", request.pods);
  if (lookForDirectory(directory) === null) {
    const message = `Cannot use directory of pods ${quote(directory)}: it does not exist`;
    throw new OverlayError("missing", message, { path: directory, hint: "check --pods" });
  }
  return directoriesIn(directory).filter((name) => name !== GARBAGE)
    .map((name) => child(directory, name)).filter(isPod);
}
