/**
 * The store that buildah and podman share: in the scratch directory, and what need not outlive the
 * machine in /run as by default, which is a memory file system of this namespace.
 *
 * @module
 */
import { must } from "./_measure.ts";
import type { Place } from "./_measure.ts";
import { IMAGE } from "./_tree.ts";

/** Locks in files: otherwise they are in /dev/shm. Without a journal of events, which is systemd's. */
const CONFIG = `[engine]
lock_type = "file"
events_logger = "none"
cgroup_manager = "cgroupfs"
`;

/** The environment that names the configuration of the store. */
export function storeEnv(scratch: string): Record<string, string> {
  return { CONTAINERS_CONF: `${scratch}/containers.conf` };
}

function storeFlags({ scratch }: Place): string[] {
  return ["--storage-driver=overlay", `--root=${scratch}/store`, "--runroot=/run/containers"];
}

/** A command line of buildah. */
export function buildah(place: Place, ...args: string[]): string[] {
  return ["buildah", ...storeFlags(place), ...args];
}

/** A command line of podman. */
export function podman(place: Place, ...args: string[]): string[] {
  return ["podman", ...storeFlags(place), "--tmpdir=/run/libpod", ...args];
}

/** Writes the configuration that {@linkcode storeEnv} names. */
export async function configureStore({ scratch }: Place): Promise<void> {
  await Deno.writeTextFile(`${scratch}/containers.conf`, CONFIG);
}

/** Imports an image with the one of the two that is there. */
export async function fillStore(place: Place, archive: string, by: string): Promise<void> {
  await configureStore(place);
  const argv = by === "buildah"
    ? buildah(place, "pull", "--quiet", `docker-archive:${archive}`)
    : podman(place, "load", "--quiet", "--input", archive);
  await must(argv, place.env);
}

/** Makes containers of the image with buildah, one process each, and mounts them with one. */
const FROM_AND_MOUNT = `
  apps=$1 image=$2 names=; shift 2
  while [ "$apps" -gt 0 ]; do
    "$@" from --quiet --pull-never --name "app-$apps" "$image" || exit
    names="$names app-$apps" apps=$((apps - 1))
  done
  exec "$@" mount $names`;

/** A command line that makes and mounts as many containers with buildah. */
export function buildahMany(place: Place, apps: number): string[] {
  return ["sh", "-c", FROM_AND_MOUNT, "buildah", `${apps}`, IMAGE, ...buildah(place)];
}

/** Removes the containers of buildah. */
export async function emptyBuildah(place: Place): Promise<void> {
  await must(buildah(place, "umount", "--all"), place.env);
  await must(buildah(place, "rm", "--all"), place.env);
}
