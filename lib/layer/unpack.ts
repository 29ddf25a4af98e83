/**
 * Unpacking a layer: read, checked against its digests, decompressed, filtered, and handed to tar, all at
 * once and piece by piece.
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
import { child } from "../core/path.ts";
import { Tar } from "./gnu_tar.ts";
import type { LayerNeeds } from "./layer_paths.ts";

/** Where a layer is unpacked to. */
export interface UnpackTarget {
  /** The directory, which is there and empty. */
  readonly root: string;
  /** The file that gets a line of each entry. */
  readonly lines: string;
}

/** How a layer is unpacked. */
export interface UnpackOptions extends ReadOptions {
  /** The policy. */
  readonly policy: LayerPolicy;
  /** Is told how many bytes were unpacked, again and again. */
  readonly onWritten?: (bytes: number) => void;
  /** Is told each command line before it runs. */
  readonly trace?: ((argv: readonly string[]) => void) | undefined;
}

/** A layer that was unpacked. */
export interface Unpacked extends LayerNeeds {
  /** The digest of the archive without compression. */
  readonly diffId: string;
  /** The archive as it was read. */
  readonly archive: { readonly size: number; readonly digest: string };
  /** The summary of its entries. */
  readonly summary: LayerSummary;
  /** How many attributes could not be set, since the file system or the type of file has none such. */
  readonly unset: number;
}

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
 * The archive is hashed on the way; if a digest is wrong, this throws, and the directory
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
  using lines = new LineFile(target.lines);
  const tar = new Tar(target.root, options);
  await using contents = readBlob(blob, options);
  try {
    // The first has a thread started, before this one is busy loading the digests.
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
    // Then tar was ended for that, and what it said is no cause.
    options.signal?.throwIfAborted();
    throw nameArchive(error, blob);
  }
}
