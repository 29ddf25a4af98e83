/**
 * The operations that change a rootfs itself: making it a copy, and what an image must have in it. What
 * is in a rootfs comes from an image, and no link of it is ever followed.
 *
 * @module
 */
import type { Application } from "./application.ts";
import { attempt, look } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import type { CopyOperation, MtabOperation, TouchOperation } from "./operation.ts";
import { child, parent } from "./path.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { removeTree } from "./removal.ts";
import { run as runProgram } from "./run.ts";

/**
 * Copies the lower beside the rootfs, and puts the copy into its place when it is whole: with owners,
 * modes, times, extended attributes, hard links, sockets and devices.
 */
export async function applyCopy(operation: CopyOperation, run: Application): Promise<void> {
  const { path, from, mode } = operation;
  // A name that nobody else gives to anything.
  const beside = child(parent(path), ".overlay-render.rootfs");
  refuseOther(path);
  // What a run left that was killed while it copied.
  removeTree(beside);
  try {
    await copy(from, beside, run);
    if (mode !== null) attempt("set the mode of", beside, () => Deno.chmodSync(beside, mode));
    run.options.signal?.throwIfAborted();
    attempt("put in place", path, () => Deno.renameSync(beside, path));
  } catch (error) {
    removeTree(beside);
    throw error;
  }
  run.changedBy(() => `remove ${quote(path)}`, () => removeTree(path), run.appOf(path));
}

function refuseOther(path: string): void {
  if (look(path) === null) return;
  throw new RefusedError("different", `Cannot copy to ${quote(path)}: it is there already`, {
    path,
    hint: "remove it if it may go, or give the app a --dest of its own",
  });
}

async function copy(from: string, to: string, run: Application): Promise<void> {
  const how = ["--archive", "--reflink=auto", "--one-file-system", "--no-target-directory"];
  const result = await runProgram(PROGRAMS.cp, [...how, "--", from, to], {
    ...run.programs,
    cwd: "/",
  });
  if (result.status === 0) return;
  const said = printable(result.stderr.split("\n").slice(0, 3).join("\n"));
  throw new OverlayError("failed", `Cannot copy ${quote(from)}: cp said "${said}"`, {
    path: from,
    hint: "run as a user who may read all of it, such as root, and see to free space",
  });
}

/** Touches a directory of the image, if it is one and no part of the way to it is a link. */
export function applyTouch({ path, rootfs }: TouchOperation, run: Application): void {
  const app = run.appOf(rootfs);
  const upper = app?.mount.upper ?? null;
  // A copy has no upper, and what is in one already need not be touched again.
  if (app === undefined || upper === null || !isDirectoryIn(path, rootfs)) return;
  if (look(child(upper, path.slice(rootfs.length + 1))) !== null) return;
  app.wrote = true;
  const now = new Date();
  attempt("touch", path, () => Deno.utimeSync(path, now, now));
}

/** Makes `etc/mtab`, where `etc` is a directory and has none. */
export async function applyMtab({ path, rootfs }: MtabOperation, run: Application): Promise<void> {
  if (!isDirectoryIn(parent(path), rootfs)) {
    const etc = quote(parent(path));
    return run.options.warn?.(`no mtab is made: ${etc} is no directory of the image`);
  }
  if (look(path) !== null) return;
  const app = run.appOf(rootfs);
  if (app !== undefined) app.wrote = true;
  const args = ["--symbolic", "--no-target-directory", "--", "../proc/self/mounts", path];
  const result = await runProgram(PROGRAMS.ln, args, { ...run.programs, cwd: "/" });
  if (result.status !== 0) {
    const said = printable(result.stderr);
    throw new OverlayError("failed", `Cannot make ${quote(path)}: ln said "${said}"`, { path });
  }
  run.changedBy(() => `remove ${quote(path)}`, () => Deno.removeSync(path), app);
}

/** Whether a path in a rootfs is a directory to which no link leads. */
function isDirectoryIn(path: string, rootfs: string): boolean {
  const names = path.slice(rootfs.length).split("/").filter((name) => name !== "");
  return names.every((_, at) => {
    return look(child(rootfs, ...names.slice(0, at + 1)))?.isDirectory === true;
  });
}
