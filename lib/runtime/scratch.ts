/**
 * The directory for the files of one start of a runtime.
 *
 * @module
 */
import { child } from "../core/path.ts";
import { attempt, entriesIn, ifAny } from "../system/disk.ts";

/** The beginnings of the names: of a directory that is being made, and of one whose user holds its lock. */
const NAMES = { made: ".run-", ready: "run-" };

const LOCK = "lock";

/** Locks a file as long as this process lives; `null` if another process holds the lock. */
function lock(path: string, options: Deno.OpenOptions): Deno.FsFile | null {
  const file = Deno.openSync(path, { write: true, ...options });
  // Older versions of Deno cannot try, and would wait: there, nothing of others is touched.
  const { tryLockSync } = file as Partial<Deno.FsFile>;
  if (options.createNew ? tryLockSync?.call(file, true) !== false : tryLockSync?.call(file, true)) {
    return file;
  }
  file.close();
  return null;
}

/** Removes the directories of processes that were killed. The pod is ours, and so is what lies in it. */
function removeStale(pod: string): void {
  for (const { name, isDirectory } of entriesIn(pod)) {
    if (!isDirectory || !name.startsWith(NAMES.ready)) continue;
    const directory = child(pod, name);
    using file = ifAny(() => lock(child(directory, LOCK), {}));
    if (file !== null) Deno.removeSync(directory, { recursive: true });
  }
}

/** A directory for the files of one start; only this user can enter it. */
export class Scratch implements Disposable {
  readonly directory: string;
  readonly #lock: Deno.FsFile;

  /**
   * Makes the directory in a pod, and removes those that killed processes left.
   *
   * Requires `--allow-read` and `--allow-write` permissions for the pod.
   */
  constructor(pod: string) {
    const [made, file] = attempt("make directory in", pod, () => {
      removeStale(pod);
      const made = Deno.makeTempDirSync({ dir: pod, prefix: NAMES.made });
      return [made, lock(child(made, LOCK), { createNew: true, mode: 0o600 })] as const;
    });
    if (file === null) throw new Error(`"${made}" was locked by another process`);
    this.#lock = file;
    this.directory = child(pod, `${NAMES.ready}${crypto.randomUUID()}`);
    // Under this name others may look whether its user is alive.
    attempt("rename", made, () => Deno.renameSync(made, this.directory));
  }

  /** Removes the directory. */
  [Symbol.dispose](): void {
    const { directory } = this;
    attempt("remove", directory, () => Deno.removeSync(directory, { recursive: true }));
    this.#lock.close();
  }
}
