/**
 * Reads a directory as an archive by GNU tar, with owners, modes, times and extended attributes.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { PROGRAMS } from "../system/programs.ts";
import { programError, spawn } from "../system/run.ts";
import type { OverlayError } from "../core/errors.ts";
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

/** The options of reading a directory. */
export interface ArchiveOptions extends Reporter {
  /** Set if each hard link has the content of its file, rather than only the first. @default {false} */
  readonly dereferenceHardLinks?: boolean;
  /** Entries other than directories that are left out, by their paths as bytes. @default {none} */
  readonly exclude?: readonly string[];
  /** The paths that are read, as bytes, without what is in a directory. @default {all} */
  readonly only?: readonly string[];
}

/** The flags of tar by which it reads patterns from stdin, each the name of one entry. */
const EXCLUDE = ["--anchored", "--no-wildcards", "--exclude-from=-"];

/** The flags of tar by which it reads names from stdin. */
const ONLY = ["--no-recursion", "--null", "--verbatim-files-from", "--files-from=-"];

/** Formats the names for tar's stdin. It splits patterns at line ends, and strips spaces behind them. */
function formatNames({ exclude, only }: ArchiveOptions): Uint8Array<ArrayBuffer> | null {
  if (only !== undefined) return textToBytes(only.map((path) => `./${path}\0`).join(""));
  const fit = exclude?.filter((path) => !/\n|\s$/.test(path)) ?? [];
  return fit.length === 0 ? null : textToBytes(fit.map((path) => `./${path}\n`).join(""));
}

/**
 * Reads a directory as an archive, piece by piece.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar cannot read an entry.
 */
export async function* archiveDirectory(
  path: string,
  options: ArchiveOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const hard = options.dereferenceHardLinks ? ["--hard-dereference"] : [];
  const names = formatNames(options);
  const some = options.only !== undefined ? ONLY : [...(names === null ? [] : EXCLUDE), "."];
  const args = [...HOW, ...hard, `--directory=${path}`, ...some];
  programOptions(options).trace?.([PROGRAMS.tar, ...args]);
  const stdin = names === null ? "null" : "piped";
  const child = spawn(PROGRAMS.tar, args, { stdin, stdout: "piped" });
  const said = new Response(child.stderr).text();
  // A tar that ends before it has read all names says why.
  const written = names === null ? null : write(child.stdin, names).catch(() => {});
  try {
    yield* child.stdout;
    const { code } = await child.status;
    if (code !== 0) throw readError(path, { status: code, stderr: await said });
  } finally {
    end(child);
    await Promise.all([said, written]);
  }
}

async function write(stream: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<void> {
  const writer = stream.getWriter();
  await writer.write(bytes);
  await writer.close();
}

/** The messages of tar about an entry that changes, shrinks or goes while it is read. */
const CHANGED = /file changed as we read it|File removed before we read it|File shrank by/;

function readError(
  path: string,
  failed: { readonly status: number; readonly stderr: string },
): OverlayError {
  const result = { argv: [PROGRAMS.tar], ...failed };
  if (CHANGED.test(failed.stderr)) {
    const hint = "stop what writes there, such as an app, or unmount it, and run this again";
    return programError(result, "read", path, { code: "changed", hint });
  }
  const hint = "run as a user who may read all of it, such as root";
  return programError(result, "read", path, { hint });
}

/** Ends tar, if the caller stops early. */
function end(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}
