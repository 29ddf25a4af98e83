/**
 * Changes as lines of text, and scripts that make them in a rootfs.
 *
 * @module
 */
import { overlayChanges } from "../mod.ts";
import type { ChangesRequest } from "../mod.ts";
import { sh } from "./_temp.ts";

/** The changes of an app, one a string, such as `A /new`; a path that is not UTF-8 is in base64. */
export async function changesOf(request: ChangesRequest): Promise<string[]> {
  const changes = await overlayChanges(request);
  return changes.map(({ kind, path, base64 }) => `${kind} ${base64 ?? path}`);
}

/** Runs a script in a directory, and ends at its first failure. */
export async function runIn(directory: string, script: string): Promise<void> {
  await sh("sh", "-euc", `cd "$1"; ${script}`, "sh", directory);
}
