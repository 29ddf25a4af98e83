/**
 * Reads a directory as an archive by GNU tar, with owners, modes, times and extended attributes.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { PROGRAMS } from "../system/programs.ts";
import { describeFailure, programError, spawn } from "../system/run.ts";
import { OverlayError } from "../core/errors.ts";
import { quote } from "../core/quote.ts";
import { textToBytes } from "../tar/tar_entry.ts";

/** The flags of tar by which the same directory always gives the same archive. */
const HOW = [
  "--create",
  "--file=-",
  "--sort=name",
  "--format=posix",
  "--pax-option=delete=atime,delete=ctime",
  "--numeric-owner",
  "--xattrs",
  "--xattrs-include=*",
  "--one-file-system",
];

/** The flags of tar by which it reads patterns from stdin, each the name of one entry. */
const EXCLUDE = ["--anchored", "--no-wildcards", "--exclude-from=-"];

/** The flags of tar by which it reads names from stdin. */
const ONLY = ["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"];

/** The options of reading a directory. */
export interface ArchiveOptions extends Reporter {
  /** Set if each hard link has the content of its file, rather than only the first. @default {false} */
  readonly dereferenceHardLinks?: boolean;
  /** Entries other than directories that are left out, by their paths as bytes. @default {none} */
  readonly exclude?: readonly string[];
  /** The paths that are read, as bytes and in this order, without what lies below them. @default {all} */
  readonly only?: Iterable<string>;
  /** Set if holes of files are left out of the archive. @default {false} */
  readonly sparse?: boolean;
  /** Set if paths that do not exist are left out. @default {they are an error} */
  readonly ignoreMissing?: boolean;
  /** Ends the reading. */
  readonly signal?: AbortSignal | undefined;
}

function chooseFlags(options: ArchiveOptions): readonly string[] {
  return [
    ...(options.dereferenceHardLinks ? ["--hard-dereference"] : []),
    ...(options.sparse ? ["--sparse"] : []),
    ...(options.ignoreMissing ? ["--ignore-failed-read"] : []),
  ];
}

/**
 * Reads a directory as an archive, piece by piece.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar cannot read an entry; with the code `changed` if one was changed meanwhile.
 */
export async function* archiveDirectory(
  path: string,
  options: ArchiveOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { only, signal } = options;
  const names = listNames(options);
  const some = only !== undefined ? ONLY : [...(names === null ? [] : EXCLUDE), "."];
  const args = [...HOW, ...chooseFlags(options), `--directory=${path}`, ...some];
  programOptions(options).trace?.([PROGRAMS.tar, ...args]);
  const stdin = names === null ? "null" : "piped";
  const child = spawn(PROGRAMS.tar, args, { stdin, stdout: "piped" });
  const stop = () => end(child);
  signal?.addEventListener("abort", stop);
  const said = new Response(child.stderr).text();
  const named = names === null ? null : writeNames(child, names);
  try {
    yield* child.stdout;
    const { code } = await child.status;
    signal?.throwIfAborted();
    if (code !== 0) throw readError(path, code, await said);
  } finally {
    signal?.removeEventListener("abort", stop);
    end(child);
    await named;
    await said;
  }
}

/** The size of a write to the stdin of tar. */
const NAMES = 1 << 16;

/** Tells whether tar reads an entry though it is to be left out: its patterns cannot hold the path. */
export function isUnlistable(path: string): boolean {
  return /\n|\s$/.test(path);
}

/** Lists the lines for tar's stdin. It splits patterns at line ends, and strips spaces behind them. */
function listNames({ exclude, only }: ArchiveOptions): Iterable<string> | null {
  if (only !== undefined) return formatNames(only, "\0");
  const fit = exclude?.filter((path) => !isUnlistable(path)) ?? [];
  return fit.length === 0 ? null : formatNames(fit, "\n");
}

function* formatNames(paths: Iterable<string>, end: string): Generator<string> {
  for (const path of paths) yield `./${path}${end}`;
}

/** Writes lines to tar, many at once. */
async function writeNames(
  { stdin }: Deno.ChildProcess,
  lines: Iterable<string>,
): Promise<void> {
  const writer = stdin.getWriter();
  let text = "";
  try {
    for (const line of lines) {
      text += line;
      if (text.length < NAMES) continue;
      await writer.write(textToBytes(text));
      text = "";
    }
    await writer.write(textToBytes(text));
    await writer.close();
  } catch {
    // Tar has ended, and its status tells why.
  }
}

/** The message of tar about a file that was there when it was listed. */
const GONE = /Cannot (stat|open): No such file/;

/** Makes the error of tar; its status 1 means that a file was changed while tar read it. */
function readError(path: string, status: number, stderr: string): OverlayError {
  const result = { argv: [PROGRAMS.tar], status, stderr };
  if (status === 1 || GONE.test(stderr)) return changedError(path, describeFailure(result));
  const hint = "run as a user who may read all of it, such as root";
  return programError(result, "read", path, { hint });
}

/** Makes the error for a directory that something else changes while it is read. */
export function changedError(path: string, reason: string): OverlayError {
  return new OverlayError(
    "changed",
    `Cannot read ${quote(path)}: it was changed meanwhile: ${reason}`,
    {
      path,
      hint: "stop what writes into it, or unmount it, and try again",
    },
  );
}

/** Ends tar, if the caller stops early. */
function end(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}
