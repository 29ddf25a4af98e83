/**
 * Reads blobs: decompresses them, and verifies their digests and sizes.
 *
 * @module
 */
import { ArchiveError, archiveError } from "../tar/archive_error.ts";
import { detectCompression, detectForeignFormat } from "./compression.ts";
import type { Compression } from "./compression.ts";
import { throughProgram } from "./decompress.ts";
import { attempt, look } from "../system/disk.ts";
import { openRegular, statOpen } from "../system/regular_file.ts";
import { OverlayError } from "../core/errors.ts";
import { readFile, readFileSync } from "./file_part.ts";
import type { FilePart } from "./file_part.ts";
import { inflate } from "./inflate.ts";
import type { Inflated, Inflating } from "./inflate.ts";
import { loadHash } from "../system/hash.ts";
import { parseAlgorithm } from "../core/digest.ts";
import { joinSignals } from "../core/lanes.ts";
import { quote } from "../core/quote.ts";
import { runInWorker, WorkerError } from "./worker.ts";
import type { Piece } from "./worker.ts";

/** A part of a file that holds the archive of a layer. */
export interface Blob {
  /** The name in messages. */
  readonly name: string;
  /** The path of the file. */
  readonly path: string;
  /** Its offset in the file, in bytes. */
  readonly offset: number;
  /** Its size, in bytes. */
  readonly size: number;
  /** Its digest, `<algorithm>:<hexadecimal>`; `null` if it is not known. */
  readonly digest: string | null;
  /** The digest of its decompressed content; `null` if it is not known. */
  readonly diffId: string | null;
  /** Set if its bytes are not at hand: the store must have the layer. @default {false} */
  readonly isAbsent?: boolean;
  /** The key of its layer in the store, which is used as it is, whatever the import leaves out. @default {none} */
  readonly key?: string;
  /** Fetches it into the file, which is private to the import, if it is not there yet. */
  readonly obtain?: () => Promise<void>;
  /** Set if it comes from a registry: it is fetched early, and its file grows meanwhile. */
  readonly isRemote?: true;
  /** Removes the file, if no other layer is the same blob. @default {it stays until the end of the import} */
  readonly release?: () => void;
  /** Makes its bytes, if they are not in a file. @default {reads the file} */
  readonly read?: () => AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** The options of reading a blob. */
export interface ReadOptions {
  /** Ends the reading. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of further bytes that were read, repeatedly. */
  readonly onRead?: (bytes: number) => void;
}

/** The digests of a blob that was read to its end. */
export interface BlobDigests {
  /** The digest of its bytes. */
  readonly digest: string;
  /** The digest of its decompressed content. */
  readonly diffId: string;
}

/** The size in bytes from which a worker saves more time than its start costs. */
export const WORKER_SIZE = 1 << 23;

/** The sizes of reads and of inflated pieces on the main thread; with larger ones tar would wait (measured). */
const HERE = { reads: 1 << 18, chunk: 1 << 16 };
const APART = { reads: 1 << 20, chunk: 1 << 19 };

/** The number of bytes that are needed to detect the compression. */
const BEGINNING = 512;

/** Reads the pieces of a blob; a signal ends it between two pieces. */
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

/** The digests of a blob and of its content, in hexadecimal. */
type Hex = Omit<Inflated, "fault">;

/** Reads, inflates and hashes a blob in a worker. */
async function* inflateInWorker(
  how: Inflating & FilePart,
  options: ReadOptions,
): AsyncGenerator<Piece, Inflated> {
  try {
    const work = { source: readFileSync, transform: inflate, how };
    return yield* runInWorker(work, options);
  } catch (error) {
    if (!(error instanceof WorkerError && error.isOfSource)) throw error;
    // Opens the file here first, for the error messages of this thread.
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
    ? inflateInWorker({ ...how, path, offset, size, grows: blob.isRemote, ...APART }, options)
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

/** Reads a blob that is not compressed by gzip, directly or through a program. */
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

/** Reads the first bytes of a blob, which show its compression, and checks its size if its file does not grow. */
export async function readBeginning(
  { name, path, offset, size, isRemote }: Blob,
  { signal }: ReadOptions,
): Promise<Uint8Array> {
  using file = await openRegular(path, { signal });
  return attempt("read", path, () => {
    const is = Math.max(statOpen(file, path).size - offset, 0);
    if (is < size && !isRemote) {
      const sizes = `it has ${is} bytes, and must have ${size}`;
      throw new OverlayError("bad-digest", `Cannot use blob ${quote(name)}: ${sizes}`, { path });
    }
    file.seekSync(offset, Deno.SeekMode.Start);
    const buffer = new Uint8Array(Math.min(BEGINNING, size));
    return buffer.subarray(0, file.readSync(buffer) ?? 0);
  });
}

/**
 * Detects the compression of a blob; bytes that are made in memory have none. Some writers leave an empty
 * layer without bytes.
 */
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

/** The interval of looks at a file that grows, in milliseconds. */
const GROWTH_MS = 5;

/** Waits for the first bytes of a file that grows, and tells whether a worker can read on while it does. */
async function beginsAsGzip(blob: Blob, signal: AbortSignal): Promise<boolean> {
  while ((look(blob.path)?.size ?? 0) < BEGINNING) {
    await new Promise((resolve) => setTimeout(resolve, GROWTH_MS));
    signal.throwIfAborted();
  }
  return detectCompression(await readBeginning(blob, { signal })) === "gzip";
}

/** Waits for work that goes on by itself, until a signal is aborted. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal?.reason);
    if (signal?.aborted) end();
    signal?.addEventListener("abort", end, { once: true });
    work.then(resolve, reject).finally(() => signal?.removeEventListener("abort", end));
  });
}

/**
 * Reads a blob. One that must be fetched is read while its file grows, if it is large and has gzip.
 *
 * Requires `--allow-read` permission for its file, and `--allow-run` for the program of its compression.
 *
 * @returns Its decompressed bytes, and at the end its digests. A piece is valid until the next one is
 * requested. No byte may be used if this throws.
 * @throws {OverlayError} If a digest differs, or the blob cannot be read.
 */
export async function* readBlob(
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Uint8Array, BlobDigests> {
  if (blob.obtain === undefined) return yield* readPresent(blob, options);
  const failed = new AbortController();
  const whole = blob.obtain().catch((error) => failed.abort(error));
  const signal = joinSignals(failed.signal, options.signal);
  const isEarly = blob.isRemote && blob.size >= WORKER_SIZE && await beginsAsGzip(blob, signal);
  if (!isEarly) await orAborted(whole, signal);
  const digests = yield* readPresent(blob, { ...options, signal });
  await orAborted(whole, signal);
  return digests;
}

/** Reads a blob whose file is there. */
async function* readPresent(
  blob: Blob,
  options: ReadOptions,
): AsyncGenerator<Uint8Array, BlobDigests> {
  const compression = await detectBlobCompression(blob, options);
  // Closes the file if the caller stops early.
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
