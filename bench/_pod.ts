/**
 * The pod that is rendered and unmounted, and the command lines of overlay-render.
 *
 * @module
 */
import { BAKED_PROGRAMS } from "../tools/flags.ts";
import { ROUNDS } from "./_measure.ts";
import type { Place } from "./_measure.ts";

/** The numbers of apps. */
export const APPS = [1, 10, 100, 1000] as const;

/** What takes seconds takes part in fewer rounds. */
export function roundsFor(apps: number): number {
  if (apps >= 1000) return 5;
  return apps >= 100 ? ROUNDS / 2 : ROUNDS;
}

/** The pod. */
export function podOf({ cell }: Place): string {
  return `${cell}/pod`;
}

function names(apps: number): string[] {
  return Array.from({ length: apps }, (_, at) => `app-${at}`);
}

/** The rootfs of each app, in the order of mounting. */
export function rootfsesOf(place: Place, apps: number): string[] {
  return names(apps).map((app) => `${podOf(place)}/apps/${app}/rootfs`);
}

/** A command line of the one script. */
export function overlayRender(
  { scratch }: Place,
  flags: readonly string[],
  ...args: string[]
): string[] {
  return [Deno.execPath(), "run", "--no-prompt", ...flags, `${scratch}/overlay-render.js`, ...args];
}

/** The flags for all that is done with a pod. */
export function podFlags({ scratch }: Place): string[] {
  const run = `--allow-run=${BAKED_PROGRAMS.join(",")}`;
  return [`--allow-read=${scratch}`, `--allow-write=${scratch}`, run, "--allow-sys=uid"];
}

function specFile({ scratch }: Place, apps: number): string {
  return `${scratch}/spec-${apps}.json`;
}

/** Writes a spec for each number of apps. */
export async function writeSpecs(place: Place): Promise<void> {
  for (const apps of APPS) {
    const lower = [place.tree];
    const spec = { pod: podOf(place), apps: names(apps).map((app) => ({ app, lower })) };
    await Deno.writeTextFile(specFile(place, apps), JSON.stringify(spec));
  }
}

/** A command line that renders all apps of a pod. */
export function renderPod(place: Place, apps: number): string[] {
  return overlayRender(place, podFlags(place), "render", "--spec", specFile(place, apps));
}
