/**
 * Taking the compression off an archive by the program of its name, xz(1) or zstd(1).
 *
 * Of zstd `node:zlib` reads the first frame only, and misses where it is cut off (Deno 2.9).
 *
 * @module
 */
import { COMPRESSION_PROGRAMS } from "../system/programs.ts";
import { describeFailure, spawn } from "../system/run.ts";
import { ArchiveError, archiveError } from "../tar/archive_error.ts";

/** The most memory that taking off a compression may need, in MiB; two layers are unpacked at once. */
const MEMORY_MAX = 512;

/** How the programs are told that, and how they say that it is not enough. */
const MEMORY: Readonly<Record<"xz" | "zstd", { readonly flag: string; readonly says: RegExp }>> = {
  xz: { flag: `--memlimit-decompress=${MEMORY_MAX}MiB`, says: /Memory usage limit reached/ },
  zstd: { flag: `--memory=${MEMORY_MAX}MB`, says: /requires too much memory/ },
};

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
  const child = spawn(path, ["--decompress", "--stdout", MEMORY[name].flag], {
    stdin: "piped",
    stdout: "piped",
    ...(signal === undefined ? {} : { signal }),
  });
  const writer = child.stdin.getWriter();
  return {
    write: (bytes) => writer.write(bytes),
    end: () => writer.close(),
    output: outputOf(child, name),
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

async function* outputOf(
  child: Deno.ChildProcess,
  name: "xz" | "zstd",
): AsyncGenerator<Uint8Array> {
  const listening = new Response(child.stderr).text();
  yield* child.stdout;
  const [{ code: status }, stderr] = [await child.status, await listening];
  if (status === 0) return;
  if (MEMORY[name].says.test(stderr)) throw memoryError(name);
  throw archiveError(describeFailure({ argv: [name], status, stderr }));
}

function memoryError(name: string): ArchiveError {
  const reason = `its ${name} compression needs more than ${MEMORY_MAX} MiB of memory`;
  const hint = "compress it again, with a smaller dictionary or window";
  return new ArchiveError("too-large", "read archive", reason, hint);
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
