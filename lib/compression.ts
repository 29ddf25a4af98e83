/**
 * Telling how an archive is compressed by the bytes it begins with.
 *
 * Requires no permissions.
 *
 * @module
 */

/** How an archive is compressed. */
export type Compression = "none" | "gzip" | "xz" | "zstd";

const MAGIC: readonly (readonly [Compression, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
];

/** How something is compressed that begins with these bytes. */
export function compressionOf(start: Uint8Array): Compression {
  const [found] = MAGIC.find(([, magic]) => magic.every((byte, at) => start[at] === byte)) ?? [];
  return found ?? "none";
}
