/**
 * Sending what is written to the disk while more is being written.
 *
 * Requires no permissions.
 *
 * @module
 */

/** How much is worth a program that sends it, in bytes. */
const WORTH = 1 << 26;

/**
 * Sends what is written to the disk, now and then. Else the kernel would leave the disk idle for as long as
 * something is written, and all of it would be waited for in the end.
 */
export class Writeback implements AsyncDisposable {
  #waiting = 0;
  #sending: Promise<void> | null = null;
  #failure: { readonly cause: unknown } | null = null;
  readonly #send: () => Promise<void>;

  /** @param send Sends all that was written. */
  constructor(send: () => Promise<void>) {
    this.#send = send;
  }

  /**
   * So much more was written, in bytes.
   *
   * @throws {unknown} What sending has thrown before.
   */
  wrote(bytes: number): void {
    if (this.#failure !== null) throw this.#failure.cause;
    this.#waiting += bytes;
    if (this.#waiting < WORTH || this.#sending !== null) return;
    this.#waiting = 0;
    this.#sending = this.#send()
      .catch((cause) => void (this.#failure = { cause }))
      .finally(() => this.#sending = null);
  }

  /**
   * Waits for what is being sent. The kernel tells of an error of the disk once, so that the next who sends
   * would not learn of it.
   *
   * @throws {unknown} What sending has thrown.
   */
  async end(): Promise<void> {
    await this.#sending;
    if (this.#failure !== null) throw this.#failure.cause;
  }

  /**
   * Waits, for who has failed meanwhile or was interrupted: a program that sends cannot be ended, and would
   * be left behind.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sending;
  }
}
