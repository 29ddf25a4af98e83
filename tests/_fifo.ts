/**
 * Files that are swapped for a FIFO between two system calls of the code under test.
 *
 * @module
 */

/**
 * Does something after the first call of a function of `Deno` with a path, as another process can between
 * two system calls.
 */
export function afterFirst(
  name: "lstatSync" | "statSync",
  path: string,
  act: () => void,
): Disposable {
  const real = Deno[name];
  const restore = (): void => void (Deno[name] = real);
  Deno[name] = (asked: string | URL) => {
    const info = real(asked);
    if (asked !== path) return info;
    restore();
    act();
    return info;
  };
  return { [Symbol.dispose]: restore };
}

/** Writes into a FIFO after a second, so that who opened it and waits for that ends, and its test fails. */
export function writerOf(path: string): AsyncDisposable {
  const script = 'sleep 1; test -p "$1" && echo late >"$1"';
  const child = new Deno.Command("timeout", {
    args: ["5", "sh", "-c", script, "sh", path],
    stdin: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}
