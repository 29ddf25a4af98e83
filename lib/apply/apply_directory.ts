/**
 * The operations that make directories.
 *
 * @module
 */
import type { ApplyRun } from "./apply_run.ts";
import {
  dropSetgid,
  makeDirectory,
  ownerWarning,
  setGroup,
  takeOwner,
} from "../system/directory.ts";
import {
  attempt,
  deviceAt,
  errno,
  ifAny,
  isEmptyDirectory,
  look,
  readMode,
} from "../system/disk.ts";
import { checkAbove, checkGuarded, checkPod } from "../system/trust.ts";
import { checkPermissions, isGranted } from "../system/permissions.ts";
import type { DirectoryOperation, GroupOperation, LikeMode } from "../plan/operation.ts";
import { isWithin, parent } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { podInLower } from "../request/request.ts";

function statOf(path: string): Deno.FileInfo {
  return attempt("read", path, () => Deno.statSync(path));
}

function modeFor(mode: number | LikeMode, run: ApplyRun): number {
  return typeof mode === "number" ? mode : readMode(lowerOf(mode.like, run)) & mode.mask;
}

/** Reads the metadata of a lower, once for a run. */
function lowerOf(path: string, run: ApplyRun): Deno.FileInfo {
  let info = run.lowers.get(path);
  if (info === undefined) run.lowers.set(path, info = statOf(path));
  return info;
}

/** Removes a directory that this run made. A pod that another run has started to use stays. */
function removeMade(path: string, isPod: boolean): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(isPod && ["ENOTEMPTY", "ENOENT"].includes(errno(error) ?? ""))) throw error;
  }
}

/** Makes a directory, or checks the one that is there. */
export function applyDirectory(operation: DirectoryOperation, run: ApplyRun): void | Promise<void> {
  makeOrUse(operation, run);
  return run.unseen.has(operation.path) ? checkMade(operation, run) : undefined;
}

/** Checks a new directory again: another user may have made a missing directory above it. */
async function checkMade(operation: DirectoryOperation, run: ApplyRun): Promise<void> {
  await checkAbove([operation.path], run.programs);
  checkGuarded(operation);
}

function makeOrUse(operation: DirectoryOperation, run: ApplyRun): void {
  const { path, ownerLike } = operation;
  const like = ownerLike === null ? undefined : lowerOf(ownerLike, run);
  if (path === run.pod.pod) {
    refusePodInLower(run);
    makeAbove(path, run);
  }
  const { made, owned } = makeDirectory(path, modeFor(operation.mode, run), like);
  if (!made) return useDirectory(operation, run, like);
  noteMade(path, run);
  if (!owned && like !== undefined) run.options.warn?.(ownerWarning(path, like));
}

/**
 * Refuses a pod in a lower, which would be written into, whatever symlinks lead to either. A lower ends
 * where another file system is mounted, so not every pod lies in the lower `/`. A pod that does not exist
 * yet is judged by its nearest existing parent directory.
 */
export function refusePodInLower({ pod: { pod }, apps }: ApplyRun): void {
  const real = nearestRealPath(pod);
  if (real === null) return;
  for (const lower of new Set(apps.flatMap(({ mount }) => mount.lower))) {
    const around = Deno.realPathSync(lower);
    const isAround = around === "/" ? deviceAt(lower) === deviceAt(real) : isWithin(real, around);
    if (isAround) throw podInLower(pod, lower);
  }
}

/** Finds the real path of the nearest existing directory at or above a path; `null` if it may not be read. */
function nearestRealPath(path: string): string | null {
  if (!isGranted({ name: "read", path })) return null;
  const real = ifAny(() => Deno.realPathSync(path));
  return real === null && path !== "/" ? nearestRealPath(parent(path)) : real;
}

/**
 * Makes the missing directories above a pod. The existing ones were found to be trusted before; if they may
 * not be read, nothing is made.
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

/** Uses an existing directory. The pod is checked here; its contents were inspected when it was locked. */
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
  // Outside the pod another user may have made it since.
  if (operation.guarded && !isWithin(path, run.pod.pod)) checkGuarded(operation);
  // A run that was killed may not have set owner and mode; an app with a line has both.
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
  // The kernel leaves an empty directory in the work, which holds no data.
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

/** Sets the group of a directory. */
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
