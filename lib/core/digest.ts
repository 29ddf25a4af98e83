/**
 * Digests: those of bytes in memory, and their form as text.
 *
 * @module
 */

/** Tells whether a text is a digest of a blob or a manifest, which is safe in a path and in a URL. */
export function isDigest(text: unknown): text is string {
  return typeof text === "string" && /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(text);
}

/** Returns the algorithm of a digest, and SHA-256 where there is none. */
export function parseAlgorithm(digest: string | null): "sha256" | "sha512" {
  return digest?.startsWith("sha512:") ? "sha512" : "sha256";
}

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
