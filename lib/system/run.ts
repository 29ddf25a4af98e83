/**
 * Runs the programs of util-linux and coreutils.
 *
 * @module
 */
import { describeError } from "./disk.ts";
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { basename } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** The result of a program. */
export interface ProgramResult {
  /** The command line, the program first. */
  readonly argv: readonly string[];
  /** Its exit status; 128 and the signal's number when a signal ended it. */
  readonly status: number;
  /** Its stdout. */
  readonly stdout: string;
  /** Its stderr, trimmed. */
  readonly stderr: string;
}

/**
 * The whole environment of every program. Nothing is inherited: Deno refuses to run a program with an
 * inherited `LD_PRELOAD`, and messages are parsed. `LIBMOUNT_FORCE_MOUNT2` is set because the newer mount
 * interface takes at most 255 bytes of a path list (util-linux 2.39 and later).
 */
const ENVIRONMENT = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  LC_ALL: "C",
  LIBMOUNT_FORCE_MOUNT2: "always",
};

/** The options for all programs of a run. */
export interface ProgramOptions {
  /** Receives each command line before it runs. */
  readonly trace?: ((argv: readonly string[]) => void) | undefined;
}

/** The options for one program. */
export interface ProgramRun extends ProgramOptions {
  /** The working directory; it must exist. */
  readonly cwd: string;
  /**
   * Set if the program writes many lines. Deno would keep a buffer of 64 KiB for each piece that it reads; so
   * this process waits for the end and reads all at once. @default {false}
   */
  readonly buffered?: boolean;
  /** Decodes stdout. @default {as UTF-8} */
  readonly decode?: (bytes: Uint8Array) => string;
  /** Ends the program with SIGTERM when it is aborted; the caller must check the signal afterwards. */
  readonly signal?: AbortSignal | undefined;
}

/** Decodes output. Most programs write nothing, and the first decoder of a process is slow to make. */
function textOf(words: Uint8Array): string {
  return words.length === 0 ? "" : new TextDecoder().decode(words);
}

/**
 * Runs a program without a shell and waits for it. A failure of the program itself is reported in the result.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If the program does not exist or cannot be run.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: ProgramRun,
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

/** The packages of the programs that do not belong to coreutils. */
const ORIGINS: Readonly<Record<string, string>> = {
  mount: "util-linux",
  umount: "util-linux",
  findmnt: "util-linux",
  tar: "GNU tar",
  find: "GNU findutils",
  xz: "XZ Utils",
  zstd: "Zstandard",
  setpriv: "util-linux",
  unshare: "util-linux",
};

/** Makes the error of a program that could not be started; a missing permission is returned unchanged. */
function startError(program: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  const origin = ORIGINS[basename(program)] ?? "coreutils";
  const isMissing = error instanceof Deno.errors.NotFound;
  const said = describeError(error).replace(/^Failed to spawn '.*': /s, "");
  const reason = isMissing ? "it is not there" : said;
  return new OverlayError("failed", `Cannot run ${quote(program)}: ${reason}`, {
    path: program,
    cause: error,
    hint: isMissing ? `install ${origin}` : `it must be the program of ${origin}, and executable`,
  });
}

/** A program that failed, as {@linkcode run} reports it. */
type Failed = Pick<ProgramResult, "status" | "stderr"> & { readonly argv: readonly string[] };

/** The limits for a program's output in a message. */
const WORDS_MAX = { lines: 3, characters: 2000 };

/** Describes the failure of a program with its own message: `cp failed with exit status 1: "…"`. */
export function describeFailure({ argv, status, stderr }: Failed): string {
  const lines = stderr.trim().split(/\s*\n\s*/, WORDS_MAX.lines);
  const words = lines.join(" ").slice(0, WORDS_MAX.characters);
  const said = words === "" ? "" : `: ${quote(words)}`;
  return `${basename(argv[0] ?? "")} ${describeStatus(status)}${said}`;
}

function describeStatus(status: number): string {
  if (status > 128) return `was ended by signal ${status - 128}`;
  return status === 0 ? "reported an error" : `failed with exit status ${status}`;
}

/**
 * Makes the error of a program that failed.
 *
 * @param verb The action, such as `copy`.
 * @param path The path of the action; `null` if the verb needs none.
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

/** The streams of a program that has those of this process. */
const INHERITED = { stdin: "inherit", stdout: "inherit", stderr: "inherit" } as const;

/** Starts a program, and makes the error of one that cannot be started. */
function startWith(
  program: string,
  args: readonly string[],
  options: Deno.CommandOptions,
): Deno.ChildProcess {
  try {
    return new Deno.Command(program, { ...options, args: [...args] }).spawn();
  } catch (error) {
    throw startError(program, error);
  }
}

/**
 * Starts a program without this process's environment. The caller must read its stderr.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If it does not exist or cannot be run.
 */
export function spawn(
  program: string,
  args: readonly string[],
  how: Pick<Deno.CommandOptions, "stdin" | "stdout" | "signal">,
): Deno.ChildProcess {
  return startWith(program, args, {
    ...how,
    stderr: "piped",
    clearEnv: true,
    env: { LC_ALL: "C", TZ: "UTC" },
  });
}

/** The working directory and the environment of a program that gets those of this process. */
export interface InheritedOptions {
  /** The working directory. @default {that of this process} */
  readonly cwd?: string | undefined;
  /** Further variables of its environment, or others. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/**
 * Lists the variables that Deno hands to no program, each without a value: they change how a program is loaded.
 * They can be known only if the environment may be read.
 */
function withoutLoader(): Record<string, string> {
  if (Deno.permissions.querySync({ name: "env" }).state !== "granted") return {};
  const names = Object.keys(Deno.env.toObject()).filter((name) => /^(LD|DYLD)_/.test(name));
  return Object.fromEntries(names.map((name) => [name, ""]));
}

/**
 * Starts a program in the foreground, with the streams and the environment of this process.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If it does not exist or cannot be run.
 */
export function spawnInherited(
  program: string,
  args: readonly string[],
  { cwd, env }: InheritedOptions = {},
): Deno.ChildProcess {
  return startWith(program, args, {
    ...INHERITED,
    env: { ...withoutLoader(), ...env },
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/**
 * Runs a program that reads a text from its stdin, and waits for it.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @param env Further variables of its environment.
 * @throws {OverlayError} If the program does not exist or cannot be run.
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
    // A program that does not read its stdin reports the reason itself.
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

/** The streams of a program that runs in the foreground. */
export type Streams = Pick<Deno.CommandOptions, "stdin" | "stdout" | "stderr">;

/**
 * Starts a program in the foreground: its streams are those of this process, unless others are named.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If it does not exist or cannot be run.
 */
export function spawnForeground(
  program: string,
  args: readonly string[],
  streams: Streams = {},
): Deno.ChildProcess {
  return startWith(program, args, { ...INHERITED, ...streams, clearEnv: true, env: ENVIRONMENT });
}
