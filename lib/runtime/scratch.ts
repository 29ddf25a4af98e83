/**
 * The directory for the files of one start of a runtime.
 *
 * @module
 */
import { child } from "../core/path.ts";
import { attempt, entriesIn, ifAny, look } from "../system/disk.ts";
import { STARTERS } from "../system/programs.ts";
import { programError, run } from "../system/run.ts";

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

/** The directory in which runc and crun note their containers. */
export const STATE = "state";

/** Removes what a killed process left: the control groups of its container, and its directory. */
async function removeStale(directory: string, runtimes: readonly string[]): Promise<void> {
  using file = ifAny(() => lock(child(directory, LOCK), {}));
  if (file === null) return;
  const state = child(directory, STATE);
  const program = runtimes.find((path) => look(path) !== null);
  for (const { name } of program === undefined ? [] : entriesIn(state)) {
    const argv = [program ?? "", "--root", state, "delete", "--force", name];
    const deleted = await run(STARTERS.setpriv, ["--", ...argv], { cwd: "/" });
    if (deleted.status !== 0) throw programError(deleted, "remove the container of", directory);
  }
  attempt("remove", directory, () => Deno.removeSync(directory, { recursive: true }));
}

/** A directory for the files of one start; only this user can enter it. */
export class Scratch implements Disposable {
  readonly directory: string;
  readonly #lock: Deno.FsFile;

  private constructor(directory: string, lock: Deno.FsFile) {
    this.directory = directory;
    this.#lock = lock;
  }

  /**
   * Makes the directory in a pod, and removes those that killed processes left there.
   *
   * Requires `--allow-read` and `--allow-write` permissions for the pod, and `--allow-run` for setpriv.
   *
   * @param runtimes The places of the runtimes that note their containers.
   */
  static async make(pod: string, runtimes: readonly string[]): Promise<Scratch> {
    for (const { name, isDirectory } of attempt("read", pod, () => entriesIn(pod))) {
      if (isDirectory && name.startsWith(NAMES.ready)) {
        await removeStale(child(pod, name), runtimes);
      }
    }
    return attempt("make directory in", pod, () => {
      const made = Deno.makeTempDirSync({ dir: pod, prefix: NAMES.made });
      const file = lock(child(made, LOCK), { createNew: true, mode: 0o600 });
      if (file === null) throw new Error(`"${made}" was locked by another process`);
      // Under this name others may look whether its user is alive.
      const directory = child(pod, `${NAMES.ready}${crypto.randomUUID()}`);
      Deno.renameSync(made, directory);
      return new Scratch(directory, file);
    });
  }

  /** Removes the directory. */
  [Symbol.dispose](): void {
    const { directory } = this;
    attempt("remove", directory, () => Deno.removeSync(directory, { recursive: true }));
    this.#lock.close();
  }
}
