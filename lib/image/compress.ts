/**
 * Compresses and hashes an archive while it is made: a large one in a worker.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { WORKER_SIZE } from "./blob.ts";
import { deflate } from "./deflate.ts";
import type { Deflated } from "./deflate.ts";
import type { WrittenCompression } from "../request/names.ts";
import { runInWorker } from "./worker.ts";
import type { Piece } from "./worker.ts";

/** The size of a compressed piece, in bytes. */
const CHUNK = 1 << 18;

/** The options of compressing an archive. */
export interface CompressOptions {
  /** The compression. */
  readonly compression: WrittenCompression;
  /** The size of the archive, in bytes, as far as it is known before. */
  readonly size: number;
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
}

/** Checks that this Deno has a compression: zstd came with Deno 2.6. */
async function checkCompression(compression: WrittenCompression): Promise<void> {
  if (compression !== "zstd") return;
  const { createZstdCompress } = await import("node:zlib");
  if (typeof createZstdCompress === "function") return;
  throw new OverlayError("failed", "Cannot compress by zstd: this version of Deno has none", {
    hint: "update Deno, or choose another one: --compression gzip",
  });
}

/**
 * Compresses an archive. The pieces are given away: they may be moved to a worker.
 *
 * @returns The compressed pieces, each valid until the next one is requested, and at the end the digests.
 * @throws {OverlayError} If this Deno does not have the compression.
 * @throws {unknown} The error of the pieces.
 */
export async function* compressPieces(
  pieces: AsyncIterable<Piece>,
  { compression, size, signal }: CompressOptions,
): AsyncGenerator<Piece, Deflated> {
  await checkCompression(compression);
  const how = { compression, chunk: CHUNK };
  const isApart = compression !== "none" && size >= WORKER_SIZE;
  return yield* isApart
    ? runInWorker({ source: null, transform: deflate, how }, { pieces, signal })
    : deflate(pieces, how);
}
