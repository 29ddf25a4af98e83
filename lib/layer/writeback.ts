/**
 * Syncs written data in the background while more is written.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The number of bytes after which a sync is started. */
const WORTH = 1 << 26;

/**
 * Syncs written data now and then. Otherwise the kernel would leave the disk idle at first, and the whole sync
 * would be waited for at the end.
 */
export class Writeback implements AsyncDisposable {
  #waiting = 0;
  #sending: Promise<void> | null = null;
  #failure: { readonly cause: unknown } | null = null;
  readonly #send: () => Promise<void>;

  /** @param send Syncs all written data. */
  constructor(send: () => Promise<void>) {
    this.#send = send;
  }

  /**
   * Counts further bytes that were written.
   *
   * @throws {unknown} The error of an earlier sync.
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
   * Waits for the running sync. The kernel reports a disk error once, so that a later sync would not see it.
   *
   * @throws {unknown} The error of the sync.
   */
  async end(): Promise<void> {
    await this.#sending;
    if (this.#failure !== null) throw this.#failure.cause;
  }

  /**
   * Waits for the running sync after a failure or a signal, since it cannot be ended.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sending;
  }
}
