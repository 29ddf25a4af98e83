/**
 * Taking the digests of a blob and of what is in it, and the compression off on the way.
 *
 * `node:zlib` inflates faster than gzip(1), and all members of a file.
 *
 * @module
 */

import type { Algorithm } from "../system/hash.ts";
import type { Piece, Pieces } from "./worker.ts";

/** How a blob is inflated. */
export interface Inflating {
  /** The algorithm of the digest of its bytes. */
  readonly blob: Algorithm;
  /** The algorithm of the digest of what is in it. */
  readonly content: Algorithm;
  /** How much comes out at once, in bytes. */
  readonly chunk: number;
}

/** The digests of a blob that was read to its end. */
export interface Inflated {
  /** The digest of its bytes, in hexadecimal. */
  readonly blob: string;
  /** The digest of what is in it, in hexadecimal. */
  readonly content: string;
  /** The fault of its compression, if there is one; then the digests may be of a part of it. */
  readonly fault: string | null;
}

/**
 * Inflates a blob and takes both digests. It stands on its own, so that a thread can do it: it names
 * nothing of this module.
 */
export async function* inflate(
  pieces: Pieces,
  how: Inflating,
): AsyncGenerator<Piece, Inflated> {
  const { createHash } = await import("node:crypto");
  const { createGunzip } = await import("node:zlib");
  const [blob, content] = [createHash(how.blob), createHash(how.content)];
  const stream = createGunzip({ chunkSize: how.chunk });
  /** How much was read, where the last byte of it is that is not 0, and whether nothing more comes out. */
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
    // Zeros may follow the last member, as padding; with anything after them inflate would stop in silence.
    if (last > stream.bytesWritten) fault = "something follows its gzip compression";
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    fault = `its gzip compression is damaged: ${reason}`;
  } finally {
    stream.destroy();
  }
  // That no more could be read is the cause of whatever came out.
  if (broken !== null) throw (broken as { readonly cause: unknown }).cause;
  return { blob: blob.digest("hex"), content: content.digest("hex"), fault };
}
