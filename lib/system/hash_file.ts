/**
 * The digest of a file, whatever its size.
 *
 * @module
 */
import { parseAlgorithm } from "../core/digest.ts";
import { attempt } from "./disk.ts";
import { openRegular } from "./regular_file.ts";
import { loadHash } from "./hash.ts";
import type { Algorithm } from "./hash.ts";

const READ = 1 << 20;

/**
 * Computes the digest of a file's content, in hexadecimal.
 *
 * Requires `--allow-read` permission for the file.
 *
 * @throws {OverlayError} If it cannot be read.
 */
export async function hashFile(path: string, algorithm: Algorithm = "sha256"): Promise<string> {
  const createHash = await loadHash();
  using file = await openRegular(path);
  return attempt("read", path, () => {
    const hash = createHash(algorithm);
    const buffer = new Uint8Array(READ);
    for (let read = file.readSync(buffer); read !== null; read = file.readSync(buffer)) {
      hash.update(buffer.subarray(0, read));
    }
    return hash.digest("hex");
  });
}

/**
 * Computes the digest of a file by the algorithm of another digest.
 *
 * @param like The other digest. @default {SHA-256}
 */
export async function hashFileLike(path: string, like: string | null = null): Promise<string> {
  const algorithm = parseAlgorithm(like);
  return `${algorithm}:${await hashFile(path, algorithm)}`;
}
