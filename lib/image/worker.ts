/**
 * Processes a stream in a worker.
 *
 * @module
 */

/** A part of a stream of bytes, valid until the next one is requested. */
export type Piece = Uint8Array<ArrayBuffer>;

/** A stream of pieces. */
export type Pieces = AsyncIterable<Piece> | Iterable<Piece>;

/**
 * The work of a worker. Its functions must be self-contained and use no name of their module, since the worker
 * is started with their text. A bundler may rename them, but must not add helpers to them.
 */
export interface Work<How, Result> {
  /** Produces the pieces; `null` if the caller sends them, see {@linkcode WorkerOptions.pieces}. */
  readonly source: ((how: How) => Iterable<Piece>) | null;
  /** Transforms the pieces, and returns a result. */
  readonly transform: (pieces: Pieces, how: How) => AsyncGenerator<Piece, Result>;
  /** The argument of both; a value that can be cloned. */
  readonly how: How;
}

/** The number of pieces in flight, so that the worker is never idle and keeps little in memory. */
const WINDOW = 32;

/** The number of pieces that are acknowledged at once. */
const ACKNOWLEDGED = WINDOW / 4;

/** The failure of a worker; its cause is the error of the work. */
export class WorkerError extends Error {
  override readonly name = "WorkerError";
  /** Set if the source failed. */
  readonly isOfSource: boolean;

  constructor(cause: unknown, isOfSource: boolean) {
    super("A thread has failed", { cause });
    this.isOfSource = isOfSource;
  }
}

/** The options of a worker. */
export interface WorkerOptions {
  /** Ends the worker. */
  readonly signal?: AbortSignal | undefined;
  /** Called with the number of further bytes that the worker read from the source, repeatedly. */
  readonly onRead?: ((bytes: number) => void) | undefined;
  /** The pieces of a work without a source. They are given away: the worker gets their memory. */
  readonly pieces?: AsyncIterable<Piece>;
}

/** A piece of a worker, or at the end its result. */
interface Made {
  readonly piece: Piece | null;
  readonly word: unknown;
  /** The number of bytes that it has read so far. */
  readonly read: number;
}

/** A message of a worker: a piece, the number of sent pieces that it took, or the error that ended it. */
type Message =
  | Made
  | { readonly accepted: number }
  | { readonly error: unknown; readonly isOfSource: boolean };

/** A message to a worker: the number of its pieces that were taken, or a piece, `null` after the last one. */
type Reply = number | { readonly sent: Piece | null };

/** The port of a worker to the thread that started it. */
interface Port<How> {
  /** Receives the argument first, and then replies. */
  onmessage: ((event: MessageEvent<How & Reply>) => void) | null;
  postMessage(message: Message, transfer?: Transferable[]): void;
}

