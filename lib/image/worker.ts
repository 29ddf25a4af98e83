/**
 * Working on pieces in a worker.
 *
 * @module
 */

/** A part of a stream of bytes; it holds until the next is asked for. */
export type Piece = Uint8Array<ArrayBuffer>;

/** Pieces, as they come. */
export type Pieces = AsyncIterable<Piece> | Iterable<Piece>;

/**
 * The work of a worker. Its functions must stand on their own: they may name nothing of their module, since
 * their text is what a thread is started with. A bundler may give their names others, and must not put
 * helpers of its own into them.
 */
export interface Work<How, Result> {
  /** Gets pieces. */
  readonly source: (how: How) => Iterable<Piece>;
  /** Makes others of them, and says something of them in the end. */
  readonly transform: (pieces: Pieces, how: How) => AsyncGenerator<Piece, Result>;
  /** The argument of both; a value that can be cloned. */
  readonly how: How;
}

/** How many pieces may be on their way: the thread has always something to do, and never much to keep. */
const WINDOW = 32;

/** How many pieces are acknowledged at once. */
const ACKNOWLEDGED = WINDOW / 4;

/** A worker has failed; the error of its work is the cause. */
export class WorkerError extends Error {
  override readonly name = "WorkerError";
  /** `true` if it was the source that failed. */
  readonly isOfSource: boolean;

  constructor(cause: unknown, isOfSource: boolean) {
    super("A thread has failed", { cause });
    this.isOfSource = isOfSource;
  }
}

/** How a worker is run. */
export interface WorkerOptions {
  /** Ends it. */
  readonly signal?: AbortSignal | undefined;
  /** Is told how many bytes the thread got from the source, again and again. */
  readonly onRead?: ((bytes: number) => void) | undefined;
}

/** A piece that a worker has made, or in the end its result. */
interface Made {
  readonly piece: Piece | null;
  readonly word: unknown;
  /** How many bytes it has read so far. */
  readonly read: number;
}

/** A message of a worker: a piece, or the error that ended it. */
type Message = Made | { readonly error: unknown; readonly isOfSource: boolean };

/** The port of a worker to the thread that started it. */
interface Port<How> {
  /** It is told how first, and then how many pieces were taken. */
  onmessage: ((event: MessageEvent<How & number>) => void) | null;
  postMessage(message: Message, transfer?: Transferable[]): void;
}

/** Runs in the worker. It stands on its own, see {@linkcode Work}. */
async function serve<How, Result>(
  port: Port<How>,
  window: number,
  { source, transform }: Omit<Work<How, Result>, "how">,
): Promise<void> {
  const how = await new Promise<How>((resolve) => port.onmessage = ({ data }) => resolve(data));
  let [free, tell, read, isOfSource] = [window, () => {}, 0, false];
  port.onmessage = ({ data: taken }) => {
    free += taken;
    tell();
  };
  const counted = function* (): Generator<Piece> {
    try {
      for (const piece of source(how)) {
        read += piece.length;
        yield piece;
      }
    } catch (error) {
      isOfSource = true;
      throw error;
    }
  };
  try {
    const made = transform(counted(), how);
    for (let next = await made.next();; next = await made.next()) {
      if (next.done) return port.postMessage({ piece: null, word: next.value, read });
      while (free === 0) await new Promise<void>((resolve) => tell = resolve);
      free--;
      const { value } = next;
      const isAll = value.length === value.buffer.byteLength;
      const piece = new Uint8Array(isAll ? value.buffer : value);
      port.postMessage({ piece, word: null, read }, [piece.buffer]);
    }
  } catch (error) {
    // Uncaught, it would also be written to stderr.
    port.postMessage({ error, isOfSource });
  }
}

/**
 * Lets a worker make pieces. The worker is started with a text and not from a file, which would
 * ask for a permission to read this library; it costs some 25 ms, on another processor.
 *
 * Requires the permissions that the work does.
 *
 * @returns What the thread makes, and says in the end; a piece is gone when the next is asked for. Who wants
 * no more of it ends the thread.
 * @throws {WorkerError} If the work fails.
 * @throws {unknown} The reason of the signal.
 */
export async function* runInWorker<How, Result>(
  { source, transform, how }: Work<How, Result>,
  { signal, onRead }: WorkerOptions = {},
): AsyncGenerator<Piece, Result> {
  signal?.throwIfAborted();
  // It is the same for all that is read: Deno keeps the compiled code of each text.
  const text = `(${serve})(self, ${WINDOW}, { source: ${source}, transform: ${transform} });`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(text)}`, { type: "module" });
  worker.postMessage(how);
  const { arrived, fail } = listen(worker);
  const abort = () => fail(signal?.reason);
  signal?.addEventListener("abort", abort);
  let [told, taken] = [0, 0];
  try {
    // Who wants no more is not to hear of what went wrong meanwhile.
    for await (const { piece, read, word } of arrived.values({ preventCancel: true })) {
      if (read > told) onRead?.(read - told);
      told = read;
      if (piece === null) return word as Result;
      yield piece;
      // Its memory is used again at once; left for the collector, it would be sought for often.
      piece.buffer.transfer(0);
      if (++taken % ACKNOWLEDGED === 0) worker.postMessage(ACKNOWLEDGED);
    }
    // It ends with a word, or fails.
    throw new TypeError("A thread has ended without a word");
  } finally {
    signal?.removeEventListener("abort", abort);
    worker.terminate();
  }
}

/** The pieces that arrive from a worker, and a way to make them fail. */
function listen(
  worker: Worker,
): { readonly arrived: ReadableStream<Made>; readonly fail: (error: unknown) => void } {
  let fail = (_: unknown): void => {};
  const arrived = new ReadableStream<Made>({
    start: (to) => {
      fail = (error) => {
        // Something may still be on its way, even from before the error.
        worker.onmessage = null;
        to.error(error);
      };
      worker.onmessage = ({ data }: MessageEvent<Message>) => {
        if ("error" in data) fail(new WorkerError(data.error, data.isOfSource));
        else to.enqueue(data);
      };
      worker.onerror = (event) => {
        event.preventDefault();
        fail(new WorkerError(new Error(event.message), false));
      };
    },
  });
  return { arrived, fail };
}
