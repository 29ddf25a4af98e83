/**
 * Reading a blob: its bytes without compression, checked against what they must be.
 *
 * @module
 */
import { ArchiveError, archiveError } from "../tar/archive_error.ts";
import { detectCompression, detectForeignFormat } from "./compression.ts";
import type { Compression } from "./compression.ts";
import { throughProgram } from "./decompress.ts";
import { attempt } from "../system/disk.ts";
import { openRegular, statOpen } from "../system/regular_file.ts";
import { OverlayError } from "../core/errors.ts";
import { inflate } from "./inflate.ts";
import type { Inflated, Inflating } from "./inflate.ts";
import { loadHash } from "../system/hash.ts";
import type { Algorithm } from "../system/hash.ts";
import { quote } from "../core/quote.ts";
import { runInWorker, WorkerError } from "./worker.ts";
import type { Piece } from "./worker.ts";

/** A part of a file that holds the archive of a layer. */
export interface Blob {
  /** The name in messages. */
  readonly name: string;
  /** The file. */
  readonly path: string;
  /** Where in the file it begins. */
  readonly offset: number;
  /** How many bytes it has. */
  readonly size: number;
  /** Its digest, `<algorithm>:<hexadecimal>`; `null` when it is not known. */
  readonly digest: string | null;
  /** The digest of what is in it, without compression; `null` when it is not known. */
  readonly diffId: string | null;
  /** Fetches it into the file, where it is not there yet. */
  readonly obtain?: () => Promise<void>;
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

/** The digests of a blob that was read to its end. */
export interface BlobDigests {
  /** The digest of its bytes. */
  readonly digest: string;
  /** The digest of what is in it, without compression. */
  readonly diffId: string;
}

/** From this size on, in bytes, a thread of its own to inflate is worth its start. */
export const WORKER_SIZE = 1 << 23;

/** How much is read, and comes out of an inflater, at once: here what follows would wait for more (measured). */
const HERE = { reads: 1 << 18, chunk: 1 << 16 };
const APART = { reads: 1 << 20, chunk: 1 << 19 };

/** Enough to tell how a blob is compressed. */
const BEGINNING = 512;

/** A part of a file, and how much of it is read at once. */
interface FilePart {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly reads: number;
}

/** The part of `node:fs` that a worker needs, without a word that a bundler would rename. */
interface ThreadFiles {
  getBuiltinModule(name: "node:fs"): {
    readonly constants: { readonly O_RDONLY: number; readonly O_NONBLOCK: number };
    openSync(path: string, flags: number): number;
    fstatSync(file: number): { isFile(): boolean };
    readSync(file: number, to: Uint8Array, at: number, length: number, position: number): number;
    closeSync(file: number): void;
  };
}

/**
 * The bytes of a part of a file; all of them are in the same memory. It stands on its own, so that a thread
 * can do it, which may wait for the disk; for the writer of a FIFO it would wait for ever.
 */
function* readFileSync({ path, offset, size, reads }: FilePart): Generator<Piece> {
  const { process } = globalThis as unknown as { process: ThreadFiles };
  const { closeSync, constants, fstatSync, openSync, readSync } = process.getBuiltinModule(
    "node:fs",
  );
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(file).isFile()) throw new Error("it is no regular file");
    const buffer = new Uint8Array(Math.min(reads, size));
    for (let at = 0; at < size;) {
      const wanted = Math.min(buffer.length, size - at);
      const read = readSync(file, buffer, 0, wanted, offset + at);
      if (read === 0) return;
      at += read;
      yield buffer.subarray(0, read);
    }
  } finally {
    closeSync(file);
  }
}

/** The same here, where others have something to do meanwhile. */
async function* readFile(
  { path, offset, size, reads }: FilePart,
  signal: AbortSignal | undefined,
): AsyncGenerator<Piece> {
  using file = await openRegular(path, { signal });
  await file.seek(offset, Deno.SeekMode.Start);
  const buffer = new Uint8Array(Math.min(reads, size));
  for (let left = size; left > 0;) {
    const read = await file.read(buffer.subarray(0, left));
    if (read === null) return;
    left -= read;
    yield buffer.subarray(0, read);
  }
}

