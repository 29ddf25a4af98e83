/**
 * The rows of taking apart: unmounting a pod, and removing it. What rendered the pod is overlay-render
 * in all of them.
 *
 * @module
 */
import { must } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { APPS, overlayRender, podFlags, podOf, renderPod, rootfsesOf, roundsFor } from "./_pod.ts";

const APPS_OF_REMOVED_POD = 100;

const UNMOUNT_LOOP = 'for rootfs; do umount "$rootfs" || exit; done';
const UNMOUNT_AND_REMOVE = 'pod=$1; shift; umount "$@" && exec rm -rf "$pod"';

function row(place: Place, apps: number, by: string, what: string, command: string[]): Row {
  return {
    ...{ by, what, apps, mounts: -apps, rounds: roundsFor(apps), command },
    prepare: async () => void await must(renderPod(place, apps), place.env),
  };
}

function unmountingOf(place: Place, apps: number): Row[] {
  const targets = rootfsesOf(place, apps);
  const unmount = overlayRender(place, podFlags(place), "unmount", "--pod", podOf(place));
  const everybodys = ["umount", "--all", "--types", "overlay"];
  const commands: readonly (readonly [string, string, string[]])[] = [
    ["overlay-render", "overlay-render unmount --pod", unmount],
    ["sh", "sh: a loop of umount", ["sh", "-c", UNMOUNT_LOOP, "sh", ...targets]],
    ["umount", "umount of all targets", ["umount", ...targets]],
    ["umount", "umount -R of a bind mount above them", ["umount", "-R", place.cell]],
    ["umount", "umount --all --types overlay: everybody's overlays", everybodys],
    ["busybox", "busybox umount of all targets", ["busybox", "umount", ...targets]],
  ];
  // The pod is made once, and rendered anew for each row.
  const cell = `unmounting-${apps}`;
  return commands.map(([by, what, command]) => ({ ...row(place, apps, by, what, command), cell }));
}

/** Unmounting all apps of a pod. */
export function unmounting(place: Place): Row[] {
  return APPS.flatMap((apps) => unmountingOf(place, apps));
}

/** Unmounting and removing a pod. */
export function removing(place: Place): Row[] {
  const apps = APPS_OF_REMOVED_POD;
  const pod = podOf(place);
  const gc = overlayRender(place, podFlags(place), "gc", "--pod", pod);
  const shell = ["sh", "-c", UNMOUNT_AND_REMOVE, "sh", pod, ...rootfsesOf(place, apps)];
  return [
    { ...row(place, apps, "overlay-render", "overlay-render gc --pod", gc), removes: pod },
    { ...row(place, apps, "sh", "sh: umount of all targets, rm -rf", shell), removes: pod },
  ];
}
