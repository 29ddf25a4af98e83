/**
 * Who uses which trees of the store.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { attempt, ifAny, look, makeFile, readOwnFile } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { splitEscaped, unescapeOption } from "./escape.ts";
import { isGranted } from "./grants.ts";
import { podLayout } from "./layout.ts";
import { splitOptions } from "./mount_config.ts";
import { mountTable } from "./mount_table.ts";
import { lockPodIfThere } from "./lock.ts";
import { checkTrusted } from "./open_pod.ts";
import { child, isWithin } from "./path.ts";
import { readRecord } from "./pod_state.ts";
import type { ProgramOptions } from "./run.ts";
import type { StoreLayout } from "./store.ts";
import { namesIn } from "./tree_manifest.ts";

/** A pod that was rendered from a tree of the store. */
export interface TreeUser {
  /** The pod. */
  readonly pod: string;
  /** What the store noted of it. */
  readonly note: string;
}

/** What a pod uses of the store. */
export interface TreeUse {
  /** The ids of its trees. */
  readonly trees: readonly string[];
  /** The paths of its lowers. */
  readonly lowers: readonly string[];
}

/**
 * The pods that were rendered from trees of the store. They may use none of them any more.
 *
 * Requires `--allow-read` permission for the store.
 */
export function usersOf(store: StoreLayout): readonly TreeUser[] {
  return namesIn(store.pods).flatMap((name) => {
    const note = child(store.pods, name);
    const pod = new TextDecoder().decode(readOwnFile(note) ?? new Uint8Array()).trimEnd();
    // One that is just being written is no note yet.
    return pod.startsWith("/") && !name.endsWith(".new") ? [{ pod, note }] : [];
  });
}

/**
 * What the lines of a pod say that it uses; `null` when they may not or cannot be read.
 *
 * Requires `--allow-read` permission for the store; a pod that it is not granted for is not looked at.
 */
export function useOf({ pod }: TreeUser, store: StoreLayout): TreeUse | null {
  if (!isGranted({ name: "read", path: pod })) return null;
  const ids = new Set(namesIn(store.trees));
  const lowersOf = (line: AppLine) => configOfLine(line, pod).lower;
  // The store may have been moved, or have another name: the pod was rendered from it all the same.
  const isOf = (line: AppLine) => {
    return ids.has(line.tree) || lowersOf(line).some((lower) => isWithin(lower, store.store));
  };
  try {
    const lines = readRecord(podLayout(pod).fstab).lines.filter(isOf);
    return {
      trees: [...new Set(lines.map(({ tree }) => tree))],
      lowers: [...new Set(lines.flatMap(lowersOf))],
    };
  } catch (error) {
    if (error instanceof OverlayError) return null;
    throw error;
  }
}

/**
 * Whether a command works on a pod: it may have been noted, and not have written its lines.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod.
 */
export async function isBusy({ pod }: TreeUser): Promise<boolean> {
  const layout = podLayout(pod);
  if (look(layout.lock) === null) return false;
  try {
    if (await checkTrusted(layout, {}) === null) return false;
    using _ = await lockPodIfThere(layout.lock, { waitMs: 0 });
    return false;
  } catch (error) {
    if (error instanceof RefusedError && error.code === "locked") return true;
    throw error;
  }
}

/** Whether a pod may use trees of the store, now or when what works on it is done. */
async function mayUse(user: TreeUser, store: StoreLayout): Promise<boolean> {
  if (!isGranted({ name: "write", path: user.pod })) return true;
  try {
    if (await isBusy(user)) return true;
  } catch (error) {
    // It may be on a file system that cannot be written to.
    if (error instanceof OverlayError) return true;
    throw error;
  }
  const use = useOf(user, store);
  return use === null || use.lowers.length > 0;
}

/**
 * Forgets the pods that use no tree any more.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the store and the pods; others are kept.
 */
export async function forgetPods(store: StoreLayout): Promise<void> {
  for (const user of usersOf(store)) {
    if (await mayUse(user, store)) continue;
    attempt("remove", user.note, () => Deno.removeSync(user.note));
    // Who renders locks the pod before it looks for its note, so it is seen now if it found one.
    if (!await mayUse(user, store)) continue;
    await makeFile(user.note, new TextEncoder().encode(`${user.pod}\n`), 0o600);
  }
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
export async function mountOf(
  names: ReadonlySet<string>,
  { store }: StoreLayout,
  options: ProgramOptions,
): Promise<string | null> {
  const stores = [store, ifAny(() => Deno.realPathSync(store)) ?? store];
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
