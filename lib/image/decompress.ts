/**
 * Decompresses archives by the programs xz(1) and zstd(1).
 *
 * For zstd, `node:zlib` reads only the first frame, and does not detect truncation (Deno 2.9).
 *
 * @module
 */
import { COMPRESSION_PROGRAMS } from "../system/programs.ts";
import { describeFailure, spawn } from "../system/run.ts";
import { ArchiveError, archiveError } from "../tar/archive_error.ts";

/** The largest amount of memory for decompression, in MiB; two layers are unpacked at once. */
const MEMORY_MAX = 512;

/** The flags of the programs for that limit, and their messages if it is exceeded. */
const MEMORY = {
  xz: { flag: `--memlimit-decompress=${MEMORY_MAX}MiB`, says: /Memory usage limit reached/ },
  zstd: { flag: `--memory=${MEMORY_MAX}MB`, says: /requires too much memory/ },
};

function memoryError(name: string): ArchiveError {
  const reason = `its ${name} compression needs more than ${MEMORY_MAX} MiB of memory`;
  const hint = "compress it again, with a smaller dictionary or window";
  return new ArchiveError("too-large", "read archive", reason, hint);
}

/** Checks the exit status of the program. */
async function checkEnd(
  name: "xz" | "zstd",
  { status }: Deno.ChildProcess,
  listening: Promise<string>,
): Promise<void> {
  const [{ code }, stderr] = [await status, await listening];
  if (code === 0) return;
  if (MEMORY[name].says.test(stderr)) throw memoryError(name);
  throw archiveError(describeFailure({ argv: [name], status: code, stderr }));
}

function end(child: Deno.ChildProcess): void {
  try {
    child.kill();
  } catch {
    // It has ended.
  }
}

/**
 * Decompresses pieces by a program; input is written while output is read.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If the program is not installed, or its input is damaged.
 */
export async function* throughProgram(
  name: "xz" | "zstd",
  pieces: AsyncIterable<Uint8Array<ArrayBuffer>>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const child = spawn(COMPRESSION_PROGRAMS[name], ["--decompress", "--stdout", MEMORY[name].flag], {
    stdin: "piped",
    stdout: "piped",
    ...(signal === undefined ? {} : { signal }),
  });
  const listening = new Response(child.stderr).text();
  const writer = child.stdin.getWriter();
  const stop = () => {
    writer.abort().catch(() => {/* It has ended. */});
    end(child);
  };
  let [unreadable, failure]: unknown[] = [null, null];
  const feed = async () => {
    for await (const piece of notingFailure(pieces, (error) => unreadable = error)) {
      await writer.write(piece);
    }
    await writer.close();
  };
  const fed = feed().catch((error) => {
    failure = error;
    stop();
  });
  try {
    yield* child.stdout;
    await checkEnd(name, child, listening);
    await fed;
    if (failure !== null) throw failure;
  } catch (error) {
    // A failed read is the cause of any error of the program.
    throw unreadable ?? error;
  } finally {
    stop();
    await fed;
  }
}

/** Passes pieces on, and notes the error that ends the reading. */
async function* notingFailure<T>(
  pieces: AsyncIterable<T>,
  note: (error: unknown) => void,
): AsyncGenerator<T> {
  try {
    yield* pieces;
  } catch (error) {
    note(error);
    throw error;
  }
}
