/**
 * The facts of a pod by which gc decides.
 *
 * @module
 */
import { entriesIn, look } from "../system/disk.ts";
import { listPeers } from "../system/mount_table.ts";
import { child, parent } from "../core/path.ts";
import type { PodLayout } from "../request/layout.ts";
import { freeName, GARBAGE } from "./list.ts";
import type { PodMounts } from "./mounts.ts";
import type { OpenPod } from "./open.ts";
import type { Occupants, PodFacts } from "../plan/collect_rules.ts";

/**
 * Looks at a pod.
 *
 * Requires `--allow-read` permission for the pod and for destinations outside it, and `--allow-run` for
 * findmnt.
 *
 * @param isAside Whether it is set aside.
 */
export async function lookAtPod(open: OpenPod, isAside: boolean): Promise<PodFacts> {
  const pod = open.layout;
  const timeOf = (path: string) => look(path)?.mtime?.getTime();
  const snapshot = await open.snapshot("collect");
  const occupants = await lookAtMounts(open, await open.mounts());
  // The record changes with every render, unmount and restore; a pod without one has only its lock.
  const changed = timeOf(pod.fstab) ?? timeOf(pod.lock);
  const since = timeOf(pod.pod);
  const now = Date.now();
  return {
    ...snapshot,
    ...occupants,
    now,
    aside: isAside ? since ?? now : null,
    garbage: isAside ? pod.pod : freeName(child(parent(pod.pod), GARBAGE), pod.pod),
    isPod: isPodOrEmpty(pod),
    isKept: look(pod.keep) !== null,
    changed: changed ?? now,
  };
}

/** Looks once, since the files that mark a pod can come and go between two looks. */
function isPodOrEmpty(pod: PodLayout): boolean {
  const entries = entriesIn(pod.pod);
  const tells = [pod.fstab, pod.lock];
  return entries.length === 0 || entries.some(({ name, isFile }) => {
    return isFile && tells.includes(child(pod.pod, name));
  });
}

/**
 * Looks at the mounts in a pod, and at those elsewhere that are made of what is in it: of an upper, as after
 * a mount by hand, or of a lower.
 *
 * Requires `--allow-run` permission for findmnt.
 */
export async function lookAtMounts(
  { layout: pod, record: { lines }, call: { programs } }: OpenPod,
  mounts: PodMounts,
): Promise<Occupants> {
  const real = mounts.realPod() ?? pod.pod;
  const inside = mounts.inPod();
  const apps = lines.filter((line) => mounts.stateOf(line) === "mounted")
    .flatMap((line) => mounts.targetOf(line.rootfs) ?? []);
  const own = new Set([...apps, ...inside.map(({ target }) => target)]);
  const others = [...new Set([pod.pod, real])].flatMap((path) => [...mounts.index.madeOf(path)])
    .filter(({ target }) => !own.has(target));
  if (others.length === 0 || apps.length === 0) return { pod, real, inside, users: others };
  const peers = await listPeers(new Set(apps), programs);
  return { pod, real, inside, users: others.filter(({ target }) => !peers.has(target)) };
}
