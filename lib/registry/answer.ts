/**
 * The answer of a server: its body comes piece by piece, and not for ever.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { connectionError } from "./connection_error.ts";

/** The longest wait between two pieces of a body, in milliseconds. */
const IDLE_MS = 60_000;

/** The most of the body of an error that is read. */
const ERROR_BODY_MAX = 64 * 1024;

/** Aborts what takes too long, and with the signal of the caller. */
export class Timeout {
  /** Aborted when the time is over, or by the caller. */
  readonly signal: AbortSignal;
  readonly #late = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Begins with no time set. */
  constructor(signal: AbortSignal | undefined) {
    this.signal = AbortSignal.any([this.#late.signal, ...(signal === undefined ? [] : [signal])]);
  }

  /** Sets the time, from now on. */
  start(ms: number): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#late.abort(new Error(`nothing came for ${ms / 1000} s`));
    }, ms);
  }

  /** Takes the time back. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** The answer of a server. Its body must be read or dropped. */
export class Answer {
  readonly #response: Response;
  readonly #timeout: Timeout;
  readonly #what: string;
  /** The URL that answered, the last one of redirects. */
  readonly url: URL;

  /** Takes a response; `what` is the action and its thing, for errors. */
  constructor(response: Response, at: { what: string; url: URL; timeout: Timeout }) {
    this.#response = response;
    this.#timeout = at.timeout;
    this.#what = at.what;
    this.url = at.url;
  }

  /** The status of HTTP. */
  get status(): number {
    return this.#response.status;
  }

  /** The value of a header; `null` where it has none. */
  header(name: string): string | null {
    return this.#response.headers.get(name);
  }

  /** Lets the body go. */
  async drop(): Promise<void> {
    await this.#response.body?.cancel().catch(() => {});
  }

  /**
   * The pieces of the body.
   *
   * @throws {ConnectionError} If the connection fails, or nothing comes for a minute.
   */
  async *pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const reader = this.#response.body?.getReader();
    try {
      for (;;) {
        this.#timeout.start(IDLE_MS);
        const next = await reader?.read();
        this.#timeout.stop();
        if (next === undefined || next.done) return;
        yield next.value;
      }
    } catch (error) {
      throw connectionError(error, this.#what, this.url);
    } finally {
      this.#timeout.stop();
      await reader?.cancel().catch(() => {});
    }
  }

  /**
   * Reads the body whole.
   *
   * @throws {OverlayError} If it has more bytes than it may have.
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
      pieces.push(piece);
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  /** The beginning of the body as text, for an error; the status says enough where it is cut off. */
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
