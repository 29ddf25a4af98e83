/**
 * Compresses the archive of a layer, and hashes both the archive and the result.
 *
 * @module
 */
import type { Piece, Pieces } from "./worker.ts";
import type { WrittenCompression } from "../request/names.ts";

/** The options of compressing an archive. */
export interface Deflating {
  /** The compression. */
  readonly compression: WrittenCompression;
  /** The size of a compressed piece, in bytes. */
  readonly chunk: number;
}

/** The digests and sizes of an archive that was compressed to its end. */
export interface Deflated {
  /** The SHA-256 of the compressed bytes, in hexadecimal. */
  readonly blob: string;
  /** The SHA-256 of the archive, in hexadecimal. */
  readonly content: string;
  /** The number of compressed bytes. */
  readonly size: number;
}

/**
 * Compresses an archive and computes both digests. It is self-contained and uses no name of this module, so
 * that a worker can run it. The header of gzip holds neither a time nor a name.
 */
export async function* deflate(pieces: Pieces, how: Deflating): AsyncGenerator<Piece, Deflated> {
  const { createHash } = await import("node:crypto");
  const { createGzip, createZstdCompress } = await import("node:zlib");
  const [blob, content] = [createHash("sha256"), createHash("sha256")];
  let size = 0;
  if (how.compression === "none") {
    for await (const piece of pieces) {
      content.update(piece);
      size += piece.length;
      yield piece;
    }
    const digest = content.digest("hex");
    return { blob: digest, content: digest, size };
  }
  const { chunk: chunkSize } = how;
  const stream = how.compression === "gzip"
    ? createGzip({ chunkSize, level: 6 })
    : createZstdCompress({ chunkSize });
  let broken: { readonly cause: unknown } | null = null;
  const feed = async () => {
    for await (const piece of pieces) {
      content.update(piece);
      await new Promise<void>((taken) => stream.write(piece, () => taken()));
    }
    stream.end();
  };
  try {
    const fed = feed().catch((cause) => {
      broken = { cause };
      stream.destroy();
    });
    for await (const piece of stream) {
      blob.update(piece);
      size += piece.length;
      yield piece;
    }
    await fed;
  } catch (error) {
    // A failed read is the cause of any other error.
    throw broken === null ? error : (broken as { readonly cause: unknown }).cause;
  } finally {
    stream.destroy();
  }
  if (broken !== null) throw (broken as { readonly cause: unknown }).cause;
  return { blob: blob.digest("hex"), content: content.digest("hex"), size };
}
