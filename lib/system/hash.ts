/**
 * The digests of Node, which Deno has built in. They cost 12 ms to load, so that is done when something is
 * hashed, and in the one script too, which has all else at its beginning.
 *
 * @module
 */

/** The algorithms that images use for digests. */
export type Algorithm = "sha256" | "sha512";

/** Starts a digest that takes its bytes piece by piece; the Web's takes them at once. */
export type StartHash = (algorithm: Algorithm) => {
  /** Takes a piece. */
  update(bytes: Uint8Array): unknown;
  /** The digest in hexadecimal. */
  digest(encoding: "hex"): string;
};

/** Loads what starts a digest. */
export async function loadHash(): Promise<StartHash> {
  const { createHash } = await import("node:crypto");
  return createHash;
}
