/**
 * The rows of rendering: one writable root, and many apps of one pod.
 *
 * @module
 */
import { planRender } from "../lib/plan/plan.ts";
import { permissionFlags } from "../lib/system/permissions.ts";
import { requiredPermissions } from "../lib/plan/required_permissions.ts";
import { ctr, ctrMount } from "./_containerd.ts";
import { must, ROUNDS } from "./_measure.ts";
import type { Place, Row } from "./_measure.ts";
import { APPS, overlayRender, podOf, renderPod, roundsFor } from "./_pod.ts";
import { buildahMany, emptyBuildah, podman } from "./_store.ts";
import { IMAGE } from "./_tree.ts";

/** With more, buildah takes longer than it is worth. */
const MOST_APPS_OF_BUILDAH = 100;
const ROUNDS_OF_BUILDAH = 5;

const SHELL_ONE = `
  tree=$1 dir=$2
  mkdir -p "$dir/upper" "$dir/work" "$dir/rootfs" || exit
  options=lowerdir=$tree,upperdir=$dir/upper,workdir=$dir/work
  exec mount -t overlay overlay -o "$options" "$dir/rootfs"`;

/** The directories of a pod, and nothing else of it: no modes, no record, no checks, no undo. */
const SHELL_LOOP = `
  tree=$1 pod=$2 apps=$3 i=0
  while [ "$i" -lt "$apps" ]; do
    upper=$pod/overlay/tree/upper/app-$i work=$pod/overlay/tree/work/app-$i
    rootfs=$pod/apps/app-$i/rootfs
    mkdir -p "$upper" "$work" "$rootfs" || exit
    mount -t overlay overlay -o "lowerdir=$tree,upperdir=$upper,workdir=$work" "$rootfs" || exit
    i=$((i + 1))
  done`;

/** What the command is measured with: exactly the flags that its plan asks for. */
function renderOne(place: Place): string[] {
  const request = { lower: place.tree, pod: podOf(place), app: "app-0" };
  const flags = permissionFlags(requiredPermissions(planRender(request)));
  const args = ["--lower", request.lower, "--pod", request.pod, "--app", request.app];
  return overlayRender(place, flags, "render", ...args);
}

const ONE = { apps: 1, mounts: 1, rounds: ROUNDS };

function rootOfPodman(place: Place): Row {
  const unmount = podman(place, "image", "umount", "--force", IMAGE);
  return {
    ...ONE,
    by: "podman",
    what: "podman image mount: read-only, nobody can write to it",
    command: podman(place, "image", "mount", IMAGE),
    cleanUp: async () => void await must(unmount, place.env),
  };
}

function rootOfContainerd(place: Place): Row {
  const target = `${place.cell}/root`;
  return {
    ...ONE,
    by: "ctr",
    what: "ctr images mount --rw, of a containerd that is running",
    prepare: () => Deno.mkdir(target),
    command: ctrMount(target),
    cleanUp: async () => void await must(ctr("images", "unmount", "--rm", target), place.env),
  };
}

/** One writable root from one tree. */
export function oneRoot(place: Place): Row[] {
  return [
    { ...ONE, by: "overlay-render", what: "overlay-render render", command: renderOne(place) },
    {
      ...ONE,
      by: "sh",
      what: "sh: mkdir -p, mount -t overlay",
      command: ["sh", "-c", SHELL_ONE, "sh", place.tree, podOf(place)],
    },
    {
      ...ONE,
      by: "buildah",
      what: "buildah from, buildah mount",
      command: buildahMany(place, 1),
      cleanUp: () => emptyBuildah(place),
    },
    rootOfPodman(place),
    rootOfContainerd(place),
  ];
}

/** What overlay-render would cost if all it does beside cost nothing. */
function leastOfDeno(place: Place, apps: number): string[] {
  const [pod, script] = [podOf(place), `${import.meta.dirname}/_least.ts`];
  const flags = [`--allow-write=${pod}`, "--allow-run=/bin/mount"];
  return [Deno.execPath(), "run", "--no-prompt", ...flags, script, place.tree, pod, `${apps}`];
}

function podOfApps(place: Place, apps: number): Row[] {
  const base = { apps, mounts: apps, rounds: roundsFor(apps) };
  const own: Row[] = [
    {
      ...base,
      by: "overlay-render",
      what: "overlay-render render --spec",
      command: renderPod(place, apps),
    },
    {
      ...base,
      by: "least",
      what: "the least in Deno: mkdir, one mount --all, no check and no undo",
      command: leastOfDeno(place, apps),
    },
    {
      ...base,
      by: "sh",
      what: "sh: a loop of mkdir -p and mount -t overlay",
      command: ["sh", "-c", SHELL_LOOP, "sh", place.tree, podOf(place), `${apps}`],
    },
  ];
  if (apps > MOST_APPS_OF_BUILDAH) return own;
  return [...own, {
    ...base,
    rounds: apps === 1 ? base.rounds : ROUNDS_OF_BUILDAH,
    by: "buildah",
    what: "buildah from for each, one buildah mount of all",
    command: buildahMany(place, apps),
    cleanUp: () => emptyBuildah(place),
  }];
}

/** Many apps of one pod. */
export function manyApps(place: Place): Row[] {
  return APPS.flatMap((apps) => podOfApps(place, apps));
}
