/**
 * The pods that are set aside, in the directory `garbage` beside the others.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import { entriesIn, look } from "../system/disk.ts";
import { checkGuarded } from "../system/trust.ts";
import { podLayout } from "../request/layout.ts";
import { basename, child, isWithin, parent } from "../core/path.ts";
import { readRecord } from "./record.ts";
import { directoriesIn, GARBAGE, isPod, withoutNumber } from "./list.ts";

/** Only the owner has access, so no other user reaches a file that is being removed. */
export const GARBAGE_MODE = 0o700;

/** The pods that are set aside in a directory of pods. */
export function garbageIn(directory: string): readonly string[] {
  const aside = child(directory, GARBAGE);
  const paths = look(aside)?.isDirectory
    ? directoriesIn(aside).map((name) => child(aside, name))
    : [];
  // A pod can have that name; then it has directories of its own.
  return isPod(aside) ? paths.filter(isPod) : paths;
}

/**
 * Checks the directory for pods that are set aside.
 *
 * @throws {RefusedError} If it is a symlink, or others can change it.
 * @throws {OverlayError} If it is no directory.
 */
export function checkGarbage(directory: string): void {
  checkGuarded({ path: child(directory, GARBAGE), guarded: true, force: false });
}

/** Tells whether a directory that is set aside was this pod, by its name and the paths in its lines. */
export function wasPod(garbage: string, pod: string): boolean {
  const [own, name] = [basename(garbage), basename(pod)];
  if (own !== name && withoutNumber(own) !== name) return false;
  const { lines } = readRecord(podLayout(garbage).fstab);
  const first = lines.find(({ source }) => source === "overlay") ?? lines[0];
  // A removal that was killed can leave only the lock.
  const isRest = () => entriesIn(garbage).every((entry) => entry.name === "overlay.lock");
  if (first === undefined) return own === name || isRest();
  const { upper } = readLineConfig(first, pod);
  return isWithin(upper ?? first.rootfs, pod) || (own === name && upper === null);
}

/** The paths that a pod may have had before it was set aside as this one. */
export function listOrigins(garbage: string): readonly string[] {
  const directory = parent(parent(garbage));
  const names = [basename(garbage), withoutNumber(basename(garbage))];
  return [...new Set(names)].map((name) => child(directory, name));
}

/** Finds the path of a pod before it was set aside; by its name where its lines do not tell. */
export function findOrigin(garbage: string): string {
  const [first = garbage, ...more] = listOrigins(garbage);
  return [first, ...more].find((pod) => wasPod(garbage, pod)) ?? first;
}
