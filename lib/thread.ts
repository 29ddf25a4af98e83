/**
 * Working on pieces in a thread of its own.
 *
 * @module
 */

/** A part of a stream of bytes. */
export type Piece = Uint8Array<ArrayBuffer>;

/**
 * Makes other pieces of pieces, and says something of them in the end. It must stand on its own: it may name
 * nothing of its module, since its text is what a thread is started with. A bundler may give its names
 * others, and must not put helpers of its own into it.
 */
export type Transform<How, Result> = (
  pieces: AsyncIterable<Piece>,
  how: How,
) => AsyncGenerator<Piece, Result>;

/** How many pieces may be on their way to the other side: it has always something to do, and never much to keep. */
const WINDOW = 32;

/** What a thread and who started it have of each other. */
interface Port {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer: Transferable[]): void;
}

/** One end of the line between two threads. */
interface Line {
  /** Sends a piece, which is gone here after that; settles when it is on its way. */
  readonly send: (piece: Piece) => Promise<void>;
  /** Says that there are no more pieces, and the last word, or why. */
  readonly end: (last: { readonly word: unknown } | { readonly error: unknown }) => void;
  /** What comes from the other end, and its last word. */
  readonly received: () => AsyncGenerator<Piece, unknown>;
  /** Makes what is received fail. */
  readonly fail: (error: unknown) => void;
}

/** Opens an end of a line. It stands on its own, see {@linkcode Transform}. */
function openLine(port: Port, window: number): Line {
  let [free, tell, word]: [number, () => void, unknown] = [window, () => {}, null];
  let fail = (_: unknown): void => {};
  const arrived = new ReadableStream<Piece>({
    start: (to) => {
      fail = (error) => {
        // What is still on its way is for nobody.
        port.onmessage = null;
        to.error(error);
      };
      port.onmessage = ({ data }) => {
        if (data instanceof Uint8Array) return to.enqueue(data as Piece);
        if (data === null) return free++, tell();
        if ("error" in data) return fail(data.error);
        word = data.word;
        to.close();
      };
    },
  });
  return {
    send: async (piece) => {
      while (free === 0) await new Promise<void>((resolve) => tell = resolve);
      free--;
      const isAll = piece.length === piece.buffer.byteLength;
      const sent = new Uint8Array(isAll ? piece.buffer : piece);
      port.postMessage(sent, [sent.buffer]);
    },
    end: (last) => port.postMessage(last, []),
    received: async function* (): AsyncGenerator<Piece, unknown> {
      // Who wants no more is not to hear of what went wrong meanwhile.
      for await (const piece of arrived.values({ preventCancel: true })) {
        yield piece;
        // One was taken.
        port.postMessage(null, []);
      }
      return word;
    },
    fail,
  };
}

/** What a thread does. It stands on its own, see {@linkcode Transform}. */
async function serve<How, Result>(
  line: Line,
  transform: Transform<How, Result>,
  how: How,
): Promise<void> {
  try {
    const made = transform(line.received(), how);
    for (let next = await made.next();; next = await made.next()) {
      if (next.done) return line.end({ word: next.value });
      await line.send(next.value);
    }
  } catch (error) {
    // Uncaught, it would also be written to stderr.
    line.end({ error });
  }
}

/**
 * Lets a thread of its own make pieces of pieces. The thread is started with a text and not from a file,
 * which would ask for a permission to read this library; it costs some 25 ms, on another processor.
 *
 * @param transform What the thread does.
 * @param pieces What it gets; those that are all of their buffer are gone after that.
 * @param how What the transform is told; a value of JSON.
 * @returns What it makes, and says in the end. Who wants no more of it ends the thread; to close the pieces
 * is for who made them.
 * @throws {Error} If it fails, or reading the pieces does.
 */
export async function* apart<How, Result>(
  transform: Transform<How, Result>,
  pieces: AsyncIterable<Piece>,
  how: How,
): AsyncGenerator<Piece, Result> {
  const line = `(${openLine})(self, ${WINDOW})`;
  const text = `(${serve})(${line}, ${transform}, ${JSON.stringify(how)});`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(text)}`, { type: "module" });
  try {
    const { send, end, received, fail } = openLine(worker, WINDOW);
    worker.onerror = (event) => {
      event.preventDefault();
      fail(new Error(event.message));
    };
    const feed = async () => {
      for await (const piece of pieces) await send(piece);
      end({ word: null });
    };
    feed().catch(fail);
    return await (yield* received()) as Result;
  } finally {
    worker.terminate();
  }
}
