/**
 * Who uses which trees of the store.
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
  /** The pod; `null` when the note cannot be read, or is not as a render writes it. */
  readonly pod: string | null;
  /** The file. */
  readonly note: string;
}

/** A pod that a note names. */
export interface KnownUser extends TreeUser {
  readonly pod: string;
}

/** What a pod uses of the store. */
export interface TreeUse {
  /** The ids of its trees. */
  readonly trees: readonly string[];
  /** The paths of its lowers. */
  readonly lowers: readonly string[];
}

/** The name of a note: the SHA-256 of its content, and perhaps {@linkcode SET_ASIDE}. */
const NOTE = /^[0-9a-f]{64}(\.aside)?$/;

/** The ending of a note while it is found out whether the pod uses the store still. */
const SET_ASIDE = ".aside";

/** The name of a note that is being written: of a render that did not come so far, if it was killed. */
const UNFINISHED = /^[0-9a-f]{64}\.new$/;

/** The path in a note; `null` when it cannot be read, or is none. */
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
 * The notes of the pods that were rendered from trees of the store. They may use none of them any more.
 * That a note was cut off or changed shows in {@linkcode listCheckedUsers} alone.
 *
 * Requires `--allow-read` permission for the store.
 */
export function listUsers(store: StoreLayout): readonly TreeUser[] {
  return listNames(store.pods).filter((name) => !UNFINISHED.test(name)).map((name) => {
    const note = child(store.pods, name);
    return { pod: NOTE.test(name) ? podIn(note) : null, note };
  });
}

/** As {@linkcode listUsers}; a note whose content is not that of its name names no pod. */
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

/** Where a pod is while it is set aside. */
function garbageOf(pod: string): string {
  return child(parent(pod), GARBAGE);
}

/**
 * The path that must be readable to know what a pod uses, and may not be read; `null` if there is none. A
 * pod that is not in its place may be set aside.
 */
export function findUnreadable({ pod }: KnownUser): string | null {
  if (!isGranted({ name: "read", path: pod })) return pod;
  const garbage = garbageOf(pod);
  return look(pod) !== null || isGranted({ name: "read", path: garbage }) ? null : garbage;
}

/** The lines of a pod, and of what gc has set aside of it: that can be brought back. */
function linesOf(pod: string): readonly AppLine[] {
  const garbage = garbageOf(pod);
  const isThere = isGranted({ name: "read", path: garbage }) && look(garbage)?.isDirectory;
  const read = (path: string) => readRecord(podLayout(path).fstab).lines;
  const own = read(pod);
  const aside = isThere ? directoriesIn(garbage) : [];
  const isOfPod = (name: string) => [name, withoutNumber(name)].includes(basename(pod));
  const set = aside.filter(isOfPod).flatMap((name) => read(child(garbage, name)));
  // It may have been brought back meanwhile.
  return [...own, ...set, ...read(pod)];
}

/**
 * What the lines of a pod say that it uses; `null` when they may not or cannot be read.
 *
 * Requires `--allow-read` permission for the store; a pod that it is not granted for is not looked at.
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

/** The store as it is named, and without symlinks. */
function namesOf({ store }: Pick<StoreLayout, "store">): readonly string[] {
  return [store, ifAny(() => Deno.realPathSync(store)) ?? store];
}

function readUse(pod: string, store: StoreLayout): TreeUse {
  const ids = new Set(listNames(store.trees));
  const stores = namesOf(store);
  const lowersOf = (line: AppLine) => readLineConfig(line, pod).lower;
  // The store may have been moved, or have another name: the pod was rendered from it all the same.
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
 * Whether a command works on a pod: it may have been noted, and not have written its lines.
 *
 * @throws {OverlayError} If the pod cannot be looked at, or somebody else can change it.
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

/** The trees that a pod uses; a command that works on the pod may change that. */
export interface PresentUse extends TreeUse {
  /** Set if a command works on the pod. */
  readonly busy: boolean;
}

/**
 * Looks at what a pod uses, and at whether that is about to change.
 *
 * Requires the permissions of `checkTrusted`, and `--allow-write` for the pod.
 *
 * @param dryRun Set if the pod is not touched: its lock is looked at, and not taken.
 * @throws {OverlayError} If that is not to be found out: the pod cannot be locked or read, or somebody else
 * can change it, so that what is in it may be anything.
 */
export async function readPresentUse(
  { pod }: KnownUser,
  store: StoreLayout,
  dryRun = false,
): Promise<PresentUse> {
  // In this order: what a command writes before it is done is read after it.
  const busy = await isBusy(pod, dryRun);
  return { ...readUse(pod, store), busy };
}

/** Whether a pod may use trees of the store, now or when what works on it is done. */
async function mayUse(user: TreeUser, store: StoreLayout): Promise<boolean> {
  if (!isKnown(user)) return true;
  const path = user.pod;
  if (!isGranted({ name: "write", path }) || findUnreadable(user) !== null) return true;
  try {
    const { busy, lowers } = await readPresentUse(user, store);
    return busy || lowers.length > 0;
  } catch (error) {
    // It may be on a file system that cannot be written to.
    if (error instanceof OverlayError) return true;
    throw error;
  }
}

/**
 * Forgets the pods that use no tree any more.
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

/** A killed process leaves a note that is set aside, and a note it is still. */
async function forget(user: TreeUser, store: StoreLayout): Promise<void> {
  const { note } = user;
  const aside = note + SET_ASIDE;
  attempt("set aside", note, () => Deno.renameSync(note, aside));
  // Who renders locks the pod before it looks for its note, so it is seen now if it found one; and if it
  // has written one meanwhile, that says the same.
  if (!await mayUse(user, store)) return remove(aside);
  attempt("put back", note, () => Deno.renameSync(aside, note));
}

function remove(note: string): void {
  attempt("remove", note, () => Deno.removeSync(note));
}

/** The lowers of an overlay, as they were given to the kernel. */
function lowersIn(options: string): string[] {
  return splitOptions(options).flatMap((option) => {
    const [, value] = /^lowerdir\+?=(.*)$/s.exec(option) ?? [];
    return value === undefined ? [] : splitEscaped(value, ":").map(unescapeOption);
  });
}

/**
 * The mount point of an overlay that anyone has made of something in the store; `null` when there is none.
 *
 * Requires `--allow-run` permission for findmnt.
 *
 * @param names The names of layers, of links to them, or of trees.
 */
export async function findMount(
  names: ReadonlySet<string>,
  { store }: StoreLayout,
  options: ProgramOptions,
): Promise<string | null> {
  const stores = namesOf({ store });
  // Where a path that does not begin at the root leads is not known.
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
