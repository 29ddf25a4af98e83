/**
 * Which pods use which trees of the store.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { look, readOwnFile } from "./disk.ts";
import { RefusedError } from "./errors.ts";
import { isGranted } from "./grants.ts";
import { podLayout } from "./layout.ts";
import { lockPodIfThere } from "./lock.ts";
import { child, isWithin } from "./path.ts";
import { readRecord } from "./pod_state.ts";
import type { StoreLayout } from "./store.ts";
import { namesIn } from "./tree_manifest.ts";

/** A pod that was rendered from a tree of the store. */
export interface TreeUser {
  /** The pod. */
  readonly pod: string;
  /** What the store noted of it. */
  readonly note: string;
  /** The ids of the trees it uses; `null` when it may not be looked at. */
  readonly trees: readonly string[] | null;
  /** The lowers in the store that it uses. */
  readonly lowers: readonly string[];
}

function isOf(line: AppLine, pod: string, store: StoreLayout): boolean {
  return configOfLine(line, pod).lower.some((lower) => isWithin(lower, store.store));
}

function userOf(pod: string, note: string, store: StoreLayout): TreeUser {
  if (!isGranted({ name: "read", path: pod })) return { pod, note, trees: null, lowers: [] };
  const { fstab } = podLayout(pod);
  const lines = readRecord(fstab).lines.filter((line) => isOf(line, pod, store));
  const trees = [...new Set(lines.map(({ tree }) => tree))];
  const lowers = [...new Set(lines.flatMap((line) => configOfLine(line, pod).lower))];
  return { pod, note, trees, lowers };
}

/**
 * The pods that were rendered from trees of the store. Those whose `overlay.fstab` says so no more use
 * none.
 *
 * Requires `--allow-read` permission for the store; pods that it is not granted for are not looked at.
 */
export function usersOf(store: StoreLayout): readonly TreeUser[] {
  return namesIn(store.pods).flatMap((name) => {
    const note = child(store.pods, name);
    const pod = new TextDecoder().decode(readOwnFile(note) ?? new Uint8Array()).trimEnd();
    // One that is just being written is no note yet.
    return pod.startsWith("/") && !name.endsWith(".new") ? [userOf(pod, note, store)] : [];
  });
}

/**
 * Whether a command works on a pod: it may have been noted, and not have written its lines.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod.
 */
export async function isBusy(pod: string): Promise<boolean> {
  const { lock } = podLayout(pod);
  if (look(lock) === null) return false;
  try {
    using _ = await lockPodIfThere(lock, { waitMs: 0 });
    return false;
  } catch (error) {
    if (error instanceof RefusedError && error.code === "locked") return true;
    throw error;
  }
}
