/**
 * The lock of a pod: flock(2) on `overlay.lock`, held while a command changes the pod. The kernel frees
 * it when its holder ends, however it ends.
 *
 * @module
 */
import { attempt, describeType, errno, errnoOfCause, look } from "./disk.ts";
import { isOpened, readOwnFile } from "./own_file.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { isTrustedOwner } from "./trust.ts";
import { quote, shellQuote } from "../core/quote.ts";

/** How long a command waits for another one to finish with the pod, in milliseconds. */
const LOCK_WAIT_MS = 10_000;

const POLL_MS = 20;

/** Tells the locks of this process apart. */
let locks = 0;

/**
 * The size of the lock file in bytes. It holds the holder's process id and a number for each of its locks,
 * or blanks. The size never changes, so that a full disk cannot prevent an unmount.
 */
const MARK_LENGTH = 64;
const BLANK = new TextEncoder().encode("\n".padStart(MARK_LENGTH));

/** A lock that is held. Meanwhile the file contains the process id of the holder. */
export class PodLock implements Disposable {
  /** The lock file. */
  readonly path: string;
  /** Set if this run made the lock file. */
  readonly made: boolean;
  readonly #file: Deno.FsFile;
  readonly #mark: string;

  /** Takes over an open file that is locked already. */
  constructor(path: string, file: Deno.FsFile, made: boolean) {
    this.path = path;
    this.made = made;
    this.#file = file;
    const mark = `${Deno.pid} ${Date.now()} ${Math.random()} ${++locks}`.slice(0, MARK_LENGTH - 1);
    this.#mark = `${mark.padEnd(MARK_LENGTH - 1)}\n`;
    this.#write(new TextEncoder().encode(this.#mark));
  }

  #write(content: Uint8Array): void {
    this.#file.seekSync(0, Deno.SeekMode.Start);
    this.#file.writeSync(content);
  }

  /**
   * Tells whether the locked file is still the one at the path: a holder may have removed it. The text that
   * this lock has just written identifies the file, because Deno refuses to stat an open file whose path
   * leads through a symlink.
   */
  isCurrent(): boolean {
    return attempt("read", this.path, () => {
      try {
        return Deno.readTextFileSync(this.path) === this.#mark;
      } catch (error) {
        if (errno(error) === "ENOENT") return false;
        throw error;
      }
    });
  }

  /** Frees the lock, and leaves the file blank. */
  [Symbol.dispose](): void {
    try {
      this.#write(BLANK);
    } catch {
      // The text of a former holder does no harm; a lock that is not freed would.
    } finally {
      this.#file.close();
    }
  }
}

/** The options of {@linkcode lockPod}. */
export interface LockOptions {
  /** How long to wait for another holder, in milliseconds. @default {10000} */
  readonly waitMs?: number | undefined;
  /** Ends the waiting; checked between attempts. */
  readonly signal?: AbortSignal | undefined;
}

/** Opens the lock file, and makes it if missing; `null` when another process was faster. */
function open(path: string): { file: Deno.FsFile; made: boolean } | null {
  return attempt("lock", path, () => {
    const made = openAs(path, { createNew: true, mode: 0o600 }, "EEXIST");
    if (made !== null) return { file: made, made: true };
    const info = look(path);
    if (info === null) return null;
    refuseOther(path, info);
    // For reading and writing: so open(2) does not wait for the other end of a FIFO.
    const found = openAs(path, {}, "ENOENT");
    if (found === null) return null;
    if (isOpened(found, info)) return { file: found, made: false };
    found.close();
    return null;
  });
}

function openAs(path: string, how: Deno.OpenOptions, unless: string): Deno.FsFile | null {
  try {
    return Deno.openSync(path, { read: true, write: true, ...how });
  } catch (error) {
    if (errno(error) === unless) return null;
    throw error;
  }
}

/** Refuses a file of another user or with several names, because the text of the lock would show there. */
function refuseOther(path: string, info: Deno.FileInfo): void {
  if (!info.isFile) refuse(path, `it is ${describeType(info)}`, "a file must be there, or nothing");
  if (!isTrustedOwner(info.uid)) {
    refuse(path, `it belongs to user ${info.uid}`, "see who put it there, and remove it");
  }
  if (info.nlink !== null && info.nlink > 1) {
    refuse(path, `the file has ${info.nlink} names`, "see who linked it, and remove it");
  }
}

