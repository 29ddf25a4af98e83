/**
 * Chooses one of several images.
 *
 * Requires no permissions.
 *
 * @module
 */
import { brief, imageError } from "./image.ts";
import type { ImageChoice, ImageFiles, Json } from "./image.ts";
import { getOwnPlatform, listRunnable, measureDistance } from "./platform.ts";
import { printable, quote } from "../core/quote.ts";
import { findNamed } from "./reference.ts";
import type { Named } from "./reference.ts";

/** An image that can be chosen. */
export interface Candidate extends Named {
  /** Its platform; `null` if it is not known. */
  readonly platform: string | null;
}

/** Formats the platform in a descriptor or a config; empty if it has none. */
export function formatPlatform({ os, architecture, variant }: Json): string {
  return [os, architecture, variant].filter((part) => typeof part === "string" && part !== "")
    .join("/").slice(0, 100);
}

/**
 * Chooses the image by the requested reference and platform, or else the one that fits this machine best.
 *
 * @throws {OverlayError} If no image matches, or several do.
 */
export function choose<T extends Candidate>(
  files: ImageFiles,
  all: readonly T[],
  { ref, platform }: ImageChoice,
): T {
  const called = ref === undefined ? all : findNamed(all, ref);
  if (called.length === 0) {
    const what = ref === undefined ? "image" : `image of the reference ${quote(ref)}`;
    const hint = all.length === 0 ? undefined : `it has ${listCandidates(all)}`;
    throw imageError(files.path, `it has no ${what}`, hint);
  }
  const fitting = findFitting(called, platform);
  const [first] = fitting;
  if (first === undefined) {
    const platforms = called.slice(0, LISTED_MAX).map((one) => brief(one.platform ?? "")).join(
      ", ",
    );
    const hint = `it has ${platforms}; choose with --platform`;
    throw imageError(
      files.path,
      `it has no image for ${quote(platform ?? getOwnPlatform())}`,
      hint,
    );
  }
  const different = dropRepeats(fitting);
  if (different.length === 1) return first;
  const example = different[0]?.names[0] ?? different[0]?.digest;
  throw imageError(
    files.path,
    `${different.length} images match: ${listCandidates(different)}`,
    `choose one with --ref, such as --ref ${example}`,
  );
}

function dropRepeats<T extends Candidate>(all: readonly T[]): readonly T[] {
  const seen = new Map(all.toReversed().map((one) => [one.digest, one]));
  return all.filter((one) => seen.get(one.digest) === one);
}

/** Finds the images that fit best; one without a platform may have any. */
function findFitting<T extends Candidate>(all: readonly T[], asked?: string): readonly T[] {
  // A single image is taken, with a warning about its platform.
  if (asked === undefined && dropRepeats(all).length === 1) return all;
  for (const wanted of asked === undefined ? listRunnable(getOwnPlatform()) : [asked]) {
    const distances = all.map((one) =>
      one.platform === null ? 0 : measureDistance(one.platform, wanted)
    );
    const fitting = distances.filter((far) => far !== null);
    if (fitting.length === 0) continue;
    const best = Math.min(...fitting);
    return all.filter((_, at) => distances[at] === best);
  }
  return [];
}

/** The largest number of candidates that a message lists. */
const LISTED_MAX = 20;

function listCandidates(all: readonly Candidate[]): string {
  const words = all.slice(0, LISTED_MAX).map(({ names, digest, platform }) => {
    const name = brief(names[0] ?? digest);
    return platform === null ? name : `${name} for ${printable(platform)}`;
  });
  return [...words, ...(all.length > LISTED_MAX ? ["and more"] : [])].join(", ");
}

/**
 * Checks the platform of an image against the requested one, since not every index has platforms.
 *
 * @returns The warning about its platform; `null` if it runs on this machine, or was requested.
 */
export function checkPlatform(
  files: ImageFiles,
  is: string,
  { platform }: ImageChoice,
): string | null {
  if (is === "") return null;
  if (platform === undefined) {
    const own = getOwnPlatform();
    if (Number.isFinite(measureDistance(is, own) ?? NaN)) return null;
    return `the image is for ${is}, and this machine is ${own}: its programs may not run here`;
  }
  if (measureDistance(is, platform) !== null) return null;
  const hint = `leave --platform ${platform} out, or get the image for it`;
  throw imageError(files.path, `it is for ${brief(is)}`, hint);
}
