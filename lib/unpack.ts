/**
 * Unpacking a layer: read, checked against its digests, decompressed, filtered, and handed to tar, all at
 * once and piece by piece.
 *
 * @module
 */
import { compressionOf } from "./compression.ts";
import { decompress } from "./decompress.ts";
import type { Decompressor } from "./decompress.ts";
import { attempt } from "./disk.ts";
import { OverlayError } from "./errors.ts";
import { LayerFilter } from "./layer_filter.ts";
import type { LayerPolicy, LayerSummary } from "./layer_filter.ts";
import { loadHash } from "./node.ts";
import { quote } from "./quote.ts";
import { Tar } from "./tar.ts";
import { archiveError, ofArchive } from "./archive_error.ts";

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

/** Where a layer is unpacked to. */
export interface UnpackTarget {
  /** The directory, which is there and empty. */
  readonly root: string;
  /** The file that gets a line of each entry. */
  readonly lines: string;
}

/** How a layer is unpacked. */
export interface UnpackOptions {
  /** What is let through. */
  readonly policy: LayerPolicy;
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how many bytes of the blob were read, again and again. */
  readonly onRead?: (bytes: number) => void;
  /** Is told each command line before it runs. */
  readonly trace?: ((argv: readonly string[]) => void) | undefined;
}

/** A layer that was unpacked. */
export interface Unpacked {
  /** The digest of the archive without compression. */
  readonly diffId: string;
  /** The archive as it was read. */
  readonly archive: { readonly size: number; readonly digest: string };
  /** What it holds. */
  readonly summary: LayerSummary;
  /** The directories that its archive says nothing of. */
  readonly implicit: readonly string[];
  /** What is gone of the layers below; nothing was unpacked for it. */
  readonly whiteouts: readonly string[];
  /** The directories of the layers below in which all is gone; nothing was unpacked for them either. */
  readonly emptied: readonly string[];
}

/** How much of a blob is read at once. */
const READ = 1 << 18;

/** How many characters of lines are written at once. */
const LINES = 1 << 20;

/** Writes lines to a file, many at a time. */
class LineFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #path: string;
  #lines: string[] = [];
  #length = 0;

  constructor(path: string) {
    this.#path = path;
    this.#file = attempt("write", path, () => {
      return Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
    });
  }

  add(line: string): void {
    this.#lines.push(line);
    this.#length += line.length;
    if (this.#length > LINES) this.flush();
  }

  flush(): void {
    const bytes = new TextEncoder().encode(this.#lines.join(""));
    this.#lines = [];
    this.#length = 0;
    attempt("write", this.#path, () => {
      for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
    });
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** The pieces of a blob; between them, a signal ends it. */
async function* piecesOf(
  blob: Blob,
  options: UnpackOptions,
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
function algorithmOf(digest: string | null): "sha256" | "sha512" {
  return digest?.startsWith("sha512:") ? "sha512" : "sha256";
}

/**
 * Unpacks a layer into an empty directory.
 *
 * What is read is hashed on the way; when it is not what it must be, this throws, and what was unpacked
 * must not be used.
 *
 * Requires `--allow-read` permission for the blob, `--allow-write` for the target and `--allow-run` for
 * tar.
 *
 * @throws {OverlayError} If a digest is another one, the archive is refused, or tar fails.
 */
export async function unpackLayer(
  blob: Blob,
  target: UnpackTarget,
  options: UnpackOptions,
): Promise<Unpacked> {
  const createHash = await loadHash();
  const blobHash = createHash(algorithmOf(blob.digest));
  const diffHash = createHash(algorithmOf(blob.diffId));
  using lines = new LineFile(target.lines);
  const filter = new LayerFilter(options.policy, {
    startDigest: () => createHash("sha256"),
    line: (text) => lines.add(text),
  });
  const tar = new Tar(target.root, options);
  try {
    for await (const piece of decompressed(blob, blobHash, options)) {
      diffHash.update(piece);
      await tar.write(filter.push(piece));
    }
    const digest = `${algorithmOf(blob.digest)}:${blobHash.digest("hex")}`;
    const diffId = `${algorithmOf(blob.diffId)}:${diffHash.digest("hex")}`;
    checkDigest("digest", blob, { must: blob.digest, is: digest });
    checkDigest("diff id", blob, { must: blob.diffId, is: diffId });
    const last = filter.end();
    if (!filter.ended && blob.diffId === null) throw archiveError("its end is missing");
    await tar.write(last);
    await tar.end();
    lines.flush();
    const archive = { size: blob.size, digest };
    const { summary, implicit, whiteouts, emptied } = filter;
    return { diffId, archive, summary, implicit, whiteouts, emptied };
  } catch (error) {
    await tar.kill();
    // Then tar was ended for that, and what it said is no cause.
    options.signal?.throwIfAborted();
    throw ofArchive(error, blob);
  }
}

/** The bytes of a blob without compression; reading goes on while they are worked on. */
async function* decompressed(
  blob: Blob,
  hash: { update(bytes: Uint8Array): unknown },
  options: UnpackOptions,
): AsyncGenerator<Uint8Array> {
  const pieces = piecesOf(blob, options);
  try {
    const first = await pieces.next();
    if (first.done === true) throw archiveError("it is empty");
    const all = hashed(first.value, pieces, hash);
    const compression = compressionOf(first.value);
    if (compression === "none") yield* all;
    else yield* through(await decompress(compression, options.signal), all);
  } finally {
    // Who wants no more has not read to the end, and the file is still open.
    await pieces.return(undefined);
  }
}

async function* hashed(
  first: Uint8Array<ArrayBuffer>,
  rest: AsyncIterable<Uint8Array<ArrayBuffer>>,
  hash: { update(bytes: Uint8Array): unknown },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  hash.update(first);
  yield first;
  for await (const piece of rest) {
    hash.update(piece);
    yield piece;
  }
}

/** Tells why reading failed. */
async function* noted<T>(
  pieces: AsyncIterable<T>,
  tell: (cause: unknown) => void,
): AsyncGenerator<T> {
  try {
    yield* pieces;
  } catch (error) {
    tell(error);
    throw error;
  }
}

/** What comes out of a decompressor, while it is fed. */
async function* through(
  stream: Decompressor,
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array> {
  let [cause, failure]: unknown[] = [null, null];
  const feed = async () => {
    for await (const piece of noted(pieces, (error) => cause = error)) await stream.write(piece);
    await stream.end();
  };
  const fed = feed().catch((error) => {
    failure = error;
    stream.destroy();
  });
  try {
    yield* stream.output;
    await fed;
    if (failure !== null) throw failure;
  } catch (error) {
    // Damage shows at both ends; that nothing more could be read is the cause of whatever comes out.
    throw cause ?? error;
  } finally {
    stream.destroy();
    await fed;
  }
}
