/**
 * Where it is measured: a scratch directory, and a fence around it.
 *
 * @module
 */
import { say } from "../tools/run.ts";
import { must } from "./_measure.ts";
import type { Place } from "./_measure.ts";
import { PATH } from "./_packages.ts";
import { storeEnv } from "./_store.ts";
import { makeTree } from "./_tree.ts";

/** Where podman, buildah and containerd keep some things even when told to keep all of it elsewhere. */
const READ_ONLY = ["/dev/shm", "/etc", "/opt", "/var/lib"];

/** There they can not; and what is in /run goes with the namespace. */
const FENCE = `
  for directory; do
    [ -d "$directory" ] || continue
    mount --rbind "$directory" "$directory" &&
    mount -o remount,bind,ro "$directory" || exit
  done
  mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/mount`;

/** The places in a scratch directory. */
export function placeIn(scratch: string): Place {
  const env = {
    PATH,
    LC_ALL: "C",
    HOME: `${scratch}/home`,
    TMPDIR: `${scratch}/tmp`,
    DENO_DIR: `${scratch}/deno`,
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
    ...storeEnv(scratch),
  };
  return { scratch, cell: `${scratch}/cell`, tree: `${scratch}/tree`, env };
}

/** Makes the places in a scratch directory, and the tree. */
export async function makePlace(scratch: string): Promise<Place> {
  const place = placeIn(scratch);
  const { HOME = "", TMPDIR = "" } = place.env;
  for (const directory of [place.cell, HOME, TMPDIR]) await Deno.mkdir(directory);
  say(`tree: ${await makeTree(place.tree)}\n`);
  return place;
}

/** Keeps the peers from leaving anything outside the scratch directory. */
export async function fence({ scratch }: Place): Promise<void> {
  // A mount of its own stays writable where the directory above it does not.
  await must(["mount", "--bind", scratch, scratch]);
  await must(["sh", "-c", FENCE, "sh", ...READ_ONLY]);
}

/** Why a scratch directory can not be used, or `null`. */
export function refusal(scratch: string): string | null {
  const parent = ["/run", "/dev"].find((parent) => scratch.startsWith(`${parent}/`));
  if (parent === undefined) return null;
  // Deno lets nobody into /dev without all permissions.
  return `Cannot measure in ${scratch}: choose a directory outside ${parent} with TMPDIR.\n`;
}
