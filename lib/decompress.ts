/**
 * Taking the compression off an archive by the program of its name, xz(1) or zstd(1).
 *
 * Of zstd `node:zlib` reads the first frame only, and misses where it is cut off (Deno 2.9).
 *
 * @module
 */
import { COMPRESSION_PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import { spawn } from "./spawn.ts";
import { archiveError } from "./archive_error.ts";

/** What takes compressed bytes and gives the others. */
interface Decompressor {
  /** Takes a piece; settles when it wants more. */
  readonly write: (bytes: Uint8Array<ArrayBuffer>) => Promise<void>;
  /** There is no more; settles when all was taken. */
  readonly end: () => Promise<void>;
  /** What comes out; throws where what came in is damaged. */
  readonly output: AsyncIterable<Uint8Array>;
  /** Gives up. */
  readonly destroy: () => void;
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

/**
 * What comes out of a program, while it is fed.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If the program is not there, or what it gets is damaged.
 */
export async function* throughProgram(
  compression: "xz" | "zstd",
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const stream = program(compression, signal);
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
