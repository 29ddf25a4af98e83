/**
 * GNU tar, unpacking.
 *
 * @module
 */
import { OverlayError } from "./errors.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import type { ProgramOptions } from "./run.ts";
import { archiveError } from "./tar_reader.ts";

/**
 * How much tar is given at once: what a pipe holds. While this thread works on the next piece nothing is
 * written, so with more than that tar would wait for the rest (measured).
 */
const PIPE = 1 << 16;

/** The options of GNU tar by which a layer keeps all it has; what it must not have is gone by now. */
const TAR = [
  "--extract",
  "--file=-",
  "--preserve-permissions",
  "--same-owner",
  "--numeric-owner",
  // What comes later into a directory must not change its time, in whatever order an archive is.
  "--delay-directory-restore",
  "--xattrs",
  "--xattrs-include=*",
];

/** Tar, unpacking into a directory; it takes what was filtered in pieces large enough to be worth a turn of the event loop. */
export class Tar {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #said: Promise<string>;
  /** One is filled while the other is written. */
  #buffer = new Uint8Array(PIPE);
  #spare = new Uint8Array(PIPE);
  #filled = 0;
  #writing: Promise<void> = Promise.resolve();

  /** Starts it in a directory. */
  constructor(root: string, { trace }: ProgramOptions) {
    const args = [...TAR, `--directory=${root}`];
    trace?.([PROGRAMS.tar, ...args]);
    this.#child = new Deno.Command(PROGRAMS.tar, {
      args,
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
      clearEnv: true,
      env: { LC_ALL: "C", TZ: "UTC" },
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#said = beginning(this.#child.stderr);
  }

  /** Hands over pieces; settles when more can be taken. */
  async write(pieces: readonly Uint8Array[]): Promise<void> {
    for (let piece of pieces) {
      while (piece.length > 0) {
        const part = piece.subarray(0, PIPE - this.#filled);
        this.#buffer.set(part, this.#filled);
        this.#filled += part.length;
        piece = piece.subarray(part.length);
        if (this.#filled === PIPE) await this.#flush();
      }
    }
  }

  /** Starts to hand over what there is, and waits for what was handed over before. */
  async #flush(): Promise<void> {
    const [full, spare] = [this.#buffer, this.#spare];
    await this.#settle();
    this.#writing = this.#writer.write(full.subarray(0, this.#filled));
    this.#writing.catch(() => {/* Told when it is waited for. */});
    this.#filled = 0;
    [this.#buffer, this.#spare] = [spare, full];
  }

  async #settle(): Promise<void> {
    try {
      await this.#writing;
    } catch {
      // Its end is why, and that says more.
      await this.#finish();
      throw archiveError("tar ended before it had all");
    }
  }

  /** Hands over what is left, and waits for its end. */
  async end(): Promise<void> {
    await this.#flush();
    await this.#settle();
    await this.#writer.close();
    await this.#finish();
  }

  async #finish(): Promise<void> {
    const [{ code }, said] = [await this.#child.status, await this.#said];
    if (code === 0) return;
    throw new OverlayError("failed", `Cannot unpack layer: tar said ${quote(printable(said))}`, {
      hint: hintOf(said),
    });
  }

  /** Ends it; what it has unpacked is for the caller to remove. */
  async kill(): Promise<void> {
    await this.#writer.abort().catch(() => {/* It may have ended. */});
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await Promise.allSettled([this.#child.status, this.#said]);
  }
}

function hintOf(said: string): string | undefined {
  if (/No space left/.test(said)) return "free some space on the file system of the store";
  if (/Cannot (change ownership|mknod|set)/.test(said)) {
    return "run as root: only root can give files to other users and make what overlayfs needs";
  }
  return undefined;
}

const SAID_MAX = 2000;

/** The first of what it says: of many entries it can say the same. */
async function beginning(stream: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const piece of stream) {
    if (text.length < SAID_MAX) text += decoder.decode(piece, { stream: true });
  }
  return text.slice(0, SAID_MAX);
}
