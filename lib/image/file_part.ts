/**
 * Reads a part of a file, on this thread or in a worker.
 *
 * @module
 */
import { openRegular } from "../system/regular_file.ts";
import type { Piece } from "./worker.ts";

/** A part of a file, and the size of each read. */
export interface FilePart {
  readonly path: string;
  readonly offset: number;
  readonly size: number;
  readonly reads: number;
  /** Set if the file may be shorter as yet. @default {false} */
  readonly grows?: boolean | undefined;
}

/** The part of `node:fs` that a worker needs, without names that a bundler would change. */
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
 * Reads a part of a file into one buffer. It is self-contained, so that a worker can run it, which may block
 * on the disk, and waits for a file that grows. It must not read a FIFO, whose writer it would wait for without
 * end.
 */
export function* readFileSync({ path, offset, size, reads, grows }: FilePart): Generator<Piece> {
  const { process } = globalThis as unknown as { process: ThreadFiles };
  const { closeSync, constants, fstatSync, openSync, readSync } = process.getBuiltinModule(
    "node:fs",
  );
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!fstatSync(file).isFile()) throw new Error("it is no regular file");
    const buffer = new Uint8Array(Math.min(reads, size));
    const clock = new Int32Array(new SharedArrayBuffer(4));
    for (let at = 0; at < size;) {
      const wanted = Math.min(buffer.length, size - at);
      const read = readSync(file, buffer, 0, wanted, offset + at);
      at += read;
      if (read > 0) yield buffer.subarray(0, read);
      else if (!grows) return;
      // If the fetch fails, the worker is ended.
      else Atomics.wait(clock, 0, 0, 5);
    }
  } finally {
    closeSync(file);
  }
}

/** Reads a part of a file on the main thread, without blocking it, into one buffer. */
export async function* readFile(
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
