/**
 * Mirrors of registries: `[http://]HOST[/PREFIX]`, with each repository below the prefix.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { formatImageReference, parseImageReference } from "./image_reference.ts";
import type { ImageReference } from "./image_reference.ts";

/** An image at a mirror. */
export interface MirroredImage {
  /** Its reference there. */
  readonly reference: ImageReference;
  /** Set if the mirror is accessed without TLS. */
  readonly plainHttp: boolean;
}

/**
 * Finds the image of a reference at a mirror.
 *
 * @throws {InvalidValueError} If the mirror is invalid.
 */
export function atMirror(mirror: string, reference: ImageReference): MirroredImage {
  const [, scheme = "", host = "", prefix = ""] =
    /^(https?:\/\/)?([^/]+)((?:\/[^/]+)*)\/?$/.exec(mirror) ?? [];
  const repository = `${prefix}/${reference.repository}`.slice(1);
  const there = { ...reference, registry: host, repository };
  const same = host === "" ? null : parseImageReference(formatImageReference(there));
  if (same?.registry === host && same.repository === repository) {
    return { reference: there, plainHttp: scheme === "http://" };
  }
  throw invalid("mirror", mirror, "it must be HOST[:PORT][/PREFIX], with a dot or a port");
}

/** The errors of a mirror after which the registry is asked. */
const OF_MIRROR: readonly ErrorCode[] = [
  "network",
  "missing",
  "unauthorized",
  "denied",
  "rate-limited",
  "untrusted-tls",
  "redirect-refused",
  "bad-digest",
  "bad-image",
  "bad-archive",
  "too-large",
];

/** Tells whether the registry may do better than a mirror that failed with this error. */
export function isFaultOfMirror(error: unknown): error is OverlayError {
  return error instanceof OverlayError && OF_MIRROR.includes(error.code);
}
