/**
 * The operations of a render from the tree store.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import { hexDigest } from "../core/digest.ts";
import { describeType, look } from "../system/disk.ts";
import { makeFile, readOwnFile } from "../system/own_file.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { makeLink } from "../system/symlink.ts";
import type { LinkOperation, UseOperation } from "../plan/operation.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** Makes a link. */
export async function applyLink({ path, to }: LinkOperation, run: ApplyRun): Promise<void> {
  const info = look(path);
  if (info !== null) return checkLink(path, to, info);
  await makeLink(path, to, run.programs);
  run.changedBy(() => `remove ${quote(path)}`, () => Deno.removeSync(path));
}

function checkLink(path: string, to: string, info: Deno.FileInfo): void {
  const is = info.isSymlink ? Deno.readLinkSync(path) : null;
  if (is === to) return;
  const what = is === null ? describeType(info) : `a link to ${quote(is)}`;
  throw new RefusedError("different", `Cannot make a link ${quote(path)}: it is ${what}`, {
    path,
    hint: `remove it if it may go; it must lead to ${quote(to)}`,
  });
}

/**
 * Notes that the pod uses trees of the store, and then checks that they still exist. The removal of a tree
 * does this in the opposite order, so that one of the two sees the other.
 */
export async function applyUse(
  { path, pod, rendered }: UseOperation,
  run: ApplyRun,
): Promise<void> {
  const content = new TextEncoder().encode(pod);
  const note = child(path, await hexDigest("SHA-256", content));
  const had = readOwnFile(note);
  // A damaged note would keep all trees of the store from being removed.
  if (had?.length !== content.length || had.some((byte, at) => byte !== content[at])) {
    const written = makeFile(note, content, 0o600);
    run.onDisk = Promise.all([run.onDisk, written]).then(() => {});
  }
  if (had === null) run.changedBy(() => `remove ${quote(note)}`, () => Deno.removeSync(note));
  if (look(rendered) !== null) return;
  throw new OverlayError("missing", `Cannot use tree: ${quote(rendered)} is gone`, {
    path: rendered,
    hint: "import the image again",
  });
}
