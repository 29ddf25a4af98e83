/**
 * A process that holds the lock of a pod, as another run of the command would.
 *
 * @module
 */

/** A process that holds a lock until its scope ends. */
export interface LockHolder extends AsyncDisposable {
  /** Its process id, which the lock file holds meanwhile. */
  readonly pid: number;
  /** Ends it with SIGKILL, which it cannot clean up after. */
  kill(): Promise<void>;
}

/** Starts a process that locks a file, and waits until it has. */
export async function holdLock(path: string): Promise<LockHolder> {
  // One process, so that nobody else has the file open when it ends.
  const script = 'exec 9<>"$1" && flock 9 && echo $$ >"$1" && echo held && exec cat';
  const child = new Deno.Command("sh", {
    args: ["-c", script, "sh", path],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  const end = async (): Promise<void> => {
    await Promise.all([child.status, reader.cancel(), child.stdin.close().catch(() => {})]);
  };
  let ended: Promise<void> | null = null;
  return {
    pid: child.pid,
    kill: () => {
      child.kill("SIGKILL");
      return ended ??= end();
    },
    [Symbol.asyncDispose]: () => ended ??= end(),
  };
}
