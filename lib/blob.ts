/**
 * Reading a blob: its bytes without compression, checked against what they must be.
 *
 * @module
 */
import { archiveError } from "./archive_error.ts";
import { compressionOf } from "./compression.ts";
import { throughProgram } from "./decompress.ts";
import { attempt } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import { inflate } from "./inflate.ts";
import type { Inflated } from "./inflate.ts";
import { loadHash } from "./node.ts";
import type { Algorithm } from "./node.ts";
import { quote } from "./quote.ts";
import { apart } from "./thread.ts";

/** A part of a file that holds the archive of a layer. */
export interface Blob {
  /** What it is called in messages. */
  readonly name: string;
  /** The file. */
  readonly path: string;
  /** Where in the file it begins. */
  readonly offset: number;
  /** How many bytes it has. */
  readonly size: number;
  /** Its digest, `<algorithm>:<hexadecimal>`; `null` when nobody said. */
  readonly digest: string | null;
  /** The digest of what is in it, without compression; `null` when nobody said. */
  readonly diffId: string | null;
  /** Its bytes, where they are not in the file but made on the way. @default {those of the file} */
  readonly read?: () => AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** How a blob is read. */
export interface ReadOptions {
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how many bytes of the blob were read, again and again. */
  readonly onRead?: (bytes: number) => void;
}

/** What is known of a blob when all of it was read. */
export interface BlobDigests {
  /** The digest of its bytes. */
  readonly digest: string;
  /** The digest of what is in it, without compression. */
  readonly diffId: string;
}

/** How much of a blob is read at once. */
const READ = 1 << 18;

/** From this size on, in bytes, a thread of its own to inflate is worth its start. */
export const APART_SIZE = 1 << 23;

/** How much an inflater gives at once: here what follows would wait for larger pieces (measured). */
const CHUNK = { here: 1 << 16, apart: 1 << 18 };

/** The pieces of a blob; between them, a signal ends it. */
async function* piecesOf(
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const piece of blob.read?.() ?? piecesOfFile(blob)) {
    options.signal?.throwIfAborted();
    options.onRead?.(piece.length);
    yield piece;
  }
}

async function* piecesOfFile(blob: Blob): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { path, offset, size, name } = blob;
  using file = attempt("read", path, () => Deno.openSync(path));
  await file.seek(offset, Deno.SeekMode.Start);
  for (let left = size; left > 0;) {
    const buffer = new Uint8Array(Math.min(READ, left));
    const read = await file.read(buffer);
    if (read === null) {
      throw new OverlayError(
        "bad-digest",
        `Cannot use blob ${quote(name)}: it has ${size - left} bytes, and must have ${size}`,
        { path },
      );
    }
    left -= read;
    yield buffer.subarray(0, read);
  }
}

function checkDigest(what: string, blob: Blob, digests: { must: string | null; is: string }): void {
  const { must, is } = digests;
  if (must === null || must === is) return;
  throw new OverlayError(
    "bad-digest",
    `Cannot use blob ${quote(blob.name)}: its ${what} is ${is}, and must be ${must}`,
    { path: blob.path, hint: "get the image again; what was unpacked of it is gone" },
  );
}

/** The algorithm of a digest, of those that images use. */
function algorithmOf(digest: string | null): Algorithm {
  return digest?.startsWith("sha512:") ? "sha512" : "sha256";
}

async function* joined<T>(first: T, rest: AsyncIterable<T>): AsyncGenerator<T> {
  yield first;
  yield* rest;
}

type Pieces = AsyncIterable<Uint8Array<ArrayBuffer>>;

/** The digests of a blob and of its content, in hexadecimal. */
type Hex = Pick<Inflated, "blob" | "content">;

async function* inflated(
  pieces: Pieces,
  { size, read, digest, diffId }: Blob,
): AsyncGenerator<Uint8Array, Hex> {
  const how = { blob: algorithmOf(digest), content: algorithmOf(diffId) };
  // What a thread is given is gone here, and only of what is read from a file is nobody else in need.
  const isApart = size >= APART_SIZE && read === undefined;
  const { fault, ...hex } = yield* isApart
    ? apart(inflate, pieces, { ...how, chunk: CHUNK.apart })
    : inflate(pieces, { ...how, chunk: CHUNK.here });
  if (fault !== null) throw archiveError(fault);
  return hex;
}

async function* watched<T extends Uint8Array>(
  pieces: AsyncIterable<T>,
  hash: { update(bytes: Uint8Array): unknown },
): AsyncGenerator<T> {
  for await (const piece of pieces) {
    hash.update(piece);
    yield piece;
  }
}

/** What is not compressed by gzip: taken as it is, or through a program. */
async function* hashed(
  pieces: Pieces,
  { digest, diffId }: Blob,
  through: (pieces: Pieces) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, Hex> {
  const startHash = await loadHash();
  const [blob, content] = [startHash(algorithmOf(digest)), startHash(algorithmOf(diffId))];
  yield* watched(through(watched(pieces, blob)), content);
  return { blob: blob.digest("hex"), content: content.digest("hex") };
}

/**
 * Reads a blob.
 *
 * Requires `--allow-read` permission for its file, and `--allow-run` for the program of its compression.
 *
 * @returns Its bytes without compression; they must not be used when this throws. In the end, its digests.
 * @throws {OverlayError} If a digest is another one, or the blob cannot be read.
 */
export async function* readBlob(
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Uint8Array, BlobDigests> {
  const pieces = piecesOf(blob, options);
  try {
    const first = await pieces.next();
    if (first.done === true) throw archiveError("it is empty");
    const all = joined(first.value, pieces);
    const compression = compressionOf(first.value);
    const hex = yield* compression === "gzip" ? inflated(all, blob) : hashed(all, blob, (read) => {
      return compression === "none" ? read : throughProgram(compression, read, options.signal);
    });
    const digest = `${algorithmOf(blob.digest)}:${hex.blob}`;
    const diffId = `${algorithmOf(blob.diffId)}:${hex.content}`;
    checkDigest("digest", blob, { must: blob.digest, is: digest });
    checkDigest("diff id", blob, { must: blob.diffId, is: diffId });
    return { digest, diffId };
  } finally {
    // Who wants no more has not read to the end, and the file is still open.
    await pieces.return(undefined);
  }
}
