/**
 * The digests of Node, which are part of Deno. They take 12 ms to load, so they are loaded when they are
 * used first, also in the one script, which loads all other modules at its start.
 *
 * @module
 */

/** The algorithms that images use for digests. */
export type Algorithm = "sha256" | "sha512";

/** Starts a digest that takes its bytes piece by piece; the digest of the Web API takes them at once. */
export type StartHash = (algorithm: Algorithm) => {
  /** Takes a piece. */
  update(bytes: Uint8Array): unknown;
  /** The digest in hexadecimal. */
  digest(encoding: "hex"): string;
};

/** Loads the function that starts a digest. */
export async function loadHash(): Promise<StartHash> {
  const { createHash } = await import("node:crypto");
  return createHash;
}
