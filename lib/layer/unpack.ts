/**
 * Unpacks a layer as a stream: it is read, verified by its digests, decompressed, filtered, and written to
 * tar piece by piece.
 *
 * @module
 */
import { archiveError, nameArchive } from "../tar/archive_error.ts";
import { readBlob } from "../image/blob.ts";
import type { Blob, ReadOptions } from "../image/blob.ts";
import { attempt } from "../system/disk.ts";
import { LayerFilter } from "./layer_filter.ts";
import type { LayerPolicy, LayerSummary } from "./layer_policy.ts";
import type { Step } from "./step_queue.ts";
import { loadHash } from "../system/hash.ts";
import { createNew, writeAll } from "../system/own_file.ts";
import { child } from "../core/path.ts";
import { Tar } from "./gnu_tar.ts";
import type { LayerNeeds } from "./layer_paths.ts";

/** The target of an unpack. */
export interface UnpackTarget {
  /** The directory, which exists and is empty. */
  readonly root: string;
  /** The file for the lines of the entries. */
  readonly lines: string;
}

/** The options of unpacking a layer. */
export interface UnpackOptions extends ReadOptions {
  /** The policy. */
  readonly policy: LayerPolicy;
  /** Called with the number of further bytes that were unpacked, repeatedly. */
  readonly onWritten?: (bytes: number) => void;
  /** Called with each command line before it runs. */
  readonly trace?: ((argv: readonly string[]) => void) | undefined;
}

/** A layer that was unpacked. */
export interface Unpacked extends LayerNeeds {
  /** The digest of the archive without compression. */
  readonly diffId: string;
  /** The size and the digest of the archive. */
  readonly archive: { readonly size: number; readonly digest: string };
  /** The summary of its entries. */
  readonly summary: LayerSummary;
  /** The number of attributes that the file system or the type of file does not support. */
  readonly unset: number;
}

/** The number of characters of lines that are written at once. */
const LINES = 1 << 20;

/** Writes lines to a file, many at a time. */
class LineFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #path: string;
  #lines: string[] = [];
  #length = 0;

  constructor(path: string) {
    this.#path = path;
    this.#file = attempt("write", path, () => createNew(path));
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
    attempt("write", this.#path, () => writeAll(this.#file, bytes));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

async function takeStep(step: Step, tar: Tar, { root }: UnpackTarget): Promise<void> {
  if (!("clear" in step)) return await tar.write(step);
  await tar.clear(step.clear);
  if (!step.gone) return;
  const path = child(root, step.clear);
  attempt("remove", path, () => Deno.removeSync(path));
}

/**
 * Unpacks a layer into an empty directory.
 *
 * The archive is hashed while it is unpacked. If a digest differs, this throws, and the directory must not be
 * used.
 *
 * Requires `--allow-read` permission for the blob, `--allow-write` for the target and `--allow-run` for
 * tar.
 *
 * @throws {OverlayError} If a digest differs, the archive is refused, or tar fails.
 */
export async function unpackLayer(
  blob: Blob,
  target: UnpackTarget,
  options: UnpackOptions,
): Promise<Unpacked> {
  using lines = new LineFile(target.lines);
  const tar = new Tar(target.root, options);
  await using contents = readBlob(blob, options);
  try {
    // The first piece starts a worker, before this thread is busy loading the digests.
    const [first, startHash] = await Promise.all([contents.next(), loadHash()]);
    const filter = new LayerFilter(options.policy, {
      startDigest: () => startHash("sha256"),
      line: (text) => lines.add(text),
    });
    const take = async (steps: Iterable<Step>) => {
      for (const step of steps) await takeStep(step, tar, target);
    };
    let next = first;
    for (; !next.done; next = await contents.next()) {
      await take(filter.push(next.value));
      options.onWritten?.(next.value.length);
    }
    const { digest, diffId } = next.value;
    await take(filter.end());
    if (!filter.ended && blob.diffId === null) throw archiveError("its end is missing");
    await tar.end();
    lines.flush();
    const archive = { size: blob.size, digest };
    return { diffId, archive, summary: filter.summary, unset: tar.unset, ...filter.needs };
  } catch (error) {
    await tar.kill();
    // After a signal, the messages of tar are not the cause.
    options.signal?.throwIfAborted();
    throw nameArchive(error, blob);
  }
}
