/**
 * Unpacks archives by GNU tar.
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
 * The size of a write to tar, which is that of a pipe. With larger writes tar would wait while this thread
 * works on the next piece (measured).
 */
const PIPE = 1 << 16;

/** The record size of tar, in blocks of 512 bytes. With the default of 10 KiB it is a tenth slower on ext4 (measured). */
const RECORD = PIPE / 512;

/** The options of GNU tar that keep all metadata; the filter has removed everything that is not allowed. */
const TAR = [
  "--extract",
  "--file=-",
  `--blocking-factor=${RECORD}`,
  "--preserve-permissions",
  "--same-owner",
  "--numeric-owner",
  // Names are relative and their directories are real (see layer_filter.ts). Without this, tar replaces symlinks
  // that lead out by placeholder files, which it identifies by inodes that may be reused.
  "--absolute-names",
  // Later entries of a directory must not change its time, in any order of the archive.
  "--delay-directory-restore",
  "--xattrs",
  "--xattrs-include=*",
  // Entries may have any time.
  "--warning=no-timestamp",
];

/** A running tar, with its streams. */
interface Child {
  readonly process: Deno.ChildProcess;
  readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly said: Promise<Said>;
}

/** The options of {@linkcode Tar}. */
export interface TarOptions extends ProgramOptions {
  /** Ends tar, even if it hangs. */
  readonly signal?: AbortSignal | undefined;
}

/** A tar that unpacks into a directory. Filtered data is collected into writes of the size of a pipe. */
export class Tar {
  readonly #root: string;
  readonly #options: TarOptions;
  #child: Child;
  /** The buffer that is filled while another is written. */
  #buffer = new Uint8Array(PIPE);
  #spare = new Uint8Array(PIPE);
  #filled = 0;
  #writing: Promise<void> = Promise.resolve();
  readonly #abort = () => this.#end();
  #unset = 0;

  /** Starts tar in a directory. */
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

  /** The number of attributes that the file system or the type of file does not support. */
  get unset(): number {
    return this.#unset;
  }

  /**
   * Empties an unpacked directory, by a tar that is started to replace it. The path is passed in an archive,
   * since it need not be UTF-8.
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

  /** Writes pieces; settles when more can be written. */
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

  /** Starts to write the buffer, after the last write has ended. */
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
      // The exit of tar is the cause, with a better message.
      await this.#wait();
      throw archiveError("tar ended before it had all");
    }
  }

  /** Writes the rest, and waits until tar ends. */
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

  /** Waits until tar ends, and checks its status. */
  async #wait(): Promise<void> {
    const { process, said: listening } = this.#child;
    const [{ code: status }, { text, lost, unset }] = [await process.status, await listening];
    this.#unset += unset;
    if (status === 0 && text === "" && !lost) return;
    const reason = describeFailure({ argv: ["tar"], status, stderr: text });
    const [, ids] = UNMAPPED.exec(text) ?? [];
    if (ids !== undefined) throw noRangeError(ids);
    throw new ArchiveError("failed", "unpack layer", reason, chooseHint(text, lost));
  }

  /** Ends tar. The caller removes the unpacked files. */
  async kill(): Promise<void> {
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#end();
    const { process, writer, said } = this.#child;
    // Waits until the last write has ended or failed.
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

/** The message for a file of an id that no range of the user namespace has. */
const UNMAPPED = /Cannot change ownership to (uid \d+, gid \d+): Invalid argument/;

function noRangeError(ids: string): ArchiveError {
  const reason = `it has a file of ${ids}, which this user namespace does not have`;
  const hint = "give your user a range of ids: sudo usermod --add-subuids FIRST-LAST " +
    "--add-subgids FIRST-LAST USER; overlay-render doctor names one that is free";
  return new ArchiveError("no-id-range", "unpack layer", reason, hint);
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

/** The relevant messages of tar on stderr. */
interface Said {
  /** The first error, even if tar treats it as a warning; later ones may repeat it. */
  readonly text: string;
  /** Set if the attribute of an opaque directory could not be set. */
  readonly lost: boolean;
  /** The number of other attributes that are not supported here. */
  readonly unset: number;
}

const SAID_MAX = 2000;

/** The message for an attribute that could not be set, which tar treats as a warning. */
const ATTRIBUTE = /Cannot set '(.*)' extended attribute for file '.*': (.*)/;
const MARK = /^(trusted|user)\.overlay\.opaque$/;

/** The messages for attributes not supported by the file system, by the type of file, or for this user. */
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
