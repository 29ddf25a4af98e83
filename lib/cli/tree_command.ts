/**
 * A command line of `overlay-render tree` as a typed command. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags } from "./args.ts";
import type { Flags, FlagSpec } from "./args.ts";
import { parseDuration } from "../core/duration.ts";
import { InvalidValueError } from "../core/errors.ts";
import type { ImportRequest } from "../store/import_request.ts";
import { absolute } from "./command.ts";
import type { OutputOptions, TreeAction } from "./command.ts";
import { parseSize } from "../core/size.ts";
import type { CheckRequest } from "../store/tree_check.ts";
import type { CollectTreesRequest } from "../store/tree_removal.ts";
import type { StoreRequest, TreeChoice } from "../store/list.ts";
import { quote } from "../core/quote.ts";

/** How long a command waits for another one that changes the store, in milliseconds. */
interface Waiting {
  /** The wait. @default {10 minutes} */
  readonly waitMs?: number;
}

/** What to do with the tree store. */
export type TreeCommand =
  & Waiting
  & { readonly voice: OutputOptions }
  & (
    | { readonly action: "import"; readonly request: ImportRequest }
    | { readonly action: "list"; readonly request: StoreRequest }
    | { readonly action: "path" | "remove"; readonly request: TreeChoice }
    | { readonly action: "check"; readonly request: CheckRequest }
    | { readonly action: "gc"; readonly request: CollectTreesRequest }
  );

function specOf(action: TreeAction): FlagSpec {
  const base = {
    command: `tree ${action}`,
    single: ["store", "wait"],
    repeated: [],
    boolean: ["json", "quiet", "verbose", "help"],
    emptyAllowed: [],
    alias: { h: "help", q: "quiet" },
  };
  switch (action) {
    case "import":
      return {
        ...base,
        operands: ["SOURCE"],
        single: [...base.single, "ref", "platform", "name", "strip", "max-size", "max-entries"],
        boolean: [...base.boolean, "userxattr"],
      };
    case "list":
      return { ...base, single: ["store"] };
    case "path":
      return { ...base, single: ["store"], operands: ["ID"] };
    case "remove":
      return { ...base, operands: ["ID"] };
    case "check":
      return { ...base, single: ["store"], operands: ["ID"], boolean: [...base.boolean, "quick"] };
    case "verify-all":
      return { ...base, single: ["store"], boolean: [...base.boolean, "quick"] };
    case "gc":
      return {
        ...base,
        boolean: [...base.boolean, "dry-run"],
        alias: { ...base.alias, n: "dry-run" },
      };
  }
}

function importOf(flags: Flags, store: StoreRequest, cwd: string): ImportRequest {
  const one = (name: string) => flags.values[name]?.[0];
  const [source = ""] = flags.operands;
  const entries = one("max-entries");
  const size = one("max-size");
  const all = {
    ref: one("ref"),
    platform: one("platform"),
    name: one("name"),
    // The library checks the words.
    strip: one("strip")?.split(",") as ImportRequest["strip"],
    userxattr: flags.set.has("userxattr") ? true : undefined,
    maxBytes: size === undefined ? undefined : parseSize("maximal size", size),
    maxEntries: entries === undefined ? undefined : parseCount(entries),
  };
  const given = Object.entries(all).filter(([, value]) => value !== undefined);
  return {
    source: source === "-" || source === "" ? source : absolute(source, cwd),
    ...store,
    ...Object.fromEntries(given),
  };
}

/** Flags that earlier versions had. */
const REMOVED = /^--allow-(devices|setuid)(=|$)/;

/** A flag of an earlier version gets an error that names the one of today. */
function refuseRemoved(args: readonly string[]): void {
  for (const argument of args) {
    const [, part] = REMOVED.exec(argument) ?? [];
    if (part === undefined) continue;
    const reason = `tree import keeps ${part} by default`;
    throw new InvalidValueError("usage", `Cannot use flag ${quote(argument)}: ${reason}`, {
      hint: `leave it out; --strip ${part} is the opposite`,
    });
  }
}

function parseCount(value: string): number {
  if (/^[1-9]\d{0,15}$/.test(value)) return Number(value);
  throw new InvalidValueError(
    "invalid-value",
    `Cannot use maximal entries ${quote(value)}: it must be a whole number above 0`,
  );
}

/**
 * Reads what follows `overlay-render tree ACTION`.
 *
 * @throws {InvalidValueError} If a flag or a value is not one that is allowed.
 */
export function parseTreeCommand(
  action: TreeAction,
  args: readonly string[],
  cwd: string,
): TreeCommand {
  if (action === "import") refuseRemoved(args);
  const flags = parseFlags(args, specOf(action));
  const voice = {
    json: flags.set.has("json"),
    quiet: flags.set.has("quiet"),
    verbose: flags.set.has("verbose"),
  };
  const path = flags.values.store?.[0];
  const wait = flags.values.wait?.[0];
  const store: StoreRequest = path === undefined ? {} : { store: absolute(path, cwd) };
  const common = { voice, ...(wait === undefined ? {} : { waitMs: parseDuration("wait", wait) }) };
  const quick = flags.set.has("quick") ? { quick: true } : {};
  const [tree = ""] = flags.operands;
  switch (action) {
    case "import":
      return { ...common, action, request: importOf(flags, store, cwd) };
    case "list":
      return { ...common, action, request: store };
    case "path":
    case "remove":
      return { ...common, action, request: { ...store, tree } };
    case "check":
      return { ...common, action, request: { ...store, ...quick, tree } };
    case "verify-all":
      return { ...common, action: "check", request: { ...store, ...quick } };
    case "gc":
      return {
        ...common,
        action,
        request: { ...store, ...(flags.set.has("dry-run") ? { dryRun: true } : {}) },
      };
  }
}
