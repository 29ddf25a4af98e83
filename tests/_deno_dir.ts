/**
 * A fresh cache for Deno processes that know nothing of this repository's.
 *
 * @module
 */
import { copy } from "@std/fs/copy";
import { dirname } from "@std/path/posix/dirname";
import { sh } from "./_temp.ts";

const PACKAGE = "npm/registry.npmjs.org/deno-std";

/**
 * Makes a directory for `DENO_DIR` in which nothing is but the one npm package that `std/` stands on, so
 * that it need not be downloaded again. It is there, since this very test imports from it.
 */
export async function freshDenoDir(path: string): Promise<string> {
  const { denoDir } = JSON.parse(await sh(Deno.execPath(), "info", "--json")) as {
    denoDir: string;
  };
  await Deno.mkdir(dirname(`${path}/${PACKAGE}`), { recursive: true });
  await copy(`${denoDir}/${PACKAGE}`, `${path}/${PACKAGE}`);
  return path;
}
