/**
 * The operations that read and change the disk.
 *
 * @module
 */
import { operationsOf } from "./apply_run.ts";
import type { ApplyRun } from "./apply_run.ts";
import { formatAppLine } from "../overlay/app_line.ts";
import {
  dropSetgid,
  makeDirectory,
  ownerWarning,
  setGroup,
  takeOwner,
} from "../system/directory.ts";
import {
  attempt,
  isEmptyDirectory,
  look,
  makeFile,
  modeOf,
  readOwnFile,
  readRegular,
  replaceFile,
  typeOf,
} from "../system/disk.ts";
import { errno, OverlayError, RefusedError } from "../core/errors.ts";
import { appLines, formatFstab, FSTAB_MODE, withLines } from "../overlay/fstab.ts";
import { checkGuarded, checkPod } from "../system/trust.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import type {
  DirectoryOperation,
  GroupOperation,
  LikeMode,
  ManifestOperation,
  RealOperation,
  RecordOperation,
  RequireOperation,
} from "../plan/operation.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { quote } from "../core/quote.ts";

function statOf(path: string): Deno.FileInfo {
  return attempt("read", path, () => Deno.statSync(path));
}

/** Something must be there; a lower may be named through a symlink. */
export async function applyRequires(
  operations: readonly RequireOperation[],
  run: ApplyRun,
): Promise<void> {
  if (run.apps.length === 1) return operations.forEach(applyRequire);
  const { forEachApp } = await import("../core/pod_error.ts");
  const byPath = Map.groupBy(operations, ({ path }) => path);
  const manifests = new Map(
    operationsOf(run.plan, "manifest").map(({ path, from }) => [path, from]),
  );
  // Apps have lowers in common: each is looked at once, and fails every app that has it.
  const outcomes = new Map<string, unknown>();
  const requireOnce = (path: string) => {
    if (!outcomes.has(path)) {
      outcomes.set(
        path,
        failureOf(() => byPath.get(path)?.forEach(applyRequire)),
      );
    }
    const failure = outcomes.get(path);
    if (failure !== null) throw failure;
  };
  forEachApp(run.apps, ({ mount }) => {
    const manifest = manifests.get(child(mount.dest, "manifest"));
    mount.lower.forEach(requireOnce);
    if (manifest !== undefined) requireOnce(manifest);
  });
}

/** What an action throws; `null` when it does not. */
function failureOf(action: () => void): unknown {
  try {
    action();
    return null;
  } catch (error) {
    return error;
  }
}

function applyRequire(operation: RequireOperation): void {
  const { path, type } = operation;
  const word = type === "directory" ? "lower" : "manifest";
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
    // The kernel takes what may not be read, and then shows nothing.
    if (type === "directory" && info.isDirectory) openDirectory(path);
  } catch (error) {
    const code = errno(error) ?? "";
    if (type === "directory" && ["EACCES", "EPERM"].includes(code)) throw unreadable(path, error);
    if (code !== "ENOENT" && code !== "ENOTDIR") return void statOf(path);
    throw new OverlayError("missing", `Cannot use ${word} ${quote(path)}: it does not exist`, {
      path,
      cause: error,
      hint: `check the path that was given as ${word}`,
    });
  }
  if (type === "directory" ? info.isDirectory : info.isFile) return;
  const code = type === "directory" ? "not-a-directory" : "missing";
  throw new OverlayError(code, `Cannot use ${word} ${quote(path)}: it is ${typeOf(info)}`, {
    path,
    hint: `a ${word} must be a ${type}`,
  });
}

/** Unlike a file, a directory is opened as nothing else: a FIFO that takes its place is not waited for. */
function openDirectory(path: string): void {
  Deno.readDirSync(path)[Symbol.iterator]().next();
}

/** In the words of `preflight.ts`, which is not loaded where there is one lower. */
function unreadable(path: string, cause: unknown): RefusedError {
  return new RefusedError("unreadable", `Cannot use lower ${quote(path)}: it may not be read`, {
    path,
    cause,
    hint: "run as a user who may read it, such as root",
  });
}

