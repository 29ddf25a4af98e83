/**
 * The digest of bytes in memory.
 *
 * @module
 */

/**
 * Computes the digest of bytes, in hexadecimal.
 *
 * Requires no permissions.
 */
export async function hexDigest(
  algorithm: "SHA-256" | "SHA-512",
  content: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest(algorithm, content));
  // Deno 2.4 has no Uint8Array.prototype.toHex().
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
