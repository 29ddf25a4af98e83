/**
 * The directory for the files of one start of a runtime.
 *
 * @module
 */
import { child, parent } from "../core/path.ts";
import { attempt, entriesIn, ifAny, look } from "../system/disk.ts";
import { STARTERS } from "../system/programs.ts";
import { programError, run } from "../system/run.ts";

/** The beginnings of the names: of a directory that is being made, of one whose user holds its lock, and at its end. */
const NAMES = { made: ".run-", ready: "run-", ended: "run-ended-" };

/** The names that this file gives: a rootfs in the pod may begin so, too, and hold a file with the name of the lock. */
const READY = /^run-(ended-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const LOCK = "lock";

/** The file with the name of the app that the command runs in. */
const APP = "app";

/** The file that tells a command to unmount its app when it ends. */
const HANDED_OVER = "unmount";

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

/** Tells whether a process holds the lock of a directory. */
function isHeld(directory: string): boolean {
  try {
    using file = lock(child(directory, LOCK), {});
    return file === null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Leaves the word for a command that it unmounts its app; `false` if it has ended. */
function leaveWord(directory: string, app: string): boolean {
  try {
    if (Deno.readTextFileSync(child(directory, APP)) !== app) return false;
    Deno.writeTextFileSync(child(directory, HANDED_OVER), "", { createNew: true, mode: 0o600 });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return true;
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Tells whether other commands run in a pod. One that runs in the app is told to unmount it.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod.
 *
 * @param app The app. @default {any, and nothing is told}
 */
export function handOver(pod: string, app?: string): boolean {
  return attempt("look for other commands in", pod, () => {
    return (ifAny(() => entriesIn(pod)) ?? [])
      .filter(({ name, isDirectory }) => isDirectory && READY.test(name))
      .filter(({ name }) => !name.startsWith(NAMES.ended))
      .map(({ name }) => child(pod, name))
      .filter(isHeld)
      .some((directory) => app === undefined || leaveWord(directory, app));
  });
}

/** A directory for the files of one start; only this user can enter it. */
export class Scratch implements Disposable {
  readonly directory: string;
  readonly #lock: Deno.FsFile;
  #closed = false;

  private constructor(directory: string, lock: Deno.FsFile) {
    this.directory = directory;
    this.#lock = lock;
  }

  /**
   * Makes the directory in a pod, and removes those that killed processes left there.
   *
   * Requires `--allow-read` and `--allow-write` permissions for the pod, and `--allow-run` for setpriv.
   *
   * @param of The app that the command runs in, and the places of the runtimes that note their containers.
   */
  static async make(
    pod: string,
    { app, runtimes }: { readonly app: string; readonly runtimes: readonly string[] },
  ): Promise<Scratch> {
    for (const { name, isDirectory } of attempt("read", pod, () => entriesIn(pod))) {
      if (isDirectory && READY.test(name)) {
        await removeStale(child(pod, name), runtimes);
      }
    }
    return attempt("make directory in", pod, () => {
      const made = Deno.makeTempDirSync({ dir: pod, prefix: NAMES.made });
      const file = lock(child(made, LOCK), { createNew: true, mode: 0o600 });
      if (file === null) throw new Error(`"${made}" was locked by another process`);
      Deno.writeTextFileSync(child(made, APP), app, { createNew: true, mode: 0o600 });
      // Under this name others may look whether its user is alive.
      const directory = child(pod, `${NAMES.ready}${crypto.randomUUID()}`);
      Deno.renameSync(made, directory);
      return new Scratch(directory, file);
    });
  }

  /**
   * Removes the directory, once.
   *
   * @returns Whether a command that ended before has left it to this one to unmount the app.
   */
  close(): boolean {
    if (this.#closed) return false;
    this.#closed = true;
    const { directory } = this;
    return attempt("remove", directory, () => {
      // Under this name, no other command leaves a word in it.
      const ending = child(parent(directory), `${NAMES.ended}${crypto.randomUUID()}`);
      Deno.renameSync(directory, ending);
      const isHandedOver = look(child(ending, HANDED_OVER)) !== null;
      Deno.removeSync(ending, { recursive: true });
      this.#lock.close();
      return isHandedOver;
    });
  }

  /** Removes the directory. */
  [Symbol.dispose](): void {
    this.close();
  }
}
