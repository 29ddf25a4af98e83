/**
 * The answer of a server, whose body is read piece by piece and with a timeout.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { joinSignals } from "../core/lanes.ts";
import { quote } from "../core/quote.ts";
import { connectionError } from "./connection_error.ts";

/** The longest wait between two pieces of a body, in milliseconds. */
const IDLE_MS = 60_000;

/** The largest part of an error's body that is read, in bytes. */
const ERROR_BODY_MAX = 64 * 1024;

/** The size of the buffer for a body, in bytes: with larger pieces, a fetch takes half the time (measured). */
const READ = 1 << 19;

/** Aborts a request when its time is over, or by the signal of the caller. */
export class Timeout {
  /** Aborted when the time is over, or by the caller. */
  readonly signal: AbortSignal;
  /** The longest time in milliseconds between two pieces of a body. */
  readonly idleMs: number;
  readonly #late = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Makes a timeout that is not started. */
  constructor(signal: AbortSignal | undefined, idleMs: number = IDLE_MS) {
    this.idleMs = idleMs;
    this.signal = joinSignals(this.#late.signal, signal);
  }

  /** Starts the time. */
  start(ms: number): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#late.abort(new Error(`nothing came for ${ms / 1000} s`));
    }, ms);
  }

  /** Stops the time. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}

type Body = ReadableStream<Uint8Array<ArrayBuffer>>;

/** Opens a body for reading into one buffer. A body that was made in memory may come in pieces of its own. */
function openBody(
  body: Body,
): Pick<ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, "read" | "cancel"> {
  let reader: ReadableStreamBYOBReader;
  try {
    reader = body.getReader({ mode: "byob" });
  } catch {
    return body.getReader();
  }
  let buffer = new Uint8Array(READ);
  const read = async () => {
    const next = await reader.read(buffer);
    // A read takes the memory away, and gives it back.
    if (next.value !== undefined) buffer = new Uint8Array(next.value.buffer);
    return next as ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
  };
  return { read, cancel: (reason) => reader.cancel(reason) };
}

/** The answer of a server. Its body must be read or dropped. */
export class Answer {
  readonly #response: Response;
  readonly #timeout: Timeout;
  readonly #what: string;
  /** The URL that answered, after all redirects. */
  readonly url: URL;

  /** Takes a response; `what` is the action and its object, for errors. */
  constructor(response: Response, at: { what: string; url: URL; timeout: Timeout }) {
    this.#response = response;
    this.#timeout = at.timeout;
    this.#what = at.what;
    this.url = at.url;
  }

  /** The HTTP status. */
  get status(): number {
    return this.#response.status;
  }

  /** Returns the value of a header; `null` if it is absent. */
  header(name: string): string | null {
    return this.#response.headers.get(name);
  }

  /** Discards the body. */
  async drop(): Promise<void> {
    await this.#response.body?.cancel().catch(() => {});
  }

  /**
   * Reads the body piece by piece. A piece is valid until the next one is requested.
   *
   * @throws {ConnectionError} If the connection fails, or no data arrives for a minute.
   */
  async *pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { body } = this.#response;
    if (body === null) return;
    const reader = openBody(body);
    try {
      for (;;) {
        this.#timeout.start(this.#timeout.idleMs);
        const { done, value } = await reader.read();
        this.#timeout.stop();
        if (done) return;
        yield value;
      }
    } catch (error) {
      throw connectionError(error, this.#what, this.url);
    } finally {
      this.#timeout.stop();
      await reader.cancel().catch(() => {});
    }
  }

  /**
   * Reads the whole body.
   *
   * @throws {OverlayError} If it exceeds the limit.
   * @throws {ConnectionError} If the connection fails.
   */
  async readAll(max: number): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    for await (const piece of this.pieces()) {
      length += piece.length;
      if (length > max) {
        const reason = `the answer of ${quote(this.url.host)} has more than ${max} bytes`;
        throw new OverlayError("too-large", `Cannot ${this.#what}: ${reason}`, {
          hint: "no image needs as much: the registry is not to be trusted",
        });
      }
      pieces.push(piece.slice());
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  /** Reads the beginning of the body as text, for an error; if the connection fails, the status is enough. */
  async readError(): Promise<string> {
    const decoder = new TextDecoder();
    let text = "";
    try {
      for await (const piece of this.pieces()) {
        text += decoder.decode(piece, { stream: true });
        if (text.length > ERROR_BODY_MAX) break;
      }
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
    }
    return text;
  }
}
