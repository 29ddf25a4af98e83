/**
 * GNU tar, unpacking.
 *
 * @module
 */
import { OverlayError } from "./errors.ts";
import { PROGRAMS } from "./permissions.ts";
import { printable, quote } from "./quote.ts";
import type { ProgramOptions } from "./run.ts";
import { spawn } from "./spawn.ts";
import { archiveError } from "./archive_error.ts";

/**
 * How much tar is given at once: what a pipe holds. While this thread works on the next piece nothing is
 * written, so with more than that tar would wait for the rest (measured).
 */
const PIPE = 1 << 16;

/** In blocks of 512 bytes: in pieces of 10 KiB, as by default, tar writes a tenth slower to ext4 (measured). */
const RECORD = PIPE / 512;

/** The options of GNU tar by which a layer keeps all it has; what it must not have is gone by now. */
const TAR = [
  "--extract",
  "--file=-",
  `--blocking-factor=${RECORD}`,
  "--preserve-permissions",
  "--same-owner",
  "--numeric-owner",
  // Names are relative and their directories are real (see layer_filter.ts). Else tar would put off a symlink that
  // leads out behind a file that it knows again by its inode, which may be another entry's by then.
  "--absolute-names",
  // What comes later into a directory must not change its time, in whatever order an archive is.
  "--delay-directory-restore",
  "--xattrs",
  "--xattrs-include=*",
  // An image is made at any time.
  "--warning=no-timestamp",
];

/** Tar, unpacking into a directory; it takes what was filtered in pieces large enough to be worth a turn of the event loop. */
export class Tar {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #said: Promise<Said>;
  /** One is filled while the other is written. */
  #buffer = new Uint8Array(PIPE);
  #spare = new Uint8Array(PIPE);
  #filled = 0;
  #writing: Promise<void> = Promise.resolve();
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.#end();

  /** Starts it in a directory; the signal ends it, even when it hangs. */
  constructor(
    root: string,
    { trace, signal }: ProgramOptions & { signal?: AbortSignal | undefined },
  ) {
    const args = [...TAR, `--directory=${root}`];
    trace?.([PROGRAMS.tar, ...args]);
    this.#child = spawn(PROGRAMS.tar, args, { stdin: "piped", stdout: "null" });
    this.#writer = this.#child.stdin.getWriter();
    this.#said = listen(this.#child.stderr);
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) this.#end();
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
    await this.#writer.close().catch(() => {/* It has ended before, and says why. */});
    await this.#finish();
  }

  async #finish(): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#abort);
    const [{ code, signal }, { text, lost }] = [await this.#child.status, await this.#said];
    if (code === 0 && !lost) return;
    const said = text === "" && signal !== null
      ? `tar was ended by ${signal}`
      : `tar said ${quote(printable(text))}`;
    throw new OverlayError("failed", `Cannot unpack layer: ${said}`, { hint: hintOf(text, lost) });
  }

  /** Ends it; what it has unpacked is for the caller to remove. */
  async kill(): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#end();
    // This waits until what is being written was taken, or cannot be any more.
    await this.#writer.abort().catch(() => {/* It has ended. */});
    await Promise.allSettled([this.#child.status, this.#said]);
  }

  #end(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

function hintOf(said: string, lost: boolean): string | undefined {
  if (lost) return "run as root, or, in a user namespace, add --userxattr";
  if (/No space left/.test(said)) return "free some space on the file system of the store";
  if (/Cannot (change ownership|mknod|set)/.test(said)) {
    return "run as root: only root can give files to other users and make what overlayfs needs";
  }
  return undefined;
}

/** What tar said. */
interface Said {
  /** The first of it: of many entries it can say the same. */
  readonly text: string;
  /** Whether the mark of an opaque directory could not be set, which tar takes lightly. */
  readonly lost: boolean;
}

const SAID_MAX = 2000;
const LOST = /Cannot set '(trusted|user)\.overlay\.opaque'/;

async function listen(stream: ReadableStream<Uint8Array>): Promise<Said> {
  let [text, recent, lost] = ["", "", false];
  const decoder = new TextDecoder();
  for await (const piece of stream) {
    const words = decoder.decode(piece, { stream: true });
    if (text.length < SAID_MAX) text += words;
    // What is looked for may be in two pieces.
    recent = recent.slice(-100) + words;
    lost ||= LOST.test(recent);
  }
  return { text: text.slice(0, SAID_MAX), lost };
}
