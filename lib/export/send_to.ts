/**
 * Sends an archive to a stream or a file.
 *
 * @module
 */
import { failure } from "../system/disk.ts";
import { writeAll, writeOutput } from "./output_file.ts";

/** The place that an archive is written to: a stream, or the path of a file. */
export type Output = string | WritableStream<Uint8Array>;

/**
 * Sends pieces to their output. A stream is closed at the end, and aborted if the pieces fail.
 *
 * @returns The result of the pieces.
 * @throws {OverlayError} If a file cannot be written; then nothing is left of it.
 */
export async function sendTo<T>(
  output: Output,
  pieces: AsyncGenerator<Uint8Array, T>,
): Promise<T> {
  if (typeof output !== "string") return await sendToStream(output, pieces);
  return await writeOutput(output, (file) => {
    return sendEach(pieces, (piece) => {
      return writeAll(file, piece).catch((error) =>
        Promise.reject(failure("write", output, error))
      );
    });
  });
}

async function sendToStream<T>(
  stream: WritableStream<Uint8Array>,
  pieces: AsyncGenerator<Uint8Array, T>,
): Promise<T> {
  const writer = stream.getWriter();
  try {
    // A piece is valid until the next one is requested, and a stream may keep it.
    const result = await sendEach(pieces, (piece) => writer.write(piece.slice()));
    await writer.close();
    return result;
  } catch (error) {
    await writer.abort(error).catch(() => {/* It has failed. */});
    throw error;
  }
}

/** Sends each piece, and ends the pieces if one cannot be sent. */
async function sendEach<T>(
  pieces: AsyncGenerator<Uint8Array, T>,
  send: (piece: Uint8Array) => Promise<void>,
): Promise<T> {
  await using all = pieces;
  for (let next = await all.next();; next = await all.next()) {
    if (next.done) return next.value;
    await send(next.value);
  }
}
