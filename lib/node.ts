/**
 * The modules of Node that Deno has built in. Each costs 20 ms to load, so they are loaded when something
 * is hashed or inflated, and in the one script too, which has all else at its beginning.
 *
 * @module
 */

/** Starts a digest that takes its bytes piece by piece; the Web's takes them at once. */
export type StartHash = (algorithm: "sha256" | "sha512") => {
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

/** Loads what inflates gzip, all members of it. */
export async function loadGunzip(): Promise<typeof import("node:zlib").createGunzip> {
  const { createGunzip } = await import("node:zlib");
  return createGunzip;
}
