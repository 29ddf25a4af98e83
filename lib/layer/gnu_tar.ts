/**
 * GNU tar, unpacking.
 *
 * @module
 */
import { PROGRAMS } from "../system/programs.ts";
import type { ProgramOptions } from "../system/run.ts";
import { describeFailure, spawn } from "../system/run.ts";
import { ArchiveError, archiveError } from "../tar/archive_error.ts";
import { END_OF_ARCHIVE, formatEntry, PLAIN_DIRECTORY } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";

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

/** A tar that runs, with its streams. */
interface Child {
  readonly process: Deno.ChildProcess;
  readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly said: Promise<Said>;
}

/** How tar is started. */
export interface TarOptions extends ProgramOptions {
  /** Ends it, even when it hangs. */
  readonly signal?: AbortSignal | undefined;
}

/** Tar, unpacking into a directory; it takes what was filtered in pieces large enough to be worth a turn of the event loop. */
export class Tar {
  readonly #root: string;
  readonly #options: TarOptions;
  #child: Child;
  /** One is filled while the other is written. */
  #buffer = new Uint8Array(PIPE);
  #spare = new Uint8Array(PIPE);
  #filled = 0;
  #writing: Promise<void> = Promise.resolve();
  readonly #abort = () => this.#end();
  #unset = 0;

  /** Starts it in a directory. */
  constructor(root: string, options: TarOptions) {
    this.#root = root;
    this.#options = options;
    this.#child = this.#start();
    options.signal?.addEventListener("abort", this.#abort);
    if (options.signal?.aborted) this.#end();
  }

  #start(...more: readonly string[]): Child {
    const args = [...TAR, ...more, `--directory=${this.#root}`];
    this.#options.trace?.([PROGRAMS.tar, ...args]);
    const process = spawn(PROGRAMS.tar, args, { stdin: "piped", stdout: "null" });
    return { process, writer: process.stdin.getWriter(), said: listen(process.stderr) };
  }

  /** How many attributes could not be set, since the file system or the type of file has none such. */
  get unset(): number {
    return this.#unset;
  }

  /**
   * Empties a directory that was unpacked. Tar has no entry for that, but takes away what is in the way of
   * one that it is started for; names go to it in an archive, since they need not be UTF-8.
   */
  async clear(path: string): Promise<void> {
    await this.write([END_OF_ARCHIVE]);
    await this.#finish();
    this.#options.signal?.throwIfAborted();
    this.#child = this.#start("--recursive-unlink");
    const empty = { ...PLAIN_DIRECTORY, mode: 0o700, name: `./${path}` };
    await this.write([...formatEntry(empty), END_OF_ARCHIVE]);
    await this.#finish();
    this.#options.signal?.throwIfAborted();
    this.#child = this.#start();
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
    this.#writing = this.#child.writer.write(full.subarray(0, this.#filled));
    this.#writing.catch(() => {/* Told when it is waited for. */});
    this.#filled = 0;
    [this.#buffer, this.#spare] = [spare, full];
  }

  async #settle(): Promise<void> {
    try {
      await this.#writing;
    } catch {
      // Its end is why, and that says more.
      await this.#wait();
      throw archiveError("tar ended before it had all");
    }
  }

  /** Hands over what is left, and waits for its end. */
  async end(): Promise<void> {
    await this.#finish();
    this.#options.signal?.removeEventListener("abort", this.#abort);
  }

  async #finish(): Promise<void> {
    await this.#flush();
    await this.#settle();
    await this.#child.writer.close().catch(() => {/* It has ended before, and says why. */});
    await this.#wait();
  }

  /** Waits for its end, which must be a good one. */
  async #wait(): Promise<void> {
    const { process, said: listening } = this.#child;
    const [{ code: status }, { text, lost, unset }] = [await process.status, await listening];
    this.#unset += unset;
    if (status === 0 && text === "" && !lost) return;
    const reason = describeFailure({ argv: ["tar"], status, stderr: text });
    throw new ArchiveError("failed", "unpack layer", reason, chooseHint(text, lost));
  }

  /** Ends it; what it has unpacked is for the caller to remove. */
  async kill(): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#end();
    const { process, writer, said } = this.#child;
    // This waits until what is being written was taken, or cannot be any more.
    await writer.abort().catch(() => {/* It has ended. */});
    await Promise.allSettled([process.status, said]);
  }

  #end(): void {
    try {
      this.#child.process.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
}

/**
 * Unpacks entries without content into a directory.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar fails.
 */
export async function unpackEntries(
  root: string,
  entries: readonly TarEntry[],
  options: TarOptions,
): Promise<void> {
  const tar = new Tar(root, options);
  try {
    await tar.write([...entries.flatMap(formatEntry), END_OF_ARCHIVE]);
    await tar.end();
  } catch (error) {
    await tar.kill();
    throw error;
  }
}

function chooseHint(said: string, lost: boolean): string | undefined {
  if (lost) return "run as root, or, in a user namespace, add --userxattr";
  const reason = ATTRIBUTE.exec(said)?.[2];
  if (reason === "Invalid argument") return "make the image again, with a value that Linux takes";
  if (reason !== undefined) {
    return "choose a store on a file system that takes such attributes: --store DIR";
  }
  if (/No space left/.test(said)) return "free some space on the file system of the store";
  if (/Cannot (change ownership|mknod|set)/.test(said)) {
    return "run as root: only root can give files to other users and make what overlayfs needs";
  }
  return undefined;
}

/** The words of tar on stderr, as far as they matter. */
interface Said {
  /** The first of it that is an error, whatever tar thinks of it: of many entries it can say the same. */
  readonly text: string;
  /** Set if the mark of an opaque directory could not be set. */
  readonly lost: boolean;
  /** How many other attributes could not be set, since there are none such here. */
  readonly unset: number;
}

const SAID_MAX = 2000;

/** Tar takes it lightly that an attribute cannot be set, for whatever reason. */
const ATTRIBUTE = /Cannot set '(.*)' extended attribute for file '.*': (.*)/;
const MARK = /^(trusted|user)\.overlay\.opaque$/;

/** The reasons that there are no such attributes: on the file system, for the type of file, or for this user. */
const UNSUPPORTED = ["Operation not supported", "Operation not permitted"];

async function listen(stream: ReadableStream<Uint8Array>): Promise<Said> {
  let [text, rest, lost, unset] = ["", "", false, 0];
  const hear = (line: string) => {
    const [, name = "", reason = ""] = ATTRIBUTE.exec(line) ?? [];
    if (UNSUPPORTED.includes(reason) && !MARK.test(name)) unset++;
    else if (text.length < SAID_MAX) text += `${line}\n`;
    lost ||= MARK.test(name);
  };
  const decoder = new TextDecoder();
  for await (const piece of stream) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(hear);
  }
  if (rest !== "") hear(rest);
  return { text: text.slice(0, SAID_MAX).trimEnd(), lost, unset };
}
