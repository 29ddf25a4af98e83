/**
 * Fetches a blob of a registry into a file, and resumes after a broken connection.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { attempt } from "../system/disk.ts";
import { writeAll } from "../system/own_file.ts";
import type { Answer } from "./answer.ts";
import { ConnectionError } from "./connection_error.ts";
import type { Repository } from "./registry.ts";
import { TRIES } from "./retry.ts";

/** The number of bytes after which a fault starts the count of attempts again. */
const PROGRESS = 1 << 20;

/** The blob that is fetched. */
export interface RemoteBlob {
  /** Its digest. */
  readonly digest: string;
  /** Its size, in bytes. */
  readonly size: number;
  /** A URL outside of the registry, for a foreign layer. @default {it is in the registry} */
  readonly url?: string;
}

/** The file for the bytes, and the number of bytes in it. */
interface Sink {
  readonly file: Deno.FsFile;
  readonly path: string;
  at: number;
}

/**
 * Fetches a blob. It checks the size, but not the digest.
 *
 * Requires `--allow-write` permission for the file, and `--allow-net`.
 *
 * @param path The file, in a private directory. It grows while the blob is fetched.
 * @param onFetch Called with the number of bytes that were received, repeatedly.
 * @throws {OverlayError} If it cannot be fetched, or has another size.
 */
export async function fetchBlob(
  repository: Repository,
  blob: RemoteBlob,
  path: string,
  onFetch?: (bytes: number) => void,
): Promise<void> {
  // Another attempt must write to the same file, since it may be read already.
  using file = attempt("write", path, () => {
    return Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
  });
  const sink = { file, path, at: 0 };
  for (let [tried, since] = [1, 0]; sink.at < blob.size || tried === 1; tried++) {
    const fault = await fetchRest(repository, blob, sink, onFetch);
    if (fault === null) return;
    if (sink.at - since >= PROGRESS) [tried, since] = [1, sink.at];
    if (tried >= TRIES) throw fault;
    await repository.pause(tried);
  }
}

/** Fetches the missing bytes. Returns the fault of a connection that broke. */
async function fetchRest(
  repository: Repository,
  blob: RemoteBlob,
  sink: Sink,
  onFetch?: (bytes: number) => void,
): Promise<OverlayError | null> {
  const answer = blob.url === undefined
    ? await repository.blob(blob.digest, sink.at)
    : await repository.foreign(blob.url, sink.at);
  await begin(repository, blob, sink, answer);
  try {
    for await (const piece of answer.pieces()) {
      if (sink.at + piece.length > blob.size) throw sizeError(repository, blob, "more");
      write(sink, piece);
      onFetch?.(piece.length);
    }
  } catch (error) {
    if (error instanceof ConnectionError) return error;
    throw error;
  }
  return sink.at === blob.size ? null : sizeError(repository, blob, "fewer");
}

/** Checks that an answer continues at the end of the file. If it has the whole blob, the file is started again. */
async function begin(
  repository: Repository,
  { size }: RemoteBlob,
  sink: Sink,
  answer: Answer,
): Promise<void> {
  if (answer.status === 200) return restart(sink);
  const range = answer.header("content-range") ?? "";
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range) ?? [];
  const goesOn = answer.status === 206 && Number(from) === sink.at &&
    (total === "*" || Number(total) === size);
  if (goesOn) return;
  if (answer.status !== 206) throw await repository.refuse(answer);
  await answer.drop();
  const reason = `the registry sends ${quote(range)} where byte ${sink.at} of ${size} comes next`;
  throw new OverlayError("network", `Cannot ${repository.what}: ${reason}`);
}

function restart(sink: Sink): void {
  if (sink.at === 0) return;
  attempt("write", sink.path, () => {
    sink.file.truncateSync(0);
    sink.file.seekSync(0, Deno.SeekMode.Start);
  });
  sink.at = 0;
}

function write(sink: Sink, piece: Uint8Array): void {
  attempt("write", sink.path, () => writeAll(sink.file, piece));
  sink.at += piece.length;
}

function sizeError(repository: Repository, blob: RemoteBlob, than: string): OverlayError {
  const reason = `its blob ${
    quote(blob.digest)
  } has ${than} bytes than the ${blob.size} it must have`;
  return new OverlayError("bad-digest", `Cannot ${repository.what}: ${reason}`, {
    hint: "try again; if it stays so, the registry is damaged or not to be trusted",
  });
}
