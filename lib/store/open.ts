/**
 * Opens the tree store for changes, for one command at a time, and repairs it.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { makeDirectory, removeIfEmpty } from "../system/directory.ts";
import { attempt, look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { checkAbove, checkPod } from "../system/trust.ts";
import { makeLink } from "../system/symlink.ts";
import { lockPodIfThere } from "../system/lock.ts";
import type { PodLock } from "../system/lock.ts";
import { basename, child } from "../core/path.ts";
import { PROGRAMS } from "../system/programs.ts";
import { quote } from "../core/quote.ts";
import { removeAll } from "../system/remove.ts";
import { programError, run } from "../system/run.ts";
import { formatLinkTarget, storedTreeLayout } from "./layout.ts";
import type { StoreLayout } from "./layout.ts";
import { listNames, readLink } from "./tree_manifest.ts";
import type { LayerRecord } from "./tree_manifest.ts";

/** Only the owner has access: an image has setuid programs, which may have vulnerabilities. */
export const STORE_MODE = 0o700;

/** The time to wait for the lock. Imports take long, and the next one reuses the layers of the last. */
const STORE_WAIT_MS = 600_000;

/** A store that is open and locked; disposing it frees the lock. */
export interface OpenStore extends Disposable {
  /** Removes the directories that were made when the store was opened, if they are empty. */
  readonly takeBack: () => void;
}

/**
 * Opens a store: makes its missing directories, locks it, and removes the remains of killed commands. As with
 * a pod, no other user may be able to change it.
 *
 * @throws {RefusedError} If another command holds its lock for too long, or a directory is a symlink.
 */
export async function openStore(store: StoreLayout, options: ChangeOptions): Promise<OpenStore> {
  const { layers, links, records, trees, pods, scratch } = store;
  const whole = await checkAbove([store.store], programOptions(options));
  const { lock, made: isNew } = await lockStore(store, options);
  const made: string[] = [];
  const takeBack = () => {
    if (made.some((path) => listNames(path).length > 0)) return;
    made.forEach(removeIfEmpty);
    if (isNew && lock.made) Deno.removeSync(lock.path);
    if (isNew) removeIfEmpty(store.store);
  };
  try {
    if (!whole) await checkAbove([store.store], programOptions(options));
    for (const path of [layers, links, records, trees, pods, scratch]) {
      if (makeDirectory(path, STORE_MODE).made) made.push(path);
    }
    await clearAway(listScratch(store), options);
    tidy(store);
    return { takeBack, [Symbol.dispose]: () => lock[Symbol.dispose]() };
  } catch (error) {
    takeBack();
    lock[Symbol.dispose]();
    throw error;
  }
}

/** The number of attempts if another command removes a store that it made while this one waits for it. */
const TRIES = 100;

async function lockStore(
  { store, lock: path }: StoreLayout,
  options: ChangeOptions,
): Promise<{ readonly lock: PodLock; readonly made: boolean }> {
  for (let tries = 0; tries < TRIES; tries++) {
    const made = makeStore(store);
    const lock = await lockPodIfThere(path, { waitMs: STORE_WAIT_MS, ...options });
    if (lock !== null) return { lock, made };
  }
  throw new OverlayError("locked", `Cannot lock ${quote(path)}: it keeps being removed`, { path });
}

/** Makes the directory of a store unless it exists. Tells whether it did. */
function makeStore(path: string): boolean {
  const { made } = makeDirectory(path, STORE_MODE);
  try {
    checkPod(path);
    return made;
  } catch (error) {
    if (made) remove(path);
    throw error;
  }
}

/** Lists the unfinished imports and removals. */
export function listScratch({ scratch }: StoreLayout): string[] {
  return listNames(scratch).map((name) => child(scratch, name));
}

/**
 * Repairs a store after a killed command: removes records and links without a layer, since they are made
 * before it, and restores a tree whose removal was not finished, since it may be in use.
 */
export function tidy(store: StoreLayout): void {
  const { layers, links, records } = store;
  for (const id of listNames(store.trees)) {
    const { removing, rendered } = storedTreeLayout(store, id);
    if (look(removing) === null) continue;
    attempt("put back", rendered, () => Deno.renameSync(removing, rendered));
  }
  const keys = new Set(listNames(layers));
  for (const name of listNames(records)) {
    if (!keys.has(name.replace(/\.(json|mtree)(\.new)?$/, ""))) remove(child(records, name));
  }
  for (const name of listNames(links)) {
    const path = child(links, name);
    if (!keys.has(basename(readLink(path) ?? ""))) remove(path);
  }
}

/**
 * Makes lost or wrong links to layers again, under the same names, which manifests and pods use.
 *
 * Requires `--allow-run` permission for ln.
 */
export async function mendLinks(
  layers: readonly Pick<LayerRecord, "key" | "link">[],
  store: StoreLayout,
  options: ChangeOptions,
): Promise<void> {
  for (const { key, link } of layers) {
    const path = child(store.links, link);
    const to = readLink(path);
    if (to === formatLinkTarget(key)) continue;
    if (look(path) !== null) remove(path);
    await makeLink(path, formatLinkTarget(key), programOptions(options));
    syncDirectory(store.links);
  }
}

function remove(path: string): void {
  attempt("remove", path, () => Deno.removeSync(path));
}

/**
 * Removes directories with all that is in them, see {@linkcode removeAll}. A signal does not stop
 * it, so that an interrupted command leaves the store in order.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If a file cannot be removed.
 */
export async function clearAway(paths: readonly string[], options: ChangeOptions): Promise<void> {
  const { trace } = options;
  await removeAll(paths, trace === undefined ? {} : { trace });
}

/**
 * Syncs the file system of the store.
 *
 * Requires `--allow-run` permission for sync.
 */
export async function syncStore({ store }: StoreLayout, options: ChangeOptions): Promise<void> {
  const args = ["--file-system", "--", store];
  const result = await run(PROGRAMS.sync, args, { ...programOptions(options), cwd: "/" });
  if (result.status === 0) return;
  throw programError(result, "write to the disk", store);
}

/** Syncs a directory, so that the names in it are on the disk. */
export function syncDirectory(path: string): void {
  attempt("write", path, () => {
    using directory = Deno.openSync(path);
    directory.syncSync();
  });
}
