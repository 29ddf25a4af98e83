/**
 * A directory as an archive, as GNU tar reads it: with owners, modes, times and extended attributes.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { Reporter } from "../system/change_options.ts";
import { PROGRAMS } from "../system/programs.ts";
import { programError, spawn } from "../system/run.ts";

/** The same directory is the same archive, whenever and wherever it is read. */
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

/** How a directory is read. */
export interface ArchiveOptions extends Reporter {
  /** Set if each name of a file has its content, rather than the first of them only. @default {false} */
  readonly dereferenceHardLinks?: boolean;
}

/**
 * Reads a directory as an archive, piece by piece.
 *
 * Requires `--allow-run` permission for tar.
 *
 * @throws {OverlayError} If tar cannot read something of it.
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

/** Nobody may want the rest. */
function end(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
}
