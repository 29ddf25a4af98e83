/**
 * Removal of a pod that is set aside.
 *
 * @module
 */
import { child, parent } from "../core/path.ts";
import { attempt, entriesIn, errno, look, readMode } from "../system/disk.ts";
import { checkRemoved, removeAll, runRm } from "../system/remove.ts";
import { podLayout } from "../request/layout.ts";
import type { RemovalOptions } from "../system/remove.ts";
import type { PodLayout } from "../request/layout.ts";
import { freeName } from "./list.ts";

/** The mode of `overlay.fstab` in a pod whose removal has begun. A mode, unlike a file, needs no disk space. */
const BEGUN_MODE = 0o400;

/**
 * Removes a pod that is set aside, in which nothing is mounted and which is locked. `overlay.fstab` and the
 * lock are removed last, so that an interrupted removal can be continued.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, and `--allow-run` for rm.
 *
 * @returns `false` if another process removes it.
 * @throws {OverlayError} If an entry cannot be removed; the others are gone.
 * @throws The signal's reason, if it is aborted.
 */
export async function removePod(pod: PodLayout, options: RemovalOptions = {}): Promise<boolean> {
  if (look(pod.fstab)?.isFile) {
    attempt("change", pod.fstab, () => Deno.chmodSync(pod.fstab, BEGUN_MODE));
  }
  const paths = othersIn(pod);
  let result = await runRm(paths, options);
  if (result?.stderr.includes("Permission denied") && openWorks(pod)) {
    result = await runRm(paths, options);
  }
  checkRemoved(result, paths);
  options.checkpoint?.("removed");
  // A name that is not UTF-8 cannot be passed to a program.
  const whole = othersIn(pod).length === 0 ? pod : await removeWithin(pod, options);
  for (const path of [whole.fstab, whole.lock]) {
    attempt("remove", path, () => unlessGone(() => Deno.removeSync(path)));
    options.checkpoint?.("removed");
  }
  return attempt("remove", whole.pod, () => removeLast(whole));
}

/** Tells whether the removal of a pod has begun, so that a part of it may be gone. */
export function isBegun(pod: PodLayout): boolean {
  const info = look(pod.fstab);
  return info !== null && readMode(info) === BEGUN_MODE;
}

/** The entries of a pod, without the two files by which it is known as one. */
function othersIn(pod: PodLayout): string[] {
  return entriesIn(pod.pod).map(({ name }) => child(pod.pod, name))
    .filter((path) => path !== pod.fstab && path !== pod.lock);
}

/**
 * Gives the owner access to the directories that the kernel makes in a work with mode 000, which not even
 * the owner can read. No other user can write in a work.
 *
 * @returns `true` if anything was changed.
 */
function openWorks({ overlay }: PodLayout): boolean {
  const images = look(overlay)?.isDirectory ? entriesIn(overlay) : [];
  const works = images.flatMap(({ name }) => {
    return [child(overlay, name, "work"), child(overlay, name, "reset", "old-work")];
  });
  return works.map(openWork).includes(true);
}

/** See {@linkcode openWorks}. */
export function openWork(path: string): boolean {
  const info = look(path);
  if (info === null || !info.isDirectory) return false;
  const closed = (readMode(info) & 0o700) !== 0o700;
  if (closed) attempt("open", path, () => Deno.chmodSync(path, 0o700));
  const inside = entriesIn(path).map(({ name }) => openWork(child(path, name)));
  return closed || inside.includes(true);
}

/**
 * Removes a pod as the only entry of a new pod, which has its lines and its lock: so the files by which it is
 * known as a pod are removed last, whatever the names in it are.
 *
 * @returns The new one.
 */
async function removeWithin(pod: PodLayout, options: RemovalOptions): Promise<PodLayout> {
  const around = podLayout(freeName(parent(pod.pod), pod.pod));
  attempt("make directory", around.pod, () => Deno.mkdirSync(around.pod, { mode: 0o700 }));
  for (const [from, to] of [[pod.fstab, around.fstab], [pod.lock, around.lock]] as const) {
    attempt("link", from, () => unlessGone(() => Deno.linkSync(from, to)));
  }
  attempt("move", pod.pod, () => Deno.renameSync(pod.pod, around.overlay));
  await removeAll([around.overlay], options);
  return around;
}

function unlessGone(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (errno(error) !== "ENOENT") throw error;
  }
}

/** Between the lock file's end and its own, another process can have locked the pod, to remove it too. */
function removeLast(pod: PodLayout): boolean {
  try {
    Deno.removeSync(pod.pod);
    return true;
  } catch (error) {
    if (errno(error) === "ENOENT") return false;
    const locked = errno(error) === "ENOTEMPTY" && othersIn(pod).length === 0;
    if (locked) return false;
    throw error;
  }
}