function refuse(path: string, reason: string, hint: string): never {
  throw new RefusedError("symlink", `Cannot lock ${quote(path)}: ${reason}`, { path, hint });
}

async function waitFor(path: string, file: Deno.FsFile, options: LockOptions): Promise<void> {
  // Deno 2.4 can only wait without an end.
  const { tryLockSync } = file as Partial<Deno.FsFile>;
  if (tryLockSync === undefined) return await file.lock(true);
  // A network file system can fail to lock, and a FUSE file system may not know how.
  const tryLock = () => attempt("lock", path, () => file.tryLockSync(true));
  if (tryLock()) return;
  const end = performance.now() + (options.waitMs ?? LOCK_WAIT_MS);
  while (!tryLock()) {
    options.signal?.throwIfAborted();
    if (performance.now() >= end) throw lockedError(path);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The process id of the holder of a lock, or of one that was killed; `null` if the file names none. */
function holderOf(path: string): string | null {
  const content = new TextDecoder().decode(readOwnFile(path) ?? new Uint8Array());
  return /^\d+/.exec(content)?.[0] ?? null;
}

/**
 * Tells whether a process holds a lock, or was killed while it did, as far as the file says.
 *
 * Requires `--allow-read` permission for the path.
 */
export function namesHolder(path: string): boolean {
  return holderOf(path) !== null;
}

function lockedError(path: string): RefusedError {
  const pid = holderOf(path);
  const holder = pid === null ? "another process holds it" : `process ${pid} holds it`;
  return new RefusedError("locked", `Cannot lock ${quote(path)}: ${holder}`, {
    path,
    hint: pid === null
      ? `see which one, as with lslocks or fuser --verbose ${shellQuote(path)}, and run this again`
      : "wait until it has finished, and run this again",
  });
}

/**
 * Locks a pod. Waits while another process holds the lock.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the path.
 *
 * @param path The lock file; it is made if missing.
 * @throws {RefusedError} If the lock is still held after the wait, or the path is a symlink.
 * @throws {OverlayError} If the file cannot be opened.
 */
export async function lockPod(path: string, options: LockOptions = {}): Promise<PodLock> {
  for (let attempts = 0; attempts < 100; attempts++) {
    const opened = open(path);
    if (opened === null) continue;
    const { file, made } = opened;
    try {
      await waitFor(path, file, options);
      const lock = attempt("lock", path, () => new PodLock(path, file, made));
      if (lock.isCurrent()) return lock;
      lock[Symbol.dispose]();
    } catch (error) {
      file.close();
      // Another one may have locked the file that was made here, but not where nobody can lock.
      if (made && errnoOfCause(error) !== null) {
        attempt("remove", path, () => Deno.removeSync(path));
      }
      throw error;
    }
  }
  throw new OverlayError("locked", `Cannot lock ${quote(path)}: it keeps being replaced`, { path });
}

/**
 * Locks a pod that was there a moment ago.
 *
 * @returns The lock; `null` when the pod is not there any more: another process has collected it.
 * @throws {RefusedError} If the lock is still held after the wait, or the path is a symlink.
 * @throws {OverlayError} If the file cannot be opened.
 */
export async function lockPodIfThere(
  path: string,
  options: LockOptions = {},
): Promise<PodLock | null> {
  try {
    return await lockPod(path, options);
  } catch (error) {
    if (errnoOfCause(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * Refuses a lock that another process holds, and touches nothing.
 *
 * Requires `--allow-read` permission for the path.
 *
 * @throws {RefusedError} If another process holds it, or the path is no file.
 */
export function refuseLocked(path: string): void {
  const info = look(path);
  if (info === null) return;
  refuseOther(path, info);
  using file = attempt("lock", path, () => Deno.openSync(path));
  // Deno 2.4 can only wait without an end.
  const { tryLockSync } = file as Partial<Deno.FsFile>;
  if (tryLockSync === undefined || file.tryLockSync(true)) return;
  throw new RefusedError("locked", `Cannot lock ${quote(path)}: another process holds it`, {
    path,
    hint: "wait until it has finished, and run this again",
  });
}
