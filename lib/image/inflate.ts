/**
 * Inflates a blob, and hashes both the blob and its content.
 *
 * `node:zlib` is faster than gzip(1), and reads all members of a file.
 *
 * @module
 */

import type { Algorithm } from "../system/hash.ts";
import type { Piece, Pieces } from "./worker.ts";

/** The options of inflating a blob. */
export interface Inflating {
  /** The algorithm of the digest of its bytes. */
  readonly blob: Algorithm;
  /** The algorithm of the digest of its content. */
  readonly content: Algorithm;
  /** The size of an inflated piece, in bytes. */
  readonly chunk: number;
}

/** The digests of a blob that was read to its end. */
export interface Inflated {
  /** The digest of its bytes, in hexadecimal. */
  readonly blob: string;
  /** The digest of its content, in hexadecimal. */
  readonly content: string;
  /** The fault of its compression, or `null`; with a fault, the digests may cover only a part. */
  readonly fault: string | null;
}

/**
 * Inflates a blob and computes both digests. It is self-contained and uses no name of this module, so that
 * a worker can run it.
 */
export async function* inflate(
  pieces: Pieces,
  how: Inflating,
): AsyncGenerator<Piece, Inflated> {
  const { createHash } = await import("node:crypto");
  const { createGunzip } = await import("node:zlib");
  const [blob, content] = [createHash(how.blob), createHash(how.content)];
  const stream = createGunzip({ chunkSize: how.chunk });
  /** The bytes read, the end of the last byte that is not 0, and whether the output is complete. */
  let [read, last, isOver] = [0, 0, false];
  const feed = async () => {
    for await (const piece of pieces) {
      blob.update(piece);
      const at = piece.findLastIndex((byte) => byte !== 0);
      if (at >= 0) last = read + at + 1;
      read += piece.length;
      if (!isOver) await new Promise<void>((taken) => stream.write(piece, () => taken()));
    }
    stream.end();
  };
  let [fault, broken]: [string | null, { readonly cause: unknown } | null] = [null, null];
  try {
    const fed = feed().catch((cause) => {
      broken = { cause };
      stream.destroy();
    });
    for await (const piece of stream) {
      content.update(piece);
      yield piece;
    }
    isOver = true;
    await fed;
    // Zeros may follow the last member as padding; at any other data inflate would stop silently.
    if (last > stream.bytesWritten) fault = "something follows its gzip compression";
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    fault = `its gzip compression is damaged: ${reason}`;
  } finally {
    stream.destroy();
  }
  // A failed read is the cause of any other error.
  if (broken !== null) throw (broken as { readonly cause: unknown }).cause;
  return { blob: blob.digest("hex"), content: content.digest("hex"), fault };
}