/** The pieces of a blob; between them, a signal ends it. */
async function* readPieces(blob: Blob, options: ReadOptions): AsyncGenerator<Piece> {
  for await (const piece of blob.read?.() ?? readFile({ ...blob, ...HERE }, options.signal)) {
    options.signal?.throwIfAborted();
    options.onRead?.(piece.length);
    yield piece;
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
function parseAlgorithm(digest: string | null): Algorithm {
  return digest?.startsWith("sha512:") ? "sha512" : "sha256";
}

/** The digests of a blob and of its content, in hexadecimal. */
type Hex = Omit<Inflated, "fault">;

/** A thread reads it, inflates it, and takes the digests. */
async function* inflateInWorker(
  how: Inflating & FilePart,
  options: ReadOptions,
): AsyncGenerator<Piece, Inflated> {
  try {
    const work = { source: readFileSync, transform: inflate, how };
    return yield* runInWorker(work, options);
  } catch (error) {
    if (!(error instanceof WorkerError && error.isOfSource)) throw error;
    // What can be said of the file is said in the words of this thread.
    (await openRegular(how.path, options)).close();
    return attempt("read", how.path, () => {
      throw error.cause;
    });
  }
}

async function* inflateBlob(
  pieces: AsyncIterable<Piece>,
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Piece, Hex> {
  const how = { blob: parseAlgorithm(blob.digest), content: parseAlgorithm(blob.diffId) };
  const { path, offset, size } = blob;
  const { fault, ...hex } = yield* size >= WORKER_SIZE
    ? inflateInWorker({ ...how, path, offset, size, ...APART }, options)
    : inflate(pieces, { ...how, ...HERE });
  if (fault !== null) throw archiveError(fault);
  return hex;
}

async function* watchPieces<T extends Uint8Array>(
  pieces: AsyncIterable<T>,
  take: (bytes: Uint8Array) => unknown,
): AsyncGenerator<T> {
  for await (const piece of pieces) {
    take(piece);
    yield piece;
  }
}

/** Reads a blob that is not compressed by gzip, as it is or through a program. */
async function* hashBlob(
  pieces: AsyncIterable<Piece>,
  blob: Blob,
  { compression, signal }: { compression: Exclude<Compression, "gzip"> } & ReadOptions,
): AsyncGenerator<Uint8Array, Hex> {
  const startHash = await loadHash();
  const [algorithm, contents] = [parseAlgorithm(blob.digest), parseAlgorithm(blob.diffId)];
  const hash = startHash(algorithm);
  const read = watchPieces(pieces, (bytes) => hash.update(bytes));
  if (compression === "none" && algorithm === contents) {
    yield* read;
    const digest = hash.digest("hex");
    return { blob: digest, content: digest };
  }
  const content = startHash(contents);
  const through = compression === "none" ? read : throughProgram(compression, read, signal);
  yield* watchPieces(through, (bytes) => content.update(bytes));
  return { blob: hash.digest("hex"), content: content.digest("hex") };
}

/** The first bytes of a blob, which is as long as it must be. */
async function readBeginning(
  { name, path, offset, size }: Blob,
  { signal }: ReadOptions,
): Promise<Uint8Array> {
  using file = await openRegular(path, { signal });
  return attempt("read", path, () => {
    const is = Math.max(statOpen(file, path).size - offset, 0);
    if (is < size) {
      const sizes = `it has ${is} bytes, and must have ${size}`;
      throw new OverlayError("bad-digest", `Cannot use blob ${quote(name)}: ${sizes}`, { path });
    }
    file.seekSync(offset, Deno.SeekMode.Start);
    const buffer = new Uint8Array(Math.min(BEGINNING, size));
    return buffer.subarray(0, file.readSync(buffer) ?? 0);
  });
}

/** How a blob is compressed; what is made on the way is not. Some writers leave an empty layer empty. */
async function detectBlobCompression(blob: Blob, options: ReadOptions): Promise<Compression> {
  if (blob.read !== undefined) return "none";
  const beginning = await readBeginning(blob, options);
  if (beginning.length === 0 && blob.diffId === null) throw archiveError("it is empty");
  const compression = detectCompression(beginning);
  const format = compression === "none" ? detectForeignFormat(beginning) : null;
  if (format === null) return compression;
  const reason = `it is ${format.what}, which is not supported`;
  const hint = "make the image again, with gzip or zstd";
  throw new ArchiveError("bad-archive", "read archive", reason, hint);
}

/**
 * Reads a blob.
 *
 * Requires `--allow-read` permission for its file, and `--allow-run` for the program of its compression.
 *
 * @returns Its bytes without compression; they must not be used when this throws, and a piece holds until
 * the next is asked for. In the end, its digests.
 * @throws {OverlayError} If a digest is another one, or the blob cannot be read.
 */
export async function* readBlob(
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Uint8Array, BlobDigests> {
  await blob.obtain?.();
  const compression = await detectBlobCompression(blob, options);
  // Who wants no more has not read to the end, and the file is still open.
  await using pieces = readPieces(blob, options);
  const hex = yield* compression === "gzip"
    ? inflateBlob(pieces, blob, options)
    : hashBlob(pieces, blob, { ...options, compression });
  const digest = `${parseAlgorithm(blob.digest)}:${hex.blob}`;
  const diffId = `${parseAlgorithm(blob.diffId)}:${hex.content}`;
  checkDigest("digest", blob, { must: blob.digest, is: digest });
  checkDigest("diff id", blob, { must: blob.diffId, is: diffId });
  return { digest, diffId };
}
