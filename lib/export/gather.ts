/**
 * Gathers the many small pieces of an archive into few large ones.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { Piece } from "../image/worker.ts";

/** The size of a large piece, in bytes. */
const SIZE = 1 << 18;

/** Gathers pieces. Each large one has memory of its own, so that it can be given away. */
export async function* gather(
  source: AsyncIterable<readonly Uint8Array[]>,
): AsyncGenerator<Piece> {
  let [buffer, filled] = [new Uint8Array(SIZE), 0];
  for await (const pieces of source) {
    for (let piece of pieces) {
      while (piece.length > 0) {
        const part = piece.subarray(0, SIZE - filled);
        buffer.set(part, filled);
        filled += part.length;
        piece = piece.subarray(part.length);
        if (filled < SIZE) continue;
        yield buffer;
        // Frees the memory at once, unless it was given away; otherwise much garbage would pile up.
        if (!buffer.buffer.detached) buffer.buffer.transfer(0);
        [buffer, filled] = [new Uint8Array(SIZE), 0];
      }
    }
  }
  if (filled > 0) yield buffer.slice(0, filled);
}
