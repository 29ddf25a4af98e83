/**
 * Reads a directory as an archive by GNU tar, with owners, modes, times and extended attributes.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { PROGRAMS } from "../system/programs.ts";
import { programError, spawn } from "../system/run.ts";

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
  const args = [...HOW, ...hard, `--directory=${path}`, "."];
  programOptions(options).trace?.([PROGRAMS.tar, ...args]);
  const child = spawn(PROGRAMS.tar, args, { stdin: "null", stdout: "piped" });
  const said = new Response(child.stderr).text();
  try {
    yield* child.stdout;
    const { code } = await child.status;
    if (code === 0) return;
    const hint = "run as a user who may read all of it, such as root";
    const result = { argv: [PROGRAMS.tar], status: code, stderr: await said };
    throw programError(result, "read", path, { hint });
  } finally {
    end(child);
    await said;
  }
}

/** Ends tar, if the caller stops early. */
function end(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}
