/**
 * The operations that change a rootfs itself: making it a copy, and adding files that an image must have.
 * Files in a rootfs come from an image, so no symlink in it is followed. All of it is done before the
 * rootfs is mounted: a process in it could make a path lead anywhere.
 *
 * @module
 */
import type { ApplyRun, AppRun } from "./apply_run.ts";
import { makeDirectory, ownerWarning } from "../system/directory.ts";
import { attempt, isEmptyDirectory, look, readMode } from "../system/disk.ts";
import { RefusedError } from "../core/errors.ts";
import { makeLink } from "../system/symlink.ts";
import type { CopyOperation, MtabOperation, TouchOperation } from "../plan/operation.ts";
import { basename, child, isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { appWords, quote } from "../core/quote.ts";
import { programError, run as runProgram } from "../system/run.ts";

/**
 * Copies the lower beside the rootfs, and puts the copy into its place when it is whole: with owners,
 * modes, times, extended attributes, hard links, sockets and devices.
 */
export async function applyCopy(operation: CopyOperation, run: ApplyRun): Promise<void> {
  const { path, from, mode, mtab } = operation;
  // Loaded when it is needed: most apps are no copies.
  const { removeTree } = await import("../system/remove.ts");
  // A name that no other file has.
  const beside = child(parent(path), ".overlay-render.rootfs");
  refuseOther(path);
  // A run that was killed may have left a part of a copy.
  await removeTree(beside, run.options);
  try {
    await copy(from, beside, run);
    if (mode !== null) attempt("set the mode of", beside, () => Deno.chmodSync(beside, mode));
    if (mtab) await putMtab(beside, run);
    run.options.signal?.throwIfAborted();
    attempt("put in place", path, () => Deno.renameSync(beside, path));
  } catch (error) {
    await removeTree(beside, run.options);
    throw error;
  }
  run.changedBy(
    () => `remove ${quote(path)}`,
    () => removeTree(path, run.options),
    run.appOf(path),
  );
}

function refuseOther(path: string): void {
  if (look(path) === null) return;
  throw new RefusedError("different", `Cannot copy to ${quote(path)}: it is there already`, {
    path,
    hint: "remove it if it may go, or give the app a --dest of its own",
  });
}

async function copy(from: string, to: string, run: ApplyRun): Promise<void> {
  const how = ["--archive", "--reflink=auto", "--one-file-system", "--no-target-directory"];
  const result = await runProgram(PROGRAMS.cp, [...how, "--", from, to], {
    ...run.programs,
    cwd: "/",
  });
  if (result.status === 0) return;
  const hint = "run as a user who may read all of it, such as root, and see to free space";
  throw programError(result, "copy", from, { hint });
}

/** Makes `etc/mtab` in a copy that is not in its place yet, so that no process uses it. */
async function putMtab(copy: string, run: ApplyRun): Promise<void> {
  const missing = missingIn(directoriesAt([copy], ["etc"]), "mtab", copy);
  if (missing === "") await makeLink(child(copy, "etc", "mtab"), MTAB, run.programs);
  else if (missing !== null) run.options.warn?.(`no mtab is made: ${missing}`);
}

/** Copies a directory of the image into the upper, if no part of its path is a symlink. */
export async function applyTouch(operation: TouchOperation, run: ApplyRun): Promise<void> {
  const place = placeOf(operation, run);
  if (place === null || place.app.live) return;
  if (place.app.recorded && look(operation.path) !== null) return;
  if (directoriesAt(place.layers, place.names).length === 0) return;
  if (await isFree(place.app, run)) copyUp(place, run);
}

/** Makes `etc/mtab` in the upper, where `etc` is a directory and has none. */
export async function applyMtab(operation: MtabOperation, run: ApplyRun): Promise<void> {
  const place = placeOf(operation, run);
  if (place === null) return;
  const { app, upper, layers, names } = place;
  const above = names.slice(0, -1);
  const missing = missingIn(directoriesAt(layers, above), basename(operation.path), upper);
  if (missing === null) return;
  if (missing !== "") return run.options.warn?.(`no mtab is made: ${missing}`);
  if (!await isFree(app, run)) {
    const reason = `${appWords(app.line.app)} may be running`;
    return run.options.warn?.(`no mtab is made: ${reason}; unmount it, and render it again`);
  }
  copyUp({ ...place, names: above }, run);
  keepTime(parent(operation.path), app, run);
  await makeLink(operation.path, MTAB, run.programs);
  run.changedBy(
    () => `remove ${quote(operation.path)}`,
    () => Deno.removeSync(operation.path),
    app,
  );
}

/** The link by which every process sees its own mounts. */
const MTAB = "../proc/self/mounts";

/** A directory of an app into which a file is put before the app is mounted. */
interface Place {
  readonly app: AppRun;
  readonly upper: string;
  /** The layers of the rootfs, top first; the first is the upper. */
  readonly layers: readonly string[];
  /** The names in its path, from the root. */
  readonly names: readonly string[];
}

function placeOf(
  { path, rootfs }: TouchOperation | MtabOperation,
  run: ApplyRun,
): Place | null {
  const app = run.appOf(rootfs);
  const upper = app?.mount.upper ?? null;
  if (app === undefined || upper === null) return null;
  const names = path.slice(upper.length + 1).split("/");
  return { app, upper, layers: [upper, ...app.mount.lower], names };
}

/**
 * Lists the directories that overlayfs merges into one: down to the first layer in which the name is not a
 * directory. Empty if the rootfs has no directory there, or its path has a symlink.
 */
function directoriesAt(layers: readonly string[], names: readonly string[]): readonly string[] {
  let found = layers;
  for (const name of names) {
    const paths: string[] = [];
    for (const path of found.map((directory) => child(directory, name))) {
      const info = look(path);
      if (info === null) continue;
      if (!info.isDirectory) break;
      paths.push(path);
    }
    found = paths;
  }
  return found;
}

/**
 * Tells why a name must not be made in a directory of the rootfs; empty if it may be made, `null` if it
 * exists.
 */
function missingIn(directories: readonly string[], name: string, upper: string): string | null {
  if (directories.length === 0) return "etc is no directory of the image";
  for (const directory of directories) {
    const info = look(child(directory, name));
    if (info === null) continue;
    if (!isWhiteout(info)) return null;
    return isWithin(directory, upper) ? "the app has removed it" : "";
  }
  return "";
}

function isWhiteout({ isCharDevice, rdev }: Deno.FileInfo): boolean {
  return isCharDevice === true && rdev === 0;
}

/**
 * Tells whether no process can change the upper: the app is not mounted, also not in another mount
 * namespace. A user who may not mount cannot ask the kernel, so only a new upper counts as free.
 *
 * @throws {RefusedError} If a process uses it.
 */
async function isFree(app: AppRun, run: ApplyRun): Promise<boolean> {
  if (app.live) return false;
  if (!app.recorded) return true;
  if (!run.mounts) return false;
  const { refuseInUse } = await import("../pod/in_use.ts");
  await refuseInUse("render", [app.line], run);
  return true;
}

/** Makes the directories of a place in the upper, each as it is in the first layer that has it. */
function copyUp({ app, upper, layers, names }: Place, run: ApplyRun): void {
  const made: { readonly path: string; readonly like: Deno.FileInfo }[] = [];
  for (const at of names.keys()) {
    const way = names.slice(0, at + 1);
    const path = child(upper, ...way);
    // A run that was killed may not have set owner and mode.
    if (!app.recorded && isEmptyDirectory(path)) Deno.removeSync(path);
    const [first] = directoriesAt(layers, way);
    const like = first === undefined ? null : look(first);
    if (first === path || like === null) continue;
    if (made.length === 0) keepTime(parent(path), app, run);
    makeLike(path, like, app, run);
    made.push({ path, like });
  }
  for (const { path, like } of made.reverse()) setTime(path, like);
}

function makeLike(path: string, like: Deno.FileInfo, app: AppRun, run: ApplyRun): void {
  const { owned } = makeDirectory(path, readMode(like), like);
  run.changedBy(() => `remove ${quote(path)}`, () => Deno.removeSync(path), app);
  if (!owned) run.options.warn?.(ownerWarning(path, like));
}

/** Notes the time of a directory for the undo, since making an entry in it changes the time. */
function keepTime(path: string, app: AppRun, run: ApplyRun): void {
  const had = attempt("look at", path, () => Deno.lstatSync(path));
  run.changedBy(() => `set the time of ${quote(path)} back`, () => setTime(path, had), app);
}

function setTime(path: string, { atime, mtime }: Deno.FileInfo): void {
  if (mtime === null) return;
  attempt("set the time of", path, () => Deno.utimeSync(path, atime ?? mtime, mtime));
}
