/**
 * Changing the tree store: opened and locked by one command at a time, and put in order.
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

/** Only the owner goes in: an image has programs that are setuid, and may be full of holes. */
export const STORE_MODE = 0o700;

/** Imports take their time, and what one has done the next need not do. */
const STORE_WAIT_MS = 600_000;

/** A store that is open and locked; disposing it lets others in. */
export interface OpenStore extends Disposable {
  /** Removes what was made of the store when it was opened, unless something is in it. */
  readonly takeBack: () => void;
}

/**
 * Opens a store: makes what is missing of it, locks it, and clears away what a killed command left. As with
 * a pod, nobody else may be able to change it.
 *
 * @throws {RefusedError} If another command holds it for too long, or a link stands in a directory's place.
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

/** How often another command may take a store back that it has made and this one waits for. */
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

/** Makes the directory of a store unless it is there; says whether it did. */
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

/** All that is not finished. */
export function listScratch({ scratch }: StoreLayout): string[] {
  return listNames(scratch).map((name) => child(scratch, name));
}

/**
 * Records and links are made before their layer is put in place, and may have been left alone; and a tree
 * whose removal was killed is still there, and perhaps in use.
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
 * Makes the links to layers that are lost, or lead elsewhere. Their names stay: manifests and pods have them.
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
 * Removes directories with all that is in them, see {@linkcode removeAll}. It goes on when the command is
 * interrupted: this is how a command that was interrupted leaves the store in order.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If something cannot be removed.
 */
export async function clearAway(paths: readonly string[], options: ChangeOptions): Promise<void> {
  const { trace } = options;
  await removeAll(paths, trace === undefined ? {} : { trace });
}

/**
 * Sees to it that all that was written in the store is on the disk.
 *
 * Requires `--allow-run` permission for sync.
 */
export async function syncStore({ store }: StoreLayout, options: ChangeOptions): Promise<void> {
  const args = ["--file-system", "--", store];
  const result = await run(PROGRAMS.sync, args, { ...programOptions(options), cwd: "/" });
  if (result.status === 0) return;
  throw programError(result, "write to the disk", store);
}

/** Sees to it that the names in a directory are on the disk. */
export function syncDirectory(path: string): void {
  attempt("write", path, () => {
    using directory = Deno.openSync(path);
    directory.syncSync();
  });
}
