/**
 * Running the programs of util-linux and coreutils.
 *
 * @module
 */
import { reasonOf } from "./disk.ts";
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { nameOf } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** What a program answered. */
export interface ProgramResult {
  /** The command line, the program first. */
  readonly argv: readonly string[];
  /** Its exit status; 128 and the signal's number when a signal ended it. */
  readonly status: number;
  /** What it wrote on stdout. */
  readonly stdout: string;
  /** What it wrote on stderr, trimmed. */
  readonly stderr: string;
}

/**
 * The whole environment of every program. Nothing is inherited: Deno refuses to run a program with an
 * inherited `LD_PRELOAD`, and messages are parsed. `LIBMOUNT_FORCE_MOUNT2` because the newer mount
 * interface takes at most 255 bytes of a path list (util-linux 2.39 and later).
 */
const ENVIRONMENT = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  LC_ALL: "C",
  LIBMOUNT_FORCE_MOUNT2: "always",
};

/** How programs are run. */
export interface ProgramOptions {
  /** Is told each command line before it runs. */
  readonly trace?: ((argv: readonly string[]) => void) | undefined;
}

/** How a program is run. */
export interface RunOptions extends ProgramOptions {
  /** The directory it runs in; it must exist. */
  readonly cwd: string;
  /**
   * Whether it will say a great deal, line by line. Deno keeps a buffer of 64 KiB for each piece that it
   * reads meanwhile; this process then only waits, and reads all at once. @default {false}
   */
  readonly buffered?: boolean;
  /** Makes text of stdout. @default {as UTF-8} */
  readonly decode?: (bytes: Uint8Array) => string;
  /** Ends the program with SIGTERM when it is aborted; whether it was is for the caller to see. */
  readonly signal?: AbortSignal | undefined;
}

/** Most programs say nothing, and the first decoder of a process costs its start. */
function textOf(words: Uint8Array): string {
  return words.length === 0 ? "" : new TextDecoder().decode(words);
}

/**
 * Runs a program without a shell and waits for it. A failure of the program itself is in the result.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If the program is not there or cannot be run.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions,
): Promise<ProgramResult> {
  const argv = [program, ...args];
  options.trace?.(argv);
  try {
    const command = new Deno.Command(program, {
      args: [...args],
      cwd: options.cwd,
      clearEnv: true,
      env: ENVIRONMENT,
      stdin: "null",
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const output = await (options.buffered ? command.outputSync() : command.output());
    return {
      argv,
      status: output.code,
      stdout: (options.decode ?? textOf)(output.stdout),
      stderr: textOf(output.stderr).trim(),
    };
  } catch (error) {
    throw startError(program, error);
  }
}

/** What a program is of that is not of coreutils, by its name. */
const ORIGINS: Readonly<Record<string, string>> = {
  mount: "util-linux",
  umount: "util-linux",
  findmnt: "util-linux",
  tar: "GNU tar",
  find: "GNU findutils",
  xz: "XZ Utils",
  zstd: "Zstandard",
};

/** What to throw when a program could not be started; a permission that is missing is told as such. */
function startError(program: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  const origin = ORIGINS[nameOf(program)] ?? "coreutils";
  const isMissing = error instanceof Deno.errors.NotFound;
  const said = reasonOf(error).replace(/^Failed to spawn '.*': /s, "");
  const reason = isMissing ? "it is not there" : said;
  return new OverlayError("failed", `Cannot run ${quote(program)}: ${reason}`, {
    path: program,
    cause: error,
    hint: isMissing ? `install ${origin}` : `it must be the program of ${origin}, and executable`,
  });
}

/** A program that failed, as {@linkcode run} reports it. */
type Failed = Pick<ProgramResult, "status" | "stderr"> & { readonly argv: readonly string[] };

/** How many lines, and characters, of a program's words a message has. */
const WORDS_MAX = { lines: 3, characters: 2000 };

/** Tells how a program ended, with its own words: `cp failed with exit status 1: "…"`. */
export function describeFailure({ argv, status, stderr }: Failed): string {
  const lines = stderr.trim().split(/\s*\n\s*/, WORDS_MAX.lines);
  const words = lines.join(" ").slice(0, WORDS_MAX.characters);
  const said = words === "" ? "" : `: ${quote(words)}`;
  return `${nameOf(argv[0] ?? "")} ${describeStatus(status)}${said}`;
}

function describeStatus(status: number): string {
  if (status > 128) return `was ended by signal ${status - 128}`;
  return status === 0 ? "reported an error" : `failed with exit status ${status}`;
}

/**
 * The error of a program that failed.
 *
 * @param verb What cannot be done, such as `copy`.
 * @param path What it cannot be done to; `null` where the verb tells.
 */
export function programError(
  result: Failed,
  verb: string,
  path: string | null,
  { code = "failed", hint }: { readonly code?: ErrorCode; readonly hint?: string | undefined } = {},
): OverlayError {
  const action = path === null ? verb : `${verb} ${quote(path)}`;
  return new OverlayError(code, `Cannot ${action}: ${describeFailure(result)}`, { path, hint });
}

/**
 * Starts a program with nothing of this process's environment. What it says on stderr must be read.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If it is not there or cannot be run.
 */
export function spawn(
  program: string,
  args: readonly string[],
  how: Pick<Deno.CommandOptions, "stdin" | "stdout" | "signal">,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      ...how,
      args: [...args],
      stderr: "piped",
      clearEnv: true,
      env: { LC_ALL: "C", TZ: "UTC" },
    }).spawn();
  } catch (error) {
    throw startError(program, error);
  }
}

/**
 * Runs a program that reads a text from its stdin, and waits for it.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @param env What it has in its environment besides what every program has.
 * @throws {OverlayError} If the program is not there or cannot be run.
 */
export async function runWithInput(
  program: string,
  args: readonly string[],
  input: string,
  env: Readonly<Record<string, string>> = {},
): Promise<ProgramResult> {
  try {
    const child = new Deno.Command(program, {
      args: [...args],
      cwd: "/",
      clearEnv: true,
      env: { ...ENVIRONMENT, ...env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    // One that does not read has its own words for it.
    const written = new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
    const { code, stdout, stderr } = await child.output();
    await written;
    return {
      argv: [program, ...args],
      status: code,
      stdout: textOf(stdout),
      stderr: textOf(stderr).trim(),
    };
  } catch (error) {
    throw startError(program, error);
  }
}
