/**
 * What the kernel says of a render that was refused: it is asked by mount(8), with nothing of ours between.
 *
 * What we refuse the kernel refuses, too; or it takes it, and the table says why that is unsafe. Either is
 * tried each time, with what the refusal is about and nothing else that could be wrong.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { appLayout } from "../lib/request/layout.ts";
import { isWithin } from "../lib/core/path.ts";
import type { OverlayError, RenderRequest } from "../mod.ts";
import { sh } from "./_temp.ts";

/** What a mount is tried with; the rest is made anew, where nothing is wrong. */
interface Trial {
  readonly lowers?: readonly string[];
  readonly options?: readonly string[];
  /** Upper, work and rootfs. */
  readonly places?: { readonly upper: string; readonly work: string; readonly rootfs: string };
}

/** Refusals that are about the lowers, wherever the upper is. */
const BY_LOWERS = ["missing", "not-a-directory", "lower-twice", "lower-nested"];

/** Refusals that are about the places: the kernel refuses these, too. */
const BY_PLACES = [
  ...["different-devices", "upper-on-overlay", "upper-read-only", "volatile", "failed"],
  "not-a-directory",
];

/** Refusals of what the kernel takes, and why it is unsafe. */
const UNSAFE: Readonly<Record<string, string>> = {
  crossing: "the tree would be written to, or the mount would show itself in itself",
  "invalid-value": "the same, and the names alone tell",
  "in-use": "two mounts would write into one upper, which is undefined, or into a tree",
  "shared-pod": "others could put something else in the place of what is mounted",
  symlink: "what is written, or a name that has to be written in another way, would land elsewhere",
  different: "what an upper holds belongs to the lower that it was written over",
  "foreign-mount": "what is mounted there would be hidden, and later be taken for ours",
  "upper-without-xattr": "a directory that was deleted could not be made again",
};

/** Places of which nothing is wrong. */
function placesIn(directory: string): Required<Trial>["places"] {
  const [upper, work] = [`${directory}/upper`, `${directory}/work`];
  return { upper, work, rootfs: `${directory}/rootfs` };
}

/** Tells whether the kernel mounts an overlay of this. */
async function kernelTakes(trial: Trial, bench: string): Promise<boolean> {
  const { options = [], places = placesIn(bench), lowers = [`${bench}/lower`] } = trial;
  const { upper, work, rootfs } = places;
  await Deno.mkdir(`${bench}/lower`, { recursive: true });
  try {
    for (const path of [upper, work, rootfs]) await Deno.mkdir(path, { recursive: true });
  } catch {
    // Where a directory cannot be made, nothing can be mounted.
    return false;
  }
  // Names without a comma or a colon, so that nothing needs to be escaped.
  const links = lowers.map((_, at) => `${bench}/${at}`);
  for (const [at, link] of links.entries()) await Deno.symlink(lowers[at] ?? "", link);
  const text = [`lowerdir=${links.join(":")},upperdir=${upper},workdir=${work}`, ...options];
  const args = ["-t", "overlay", "-o", text.join(), "overlay", "--", rootfs];
  const { success } = await new Deno.Command("mount", { args, stderr: "null" }).output();
  for (const link of links) await Deno.remove(link);
  if (success) await sh("umount", "--", rootfs);
  return success;
}

function realOf(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path;
  }
}

/**
 * What crosses what, and nothing else: what more is wrong with the disk of a case would be refused first.
 */
function crossingOf(
  lowers: readonly string[],
  { pod, rootfs }: { readonly pod: string; readonly rootfs: string },
  bench: string,
): Trial {
  const trees = lowers.filter((lower) => !isWithin(lower, pod));
  const around = (path: string) => trees.find((tree) => isWithin(realOf(path), realOf(tree)));
  const [tree, treeOfRootfs] = [around(pod), around(rootfs)];
  if (tree !== undefined) return { lowers: [tree], places: placesIn(`${realOf(tree)}/crossing`) };
  const places = placesIn(bench);
  if (treeOfRootfs === undefined) return { places: { ...places, rootfs: `${places.upper}/in` } };
  const inTree = `${realOf(treeOfRootfs)}/crossing`;
  return { lowers: [treeOfRootfs], places: { ...places, rootfs: inTree } };
}

/**
 * Checks that the kernel refuses what was refused, or that it is known why it must be all the same. Comes
 * last: what is tried leaves directories.
 *
 * @param bench A directory for what is made anew; made if it is not there.
 */
export async function assertKernelAgrees(
  request: RenderRequest,
  { code, path, message }: OverlayError,
  bench: string,
): Promise<void> {
  const { lower = [], options = [], pod, app = "", tree = "", dest, layout } = request;
  const lowers = typeof lower === "string" ? [lower] : lower;
  const { upper, work, rootfs } = appLayout(pod, {
    ...{ app, tree },
    ...(dest === undefined ? {} : { dest }),
    ...(layout === undefined ? {} : { layout }),
  });
  const places = { upper, work, rootfs };
  const isLower = lowers.includes(`${path}`);
  const refuses = async (trial: Trial): Promise<void> => {
    const taken = await kernelTakes(trial, bench);
    assertEquals(taken, false, `the kernel takes what we refuse: ${message}`);
  };
  if (code === "conflicting-options") return await refuses({ options });
  if (code === "mount-failed") {
    const taken = await kernelTakes({ lowers }, bench) && await kernelTakes({ places }, bench);
    return assertEquals(taken, false, `the kernel takes what it refused: ${message}`);
  }
  if (isLower && BY_LOWERS.includes(code)) return await refuses({ lowers });
  if (BY_PLACES.includes(code)) return await refuses({ places });
  const crosses = ["crossing", "invalid-value"].includes(code) || /lies in the lower/.test(message);
  // A lower in an upper is refused; an upper in a lower is not.
  if (crosses && isLower) return await refuses({ lowers: [placesIn(bench).upper] });
  assert(UNSAFE[code] !== undefined, `nobody knows what the kernel says of ${code}: ${message}`);
  const trial = crosses
    ? crossingOf(lowers, { pod, rootfs }, bench)
    : isLower
    ? { lowers: [`${path}`] }
    : { places };
  const taken = await kernelTakes(trial, bench);
  assert(taken, `the kernel refuses, so ${code} is more than unsafe: ${message}`);
}
