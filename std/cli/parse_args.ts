import { parseArgs as untyped } from "npm:deno-std@1.3.1/cli/parse_args.js";

export interface ParseOptions {
  "--"?: boolean;
  alias?: Record<string, string | readonly string[]>;
  boolean?: boolean | string | readonly string[];
  collect?: string | readonly string[];
  default?: Record<string, unknown>;
  negatable?: string | readonly string[];
  stopEarly?: boolean;
  string?: string | readonly string[];
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The real type follows the options; this one makes the caller narrow, which also suits that one. */
export type Args = { [name: string]: unknown; _: (string | number)[] };

export const parseArgs: (args: string[], options?: ParseOptions) => Args = untyped;
