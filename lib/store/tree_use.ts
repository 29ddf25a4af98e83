/**
 * Finds the pods that use trees of the store.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { hexDigest } from "../core/digest.ts";
import { attempt, ifAny, look } from "../system/disk.ts";
import { readOwnFile } from "../system/own_file.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { splitEscaped, unescapeOption } from "../overlay/escape.ts";
import { isGranted } from "../system/permissions.ts";
import { checkGuarded } from "../system/trust.ts";
import { podLayout } from "../request/layout.ts";
import { splitOptions } from "../overlay/mount_config.ts";
import { mountTable } from "../system/mount_table.ts";
import { lockPodIfThere, refuseLocked } from "../system/lock.ts";
import { Call, checkTrusted } from "../pod/open.ts";
import { basename, child, isWithin, parent } from "../core/path.ts";
import { readRecord } from "../pod/record.ts";
import { directoriesIn, GARBAGE, withoutNumber } from "../pod/list.ts";
import type { ProgramOptions } from "../system/run.ts";
import type { StoreLayout } from "./layout.ts";
import { listNames } from "./tree_manifest.ts";

/** A note of the store that a pod uses its trees. */
export interface TreeUser {
  /** The pod; `null` if the note cannot be read or is damaged. */
  readonly pod: string | null;
  /** The file of the note. */
  readonly note: string;
}

/** A pod that a note names. */
export interface KnownUser extends TreeUser {
  readonly pod: string;
}

/** The trees and lowers of the store that a pod uses. */
export interface TreeUse {
  /** The ids of its trees. */
  readonly trees: readonly string[];
  /** The paths of its lowers. */
  readonly lowers: readonly string[];
}

/** The name of a note: the SHA-256 of its content, with {@linkcode SET_ASIDE} for one that is set aside. */
const NOTE = /^[0-9a-f]{64}(\.aside)?$/;

/** The ending of a note while it is checked whether the pod still uses the store. */
const SET_ASIDE = ".aside";

/** The name of a note that is being written, or was left by a killed render. */
const UNFINISHED = /^[0-9a-f]{64}\.new$/;

