/**
 * Running the command as a child process, as its users do.
 *
 * @module
 */
import { BAKED } from "../tools/flags.ts";

const ROOT = new URL("../", import.meta.url).pathname;

/** What is run in the place of `cli.ts` and of this Deno: the one script, or an older Deno with it. */
const SCRIPT = Deno.env.get("OVERLAY_RENDER_SCRIPT") ?? `${ROOT}cli.ts`;
const DENO = Deno.env.get("OVERLAY_RENDER_DENO") ?? Deno.execPath();

/** What the command answered. */
export interface CliResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How the command is run. */
export interface CliOptions {
  /** Flags for `deno run`. @default {all the command can need} */
  readonly flags?: readonly string[];
  /** Variables added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The umask of the process, octal. */
  readonly umask?: string;
  readonly cwd?: string;
  /** A command line put in front, such as `unshare --user`. */
  readonly wrapper?: readonly string[];
}

/** The command line that runs `overlay-render` with these arguments. */
export function commandLine(args: readonly string[], flags: readonly string[] = BAKED): string[] {
  const deno = [DENO, "run", "--quiet", "--no-prompt", `--config=${ROOT}deno.json`];
  return [...deno, ...flags, SCRIPT, ...args];
}

/** Runs `overlay-render` with these arguments. */
export async function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const deno = commandLine(args, options.flags);
  const masked = options.umask === undefined
    ? deno
    : ["sh", "-c", `umask ${options.umask} && exec "$@"`, "sh", ...deno];
  const [program = "", ...rest] = [...(options.wrapper ?? []), ...masked];
  const output = await new Deno.Command(program, {
    args: rest,
    stdin: "null",
    env: { NO_COLOR: "1", RUST_BACKTRACE: "0", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  }).output();
  return {
    status: output.code,
    stdout: new TextDecoder().decode(output.stdout),
    stderr: new TextDecoder().decode(output.stderr),
  };
}