/** No part of the path may be a symlink. */
export function applyReal(operation: RealOperation): void {
  const { path } = operation;
  const real = attempt("find", path, () => Deno.realPathSync(path));
  if (real === path) return;
  const reason = "it leads through a symlink, which an option string with this name cannot";
  throw new RefusedError("symlink", `Cannot use ${quote(path)}: ${reason}`, {
    path,
    hint: `give the real path: ${quote(real)}`,
  });
}

function modeFor(mode: number | LikeMode, run: ApplyRun): number {
  return typeof mode === "number" ? mode : modeOf(lowerOf(mode.like, run)) & mode.mask;
}

/** A lower looks the same all through a run. */
function lowerOf(path: string, run: ApplyRun): Deno.FileInfo {
  let info = run.lowers.get(path);
  if (info === undefined) run.lowers.set(path, info = statOf(path));
  return info;
}

/** A pod that another run has begun to use meanwhile is left to it; gc may have taken an empty one. */
function removeMade(path: string, isPod: boolean): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(isPod && ["ENOTEMPTY", "ENOENT"].includes(errno(error) ?? ""))) throw error;
  }
}

/** Makes a directory, or checks the one that is there. */
export function applyDirectory(operation: DirectoryOperation, run: ApplyRun): void {
  const { path, ownerLike } = operation;
  const like = ownerLike === null ? undefined : lowerOf(ownerLike, run);
  if (path === run.pod.pod) makeAbove(path, run);
  const { made, owned } = makeDirectory(path, modeFor(operation.mode, run), like);
  if (!made) return useDirectory(operation, run, like);
  noteMade(path, run);
  if (!owned && like !== undefined) run.options.warn?.(ownerWarning(path, like));
}

/**
 * Makes the directories above a pod that are missing. Those that are there were found to be trusted before;
 * where they may not be looked at, nothing is made.
 */
function makeAbove(pod: string, run: ApplyRun): void {
  const missing: string[] = [];
  for (let at = parent(pod); isGranted({ name: "read", path: at }) && look(at) === null;) {
    missing.unshift(at);
    at = parent(at);
  }
  const [first] = missing;
  if (first === undefined) return;
  checkPermissions("make the directories above the pod", { read: [], write: [first], run: [] });
  for (const path of missing) {
    if (!makeDirectory(path, 0o755).made) continue;
    run.changedBy(() => `remove ${quote(path)}`, () => removeMade(path, true));
  }
}

/** The pod is checked here; what is in it was looked at as a whole when it was locked. */
function useDirectory(
  operation: DirectoryOperation,
  run: ApplyRun,
  like: Deno.FileInfo | undefined,
): void {
  const { path, force } = operation;
  const app = run.appOf(path);
  if (path === run.pod.pod) {
    run.fresh = false;
    run.identity = checkPod(path);
    return;
  }
  // Outside the pod somebody else may have made it since.
  if (operation.guarded && !isWithin(path, run.pod.pod)) checkGuarded(operation);
  // What a run left that was killed before it had set owner and mode; an app with a line has both.
  const half = app?.recorded === false && isEmptyDirectory(path);
  if (half && like !== undefined) forceOwner(path, like, run);
  if (half || force) forceMode(operation, run);
}

function forceOwner(path: string, like: Deno.FileInfo, run: ApplyRun): void {
  const had = statOf(path);
  if ((had.uid === like.uid && had.gid === like.gid) || !takeOwner(path, like)) return;
  const undo = () => Deno.chownSync(path, had.uid, had.gid);
  run.changedBy(() => `give ${quote(path)} back`, undo, run.appOf(path));
}

