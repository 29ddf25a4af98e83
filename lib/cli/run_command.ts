/**
 * A command line of `overlay-render run` as a typed request. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags } from "./args.ts";
import { own } from "./command.ts";
import { ALL_FLAGS } from "./late_flags.ts";
import { commonOptions, requestFields } from "./command.ts";
import type { Common } from "./typed_command.ts";
import type { RunRequest } from "../api/run_request.ts";
import { invalid } from "../core/invalid.ts";

/** Splits `NAME=VALUE`. */
function parseVariable(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw invalid("env", text, "it must be NAME=VALUE");
}

/**
 * Reads the command line of `run`.
 *
 * @param args The arguments after the command's name.
 * @param cwd The directory that relative paths are taken from.
 * @throws {InvalidValueError} If a flag or a value is not allowed.
 */
export function parseRun(
  args: readonly string[],
  cwd: string,
): Common & { readonly request: RunRequest } {
  const hint = "write -- before the command: overlay-render run [FLAGS] -- COMMAND";
  const spec = { command: "run", flags: ALL_FLAGS.run, hint };
  const before = own(args);
  const flags = parseFlags(before, spec);
  const { env, entrypoint, ...fields } = requestFields(spec, flags, cwd);
  const words = args.slice(before.length + 1);
  const request = {
    ...fields,
    ...words.length === 0 ? {} : { cmd: words },
    ...entrypoint === undefined
      ? {}
      : { entrypoint: entrypoint === "" ? [] : [String(entrypoint)] },
    ...env === undefined ? {} : { env: Object.fromEntries((env as string[]).map(parseVariable)) },
  };
  return { ...commonOptions(flags), request };
}
