/**
 * Taking the compression off an archive: gzip here, xz and zstd by the programs of the same name.
 *
 * `node:zlib` inflates faster than gzip(1), and all members of a file; of zstd it reads the first frame
 * only and misses where it is cut off (Deno 2.9), so that is left to zstd(1).
 *
 * @module
 */
import type { Compression } from "./compression.ts";
import { loadGunzip } from "./node.ts";
import { COMPRESSION_PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { spawn } from "./spawn.ts";
import { archiveError } from "./archive_error.ts";

/** What takes compressed bytes and gives the others. */
export interface Decompressor {
  /** Takes a piece; settles when it wants more. */
  readonly write: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>;
  /** There is no more; settles when all was taken. */
  readonly end: () => Promise<void>;
  /** What comes out; throws where what came in is damaged. */
  readonly output: AsyncIterable<Uint8Array>;
  /** Gives up. */
  readonly destroy: () => void;
}

/** How much comes out at once: in larger pieces what follows would wait (measured). */
const CHUNK = 1 << 16;

async function gunzip(): Promise<Decompressor> {
  const createGunzip = await loadGunzip();
  const stream = createGunzip({ chunkSize: CHUNK });
  /** How much was written, and where the last byte of it is that is not 0. */
  let [written, last] = [0, 0];
  const settle = (act: (done: () => void) => void) => {
    return new Promise<void>((resolve, reject) => {
      const fail = (error?: Error) => reject(error ?? new Error("it was given up"));
      stream.once("error", fail);
      stream.once("close", fail);
      act(() => {
        stream.off("error", fail);
        stream.off("close", fail);
        resolve();
      });
    });
  };
  return {
    write: (bytes) => {
      const at = bytes.findLastIndex((byte) => byte !== 0);
      if (at >= 0) last = written + at + 1;
      written += bytes.length;
      return settle((done) => void (stream.write(bytes) ? done() : stream.once("drain", done)));
    },
    end: () => settle((done) => void stream.end(done)),
    output: explained(stream, () => last > stream.bytesWritten),
    destroy: () => void stream.destroy(),
  };
}

/** Zeros may follow the last member, as padding; with anything after them inflate would stop in silence. */
async function* explained(
  stream: AsyncIterable<Uint8Array>,
  hasMore: () => boolean,
): AsyncGenerator<Uint8Array> {
  try {
    yield* stream;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw archiveError(`its gzip compression is damaged: ${reason}`);
  }
  if (hasMore()) throw archiveError("something follows its gzip compression");
}

function program(name: "xz" | "zstd", signal?: AbortSignal): Decompressor {
  const path = COMPRESSION_PROGRAMS[name];
  const child = spawn(path, ["--decompress", "--stdout"], {
    stdin: "piped",
    stdout: "piped",
    ...(signal === undefined ? {} : { signal }),
  });
  const writer = child.stdin.getWriter();
  return {
    write: (bytes) => writer.write(bytes),
    end: () => writer.close(),
    output: outputOf(child, path),
    destroy: () => {
      writer.abort().catch(() => {/* It has ended. */});
      try {
        child.kill();
      } catch {
        // It has ended.
      }
    },
  };
}

async function* outputOf(child: Deno.ChildProcess, path: string): AsyncGenerator<Uint8Array> {
  const said = new Response(child.stderr).text();
  yield* child.stdout;
  const { success } = await child.status;
  if (!success) throw archiveError(`${path} said ${quote(printable(await said))}`);
  await said;
}

/**
 * Starts to take a compression off.
 *
 * Requires `--allow-run` permission for the program, with xz and zstd.
 *
 * @throws {OverlayError} If the program is not there.
 */
export async function decompress(
  compression: Exclude<Compression, "none">,
  signal?: AbortSignal,
): Promise<Decompressor> {
  return compression === "gzip" ? await gunzip() : program(compression, signal);
}