function noteMade(path: string, run: ApplyRun): void {
  const isPod = path === run.pod.pod;
  if (!isWithin(path, run.pod.pod)) run.made.add(path);
  // The kernel leaves an empty directory in the work, which is nobody's data.
  const app = run.appOf(path);
  const isWork = path === app?.mount.work;
  run.changedBy(() => `remove ${quote(path)}`, () => {
    if (isWork) Deno.removeSync(path, { recursive: true });
    else removeMade(path, isPod);
  }, app);
  if (!isPod) return;
  run.fresh = true;
  run.identity = checkPod(path);
}

function forceMode(operation: DirectoryOperation, run: ApplyRun): void {
  const { path } = operation;
  const mode = modeFor(operation.mode, run);
  const had = dropSetgid(path, mode);
  if (had !== mode) {
    const undo = () => Deno.chmodSync(path, had);
    run.changedBy(() => `set the mode of ${quote(path)} back`, undo, run.appOf(path));
  }
}

/** Gives a directory its group. */
export async function applyGroup(operation: GroupOperation, run: ApplyRun): Promise<void> {
  const { path, group } = operation;
  const gid = typeof group === "number"
    ? group
    : (await import("../system/group.ts")).groupId(group);
  const had = setGroup(path, gid);
  if (had !== gid) {
    run.changedBy(
      () => `set the group of ${quote(path)} back`,
      () => Deno.chownSync(path, null, had),
    );
  }
}

function restore(path: string, content: Uint8Array | null, mode: number): void {
  if (content === null) Deno.removeSync(path);
  else replaceFile(path, content, mode);
}

/** Replaces a file unless it is like that already. */
function put(path: string, content: Uint8Array, mode: number, run: ApplyRun): void {
  const had = readOwnFile(path);
  const info = look(path);
  const hadMode = info === null ? mode : modeOf(info);
  const same = had !== null && hadMode === mode && had.length === content.length &&
    had.every((byte, i) => byte === content[i]);
  if (same) return;
  replaceFile(path, content, mode);
  run.changedBy(
    () => `put ${quote(path)} back`,
    () => restore(path, had, hadMode),
    run.appOf(path),
  );
}

/** The most bytes of a manifest: one of the largest images has some ten thousand. */
const MANIFEST_MAX = 16 << 20;

/** Copies the manifest. */
export async function applyManifest(
  operation: ManifestOperation,
  run: ApplyRun,
): Promise<void> {
  const { from, path, mode } = operation;
  const { signal } = run.options;
  put(path, await readRegular(from, MANIFEST_MAX, { verb: "read manifest", signal }), mode, run);
}

/** Notes in the lines which directories outside the pod are there by this render, or by one before. */
function noteDestinations(run: ApplyRun): void {
  const old = appLines(run.entries);
  for (const app of run.apps) {
    const { dest, rootfs } = app.mount;
    const had = old.find((line) => line.app === app.line.app && line.rootfs === rootfs)?.made;
    const now = run.made.has(rootfs) ? "rootfs" : undefined;
    const made = run.made.has(dest) ? "destination" : had ?? now;
    if (made !== undefined) app.line = { ...app.line, made };
  }
}

/** Writes the lines of the apps, all at once. */
export function applyRecords(operations: readonly RecordOperation[], run: ApplyRun): void {
  const path = operations[0]?.path ?? run.pod.fstab;
  if (run.apps.some(({ mount }) => !isWithin(mount.dest, run.pod.pod))) noteDestinations(run);
  const lines = run.apps.map(({ line }) => line);
  const text = new TextEncoder().encode(formatFstab(withLines(run.entries, lines)));
  if (!run.fresh) {
    const had = new Set(run.entries.map((entry) => {
      return typeof entry === "string" ? entry : formatAppLine(entry);
    }));
    for (const app of run.apps) if (!had.has(formatAppLine(app.line))) app.changed = true;
    return put(path, text, FSTAB_MODE, run);
  }
  run.onDisk = makeFile(path, text, FSTAB_MODE);
  // It is awaited when all else is done; until then a failure must not end the process.
  run.onDisk.catch(() => {});
  run.changedBy(() => `remove ${quote(path)}`, () => Deno.removeSync(path));
}