/** Reads the path in a note; `null` if it cannot be read or is no path. */
function podIn(note: string): string | null {
  try {
    const content = readOwnFile(note) ?? new Uint8Array();
    const pod = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    return pod.startsWith("/") && !pod.includes("\0") ? pod : null;
  } catch (error) {
    if (error instanceof OverlayError || error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * Lists the pods that were rendered from trees of the store, by their notes; they may no longer use a tree.
 * Only {@linkcode listCheckedUsers} detects notes that were truncated or changed.
 *
 * Requires `--allow-read` permission for the store.
 */
export function listUsers(store: StoreLayout): readonly TreeUser[] {
  return listNames(store.pods).filter((name) => !UNFINISHED.test(name)).map((name) => {
    const note = child(store.pods, name);
    return { pod: NOTE.test(name) ? podIn(note) : null, note };
  });
}

/** Lists pods as {@linkcode listUsers} does, but a note whose content does not match its name names no pod. */
export function listCheckedUsers(store: StoreLayout): Promise<readonly TreeUser[]> {
  return Promise.all(
    listUsers(store).map(async ({ pod, note }) => {
      if (pod === null) return { pod, note };
      const digest = await hexDigest("SHA-256", new TextEncoder().encode(pod));
      return { pod: basename(note).startsWith(digest) ? pod : null, note };
    }),
  );
}

/** Tells whether a note names a pod. */
export function isKnown(user: TreeUser): user is KnownUser {
  return user.pod !== null;
}

/** Returns the path of a pod in the garbage. */
function garbageOf(pod: string): string {
  return child(parent(pod), GARBAGE);
}

/**
 * Finds a path that may not be read and is needed to know the trees of a pod; `null` if there is none. A
 * missing pod may be set aside.
 */
export function findUnreadable({ pod }: KnownUser): string | null {
  if (!isGranted({ name: "read", path: pod })) return pod;
  const garbage = garbageOf(pod);
  return look(pod) !== null || isGranted({ name: "read", path: garbage }) ? null : garbage;
}

/** Reads the lines of a pod, also of one that gc has set aside, since it can be brought back. */
function linesOf(pod: string): readonly AppLine[] {
  const garbage = garbageOf(pod);
  const isThere = isGranted({ name: "read", path: garbage }) && look(garbage)?.isDirectory;
  const read = (path: string) => readRecord(podLayout(path).fstab).lines;
  const own = read(pod);
  const aside = isThere ? directoriesIn(garbage) : [];
  const isOfPod = (name: string) => [name, withoutNumber(name)].includes(basename(pod));
  const set = aside.filter(isOfPod).flatMap((name) => read(child(garbage, name)));
  // The pod may have been brought back meanwhile.
  return [...own, ...set, ...read(pod)];
}

/**
 * Finds the trees and lowers in the lines of a pod; `null` if they may not or cannot be read.
 *
 * Requires `--allow-read` permission for the store; a pod without the permission is not read.
 */
export function tryReadUse(user: KnownUser, store: StoreLayout): TreeUse | null {
  if (findUnreadable(user) !== null) return null;
  try {
    return readUse(user.pod, store);
  } catch (error) {
    if (error instanceof OverlayError) return null;
    throw error;
  }
}

/** Returns the path of the store as given, and without symlinks. */
function namesOf({ store }: Pick<StoreLayout, "store">): readonly string[] {
  return [store, ifAny(() => Deno.realPathSync(store)) ?? store];
}

function readUse(pod: string, store: StoreLayout): TreeUse {
  const ids = new Set(listNames(store.trees));
  const stores = namesOf(store);
  const lowersOf = (line: AppLine) => readLineConfig(line, pod).lower;
  // The store may have been moved or have another path since the pod was rendered.
  const isOf = (line: AppLine) => {
    return ids.has(line.tree) ||
      lowersOf(line).some((lower) => stores.some((at) => isWithin(lower, at)));
  };
  const lines = linesOf(pod).filter(isOf);
  return {
    trees: [...new Set(lines.map(({ tree }) => tree))],
    lowers: [...new Set(lines.flatMap(lowersOf))],
  };
}

/**
 * Tells whether another command holds the lock of a pod: it may not have written its lines yet.
 *
 * @throws {OverlayError} If the pod cannot be read, or another user can change it.
 */
async function isBusy(pod: string, dryRun: boolean): Promise<boolean> {
  const layout = podLayout(pod);
  const isThere = await checkTrusted(layout, new Call()) !== null;
  const garbage = garbageOf(pod);
  if (isGranted({ name: "read", path: garbage }) && look(garbage)?.isDirectory) {
    checkGuarded({ path: garbage, guarded: true, force: false });
  }
  if (!isThere) return false;
  if (look(layout.lock) === null) return false;
  try {
    if (dryRun) refuseLocked(layout.lock);
    using _ = dryRun ? null : await lockPodIfThere(layout.lock, { waitMs: 0 });
    return false;
  } catch (error) {
    if (error instanceof RefusedError && error.code === "locked") return true;
    throw error;
  }
}

/** The trees that a pod uses now; another command that holds its lock may change that. */
export interface PresentUse extends TreeUse {
  /** Set if another command holds the lock of the pod. */
  readonly busy: boolean;
}

/**
 * Finds the trees that a pod uses, and whether that may be about to change.
 *
 * Requires the permissions of `checkTrusted`, and `--allow-write` for the pod.
 *
 * @param dryRun Set if the pod is not changed: its lock is read, and not taken.
 * @throws {OverlayError} If the pod cannot be locked or read, or another user can change it, so that its
 * record cannot be trusted.
 */
export async function readPresentUse(
  { pod }: KnownUser,
  store: StoreLayout,
  dryRun = false,
): Promise<PresentUse> {
  // The lines are read after the lock, so that a command that just ended has written them.
  const busy = await isBusy(pod, dryRun);
  return { ...readUse(pod, store), busy };
}

/** Tells whether a pod may use trees of the store, now or after the command that holds its lock. */
async function mayUse(user: TreeUser, store: StoreLayout): Promise<boolean> {
  if (!isKnown(user)) return true;
  const path = user.pod;
  if (!isGranted({ name: "write", path }) || findUnreadable(user) !== null) return true;
  try {
    const { busy, lowers } = await readPresentUse(user, store);
    return busy || lowers.length > 0;
  } catch (error) {
    // The pod may be on a read-only file system.
    if (error instanceof OverlayError) return true;
    throw error;
  }
}

/**
 * Removes the notes of pods that no longer use a tree.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store and the pods; others are kept.
 */
export async function forgetPods(store: StoreLayout): Promise<void> {
  for (const user of await listCheckedUsers(store)) {
    if (await mayUse(user, store)) continue;
    if (!user.note.endsWith(SET_ASIDE)) await forget(user, store);
    else if (look(user.note) !== null) remove(user.note);
  }
}

/** Removes the note of one pod. A note that is set aside still counts, as after a killed process. */
async function forget(user: TreeUser, store: StoreLayout): Promise<void> {
  const { note } = user;
  const aside = note + SET_ASIDE;
  attempt("set aside", note, () => Deno.renameSync(note, aside));
  // A render locks the pod before it checks its note, so one that found the note is seen here. One that wrote
  // a new note meanwhile needs no other.
  if (!await mayUse(user, store)) return remove(aside);
  attempt("put back", note, () => Deno.renameSync(aside, note));
}

function remove(note: string): void {
  attempt("remove", note, () => Deno.removeSync(note));
}

/** Lists the lowers in the options of an overlay. */
function lowersIn(options: string): string[] {
  return splitOptions(options).flatMap((option) => {
    const [, value] = /^lowerdir\+?=(.*)$/s.exec(option) ?? [];
    return value === undefined ? [] : splitEscaped(value, ":").map(unescapeOption);
  });
}

/**
 * Finds the mount point of an overlay with directories of the store, whoever mounted it; `null` if there is none.
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @param names The names of layers, their symlinks, or trees.
 */
export async function findMount(
  names: ReadonlySet<string>,
  { store }: StoreLayout,
  options: ProgramOptions,
): Promise<string | null> {
  const stores = namesOf({ store });
  // The directory that a relative path starts from is not known.
  const mayBeHere = (path: string) => {
    return !path.startsWith("/") || stores.some((at) => isWithin(path, at));
  };
  const found = (await mountTable(options, "overlay")).find((mount) => {
    return lowersIn(mount.options).some((lower) => {
      return mayBeHere(lower) && lower.split("/").some((name) => names.has(name));
    });
  });
  return found?.target ?? null;
}