/** Runs in the worker. It is self-contained, see {@linkcode Work}. */
async function serve<How, Result>(
  port: Port<How>,
  window: number,
  { source, transform }: Omit<Work<How, Result>, "how">,
): Promise<void> {
  const how = await new Promise<How>((resolve) => port.onmessage = ({ data }) => resolve(data));
  let [free, tell, arrive, read, isOfSource] = [window, () => {}, () => {}, 0, false];
  const arrived: (Piece | null)[] = [];
  port.onmessage = ({ data }: MessageEvent<Reply>) => {
    if (typeof data === "number") free += data;
    else arrived.push(data.sent);
    (typeof data === "number" ? tell : arrive)();
  };
  const received = async function* (): AsyncGenerator<Piece> {
    for (;;) {
      while (arrived.length === 0) await new Promise<void>((resolve) => arrive = resolve);
      const piece = arrived.shift() ?? null;
      if (piece === null) return;
      yield piece;
      piece.buffer.transfer(0);
      port.postMessage({ accepted: 1 });
    }
  };
  const counted = function* (): Generator<Piece> {
    try {
      for (const piece of source?.(how) ?? []) {
        read += piece.length;
        yield piece;
      }
    } catch (error) {
      isOfSource = true;
      throw error;
    }
  };
  try {
    const made = transform(source === null ? received() : counted(), how);
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
 * Processes pieces in a worker. The worker is started from a text, since a file would need read permission for
 * this library. The start takes some 25 ms, on another processor.
 *
 * Requires the permissions of the work.
 *
 * @returns The pieces and the result of the worker. A piece is valid until the next one is requested. If the
 * caller stops early, the worker is ended.
 * @throws {WorkerError} If the work fails.
 * @throws {unknown} The reason of the signal.
 */
export async function* runInWorker<How, Result>(
  { source, transform, how }: Work<How, Result>,
  { signal, onRead, pieces }: WorkerOptions = {},
): AsyncGenerator<Piece, Result> {
  signal?.throwIfAborted();
  // The same text for all streams: Deno keeps the compiled code of each text.
  const text = `(${serve})(self, ${WINDOW}, { source: ${source}, transform: ${transform} });`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(text)}`, { type: "module" });
  worker.postMessage(how);
  const outbox = new Outbox(worker);
  const { arrived, fail } = listen(worker, outbox);
  if (pieces !== undefined) outbox.send(pieces).catch(fail);
  const abort = () => fail(signal?.reason);
  signal?.addEventListener("abort", abort);
  let [told, taken] = [0, 0];
  try {
    // If the caller stops early, later errors are dropped.
    for await (const { piece, read, word } of arrived.values({ preventCancel: true })) {
      if (read > told) onRead?.(read - told);
      told = read;
      if (piece === null) return word as Result;
      yield piece;
      // Frees the memory at once; otherwise the garbage collector would run often.
      piece.buffer.transfer(0);
      if (++taken % ACKNOWLEDGED === 0) worker.postMessage(ACKNOWLEDGED);
    }
    // A worker ends with a result, or fails.
    throw new TypeError("A thread has ended without a word");
  } finally {
    signal?.removeEventListener("abort", abort);
    worker.terminate();
    // Lets the sender see that nothing takes its pieces any more.
    outbox.close();
    await outbox.sent;
  }
}

/** Sends pieces to a worker, at most {@linkcode WINDOW} ahead of it. */
class Outbox {
  readonly #worker: Worker;
  #free = WINDOW;
  #isClosed = false;
  #tell = () => {};
  /** Settles when the last piece was sent, or the pieces failed. */
  sent: Promise<void> = Promise.resolve();

  constructor(worker: Worker) {
    this.#worker = worker;
  }

  /** Notes that the worker has taken pieces. */
  accept(count: number): void {
    this.#free += count;
    this.#tell();
  }

  /** Stops the sending. */
  close(): void {
    this.#isClosed = true;
    this.#tell();
  }

  /** Sends pieces until the last one, or until the outbox is closed. */
  send(pieces: AsyncIterable<Piece>): Promise<void> {
    const sending = this.#sendAll(pieces);
    this.sent = sending.catch(() => {/* Told by the result. */});
    return sending;
  }

  async #sendAll(pieces: AsyncIterable<Piece>): Promise<void> {
    for await (const piece of pieces) {
      while (this.#free === 0 && !this.#isClosed) {
        await new Promise<void>((resolve) => this.#tell = resolve);
      }
      if (this.#isClosed) return;
      this.#free--;
      this.#post({ sent: piece }, [piece.buffer]);
    }
    this.#post({ sent: null }, []);
  }

  #post(reply: Reply, transfer: Transferable[]): void {
    this.#worker.postMessage(reply, transfer);
  }
}

/** Receives the pieces of a worker, with a function that makes them fail. */
function listen(
  worker: Worker,
  outbox: Outbox,
): { readonly arrived: ReadableStream<Made>; readonly fail: (error: unknown) => void } {
  let fail = (_: unknown): void => {};
  const arrived = new ReadableStream<Made>({
    start: (to) => {
      fail = (error) => {
        // Messages may still be in flight, even from before the error.
        worker.onmessage = null;
        to.error(error);
      };
      worker.onmessage = ({ data }: MessageEvent<Message>) => {
        if ("error" in data) fail(new WorkerError(data.error, data.isOfSource));
        else if ("accepted" in data) outbox.accept(data.accepted);
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
