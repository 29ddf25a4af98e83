/**
 * `deno task compile [DIRECTORY]`: makes `overlay-render`, one binary with its permissions baked in, and
 * the bundle `overlay-render.js` it is made from, in `dist` or in another directory.
 *
 * The bundle is compiled, not `cli.ts`: a binary of one module starts faster than one that carries a
 * module graph and an npm package, and an older Deno can compile it without reading this `deno.json`.
 *
 * `DENORT_BIN` names a runtime base for Deno to use instead of downloading one, and
 * `DENO_FOR_COMPILE` the Deno whose version matches that base, if it is not this one.
 *
 * @module
 */
import { bundle } from "./bundle.ts";
import type { RuntimeBase } from "./denort.ts";
import { BAKED } from "./flags.ts";
import { run } from "./run.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** The error if there is no runtime base for a binary. */
export class NoBaseError extends Error {}

/** Runs a program in the repository; returns what it said if it failed. */
async function attempt(
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string | undefined> {
  const { status, stderr } = await run(argv, { cwd: ROOT, env });
  return status === 0 ? undefined : stderr.trim() || `${argv[0]} ended with ${status}`;
}

/** Compiles with another Deno, which gets a cache of its own: it would clear the one of this version. */
async function compileWith(
  deno: string,
  args: readonly string[],
  base?: RuntimeBase,
): Promise<string | undefined> {
  const cache = await Deno.makeTempDir({ prefix: "overlay-render-compile-" });
  try {
    const given = base === undefined ? {} : { DENORT_BIN: base.denort };
    return await attempt([deno, ...args], { DENO_DIR: cache, ...given });
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

async function compile(script: string, binary: string, base?: RuntimeBase): Promise<void> {
  const other = base?.deno ?? Deno.env.get("DENO_FOR_COMPILE");
  const args = [
    "compile",
    "-q",
    "--no-code-cache",
    "--no-check",
    "--no-config",
    ...BAKED,
    "--no-prompt",
    "-o",
    binary,
    script,
  ];
  const failed = other
    ? await compileWith(other, args, base)
    : await attempt([Deno.execPath(), ...args]);
  if (failed === undefined) return;
  const error = `error: Cannot compile "${binary}"`;
  if (!failed.includes("Setting up base binary")) throw new Error(`${failed}\n${error}`);
  throw new NoBaseError([
    failed,
    `${error}: the runtime base denort is missing, and it could not be downloaded`,
    "hint: set DENORT_BIN to a denort, and DENO_FOR_COMPILE to the deno of the same version",
  ].join("\n"));
}

/** Starts a binary as a test: with a base of another version it does not find its program. */
async function start(binary: string): Promise<void> {
  const failed = await attempt([binary, "--version"]);
  if (failed === undefined) return;
  throw new Error([
    failed,
    `error: Cannot start "${binary}" after compiling it`,
    "hint: where DENORT_BIN is set, DENO_FOR_COMPILE must be the deno of the same version",
  ].join("\n"));
}

/**
 * Compiles the script of a directory, `overlay-render.js`, into the binary `overlay-render` beside it.
 *
 * @param base The runtime base. @default {that of the environment, or the one that Deno fetches}
 * @throws {NoBaseError} If there is no base, and none could be fetched.
 */
export async function compileBinary(directory: string, base?: RuntimeBase): Promise<void> {
  // Under another name, so that a binary that is there goes only when there is a new one that starts.
  const beside = `${directory}/overlay-render.new`;
  await compile(`${directory}/overlay-render.js`, beside, base);
  await start(beside);
  await Deno.rename(beside, `${directory}/overlay-render`);
}

async function main(directory: string): Promise<number> {
  try {
    await bundle(`${directory}/overlay-render.js`);
    await compileBinary(directory);
    return 0;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    await Deno.stderr.write(new TextEncoder().encode(`${text}\n`));
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args[0] ?? `${ROOT}dist`));
