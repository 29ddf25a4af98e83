/**
 * A command line of `overlay-render tree` as a typed command. Pure: the working directory is handed in.
 *
 * Requires no permissions.
 *
 * @module
 */
import { parseFlags } from "./args.ts";
import { absolute, commonOptions, requestFields } from "./command.ts";
import type { Common } from "./typed_command.ts";
import { TREE_FLAGS } from "./tree_commands.ts";
import type { TreeAction } from "./command_names.ts";
import { InvalidValueError } from "../core/errors.ts";
import { invalid } from "../core/invalid.ts";
import { quote } from "../core/quote.ts";
import { parseSize } from "../core/size.ts";
import type { ImportRequest, Strippable } from "../store/import_request.ts";
import type { PullRequest } from "../store/pull_tree.ts";
import type { PushRequest } from "../store/push_tree.ts";
import type { StoreRequest, TreeChoice } from "../store/list.ts";
import type { TagRequest, UntagRequest } from "../store/tag_tree.ts";
import type { CheckRequest } from "../store/tree_check.ts";
import type { CollectTreesRequest } from "../store/collect_trees.ts";

/** A command of the tree store with its flags and values. */
export type TreeCommand =
  & Common
  & (
    | { readonly action: "import"; readonly request: ImportRequest }
    | {
      readonly action: "pull";
      readonly request: PullRequest;
      /** Set if the password is read from stdin. */
      readonly passwordStdin: boolean;
    }
    | {
      readonly action: "push";
      readonly request: PushRequest;
      /** Set if the password is read from stdin. */
      readonly passwordStdin: boolean;
    }
    | { readonly action: "list"; readonly request: StoreRequest }
    | { readonly action: "path" | "remove"; readonly request: TreeChoice }
    | { readonly action: "inspect"; readonly request: TreeChoice }
    | { readonly action: "tag"; readonly request: TagRequest }
    | { readonly action: "untag"; readonly request: UntagRequest }
    | { readonly action: "check"; readonly request: CheckRequest }
    | { readonly action: "gc"; readonly request: CollectTreesRequest }
    | { readonly action: "prune"; readonly request: StoreRequest }
  );

/** Flags that earlier versions had. */
const REMOVED = /^--allow-(devices|setuid)(=|$)/;

/** Refuses a flag of an earlier version, with an error that names the current one. */
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

function parseCount(what: string, value: string): number {
  if (/^[1-9]\d{0,15}$/.test(value)) return Number(value);
  throw invalid(what, value, "it must be a whole number above 0");
}

/** The library checks the other values. */
function parseTreatment(fields: Record<string, unknown>): Omit<ImportRequest, "source"> {
  const { strip, maxBytes, maxEntries, ...others } = fields as Record<string, string | undefined>;
  return {
    ...others,
    ...(strip === undefined ? {} : { strip: strip.split(",") as Strippable[] }),
    ...(maxBytes === undefined ? {} : { maxBytes: parseSize("maximal size", maxBytes) }),
    ...(maxEntries === undefined ? {} : { maxEntries: parseCount("maximal entries", maxEntries) }),
  };
}

/** The transports of skopeo, podman and umoci: `oci:DIR:REF`. */
const TRANSPORT = /^(oci|oci-archive|docker-archive|dir):([^:]*)(?::(.+))?$/s;

/** Reads the source of an import; `./` before it makes any name a path. */
function parseSource(source: string, cwd: string): Pick<ImportRequest, "source" | "ref"> {
  if (source === "" || source === "-") return { source };
  if (source.startsWith("docker://")) {
    throw new InvalidValueError("usage", `Cannot import ${quote(source)}: it is in a registry`, {
      hint: `pull it: overlay-render tree pull ${source.slice("docker://".length)}`,
    });
  }
  const [, transport, path = "", ref] = TRANSPORT.exec(source) ?? [];
  if (transport === undefined) return { source: absolute(source, cwd) };
  if (path === "") throw invalid("source", source, `no path follows ${transport}:`);
  return { source: absolute(path, cwd), ...(ref === undefined ? {} : { ref }) };
}

/**
 * Reads the arguments after `overlay-render tree ACTION`.
 *
 * @throws {InvalidValueError} If a flag or a value is not one that is allowed.
 */
export function parseTreeCommand(
  action: TreeAction,
  args: readonly string[],
  cwd: string,
): TreeCommand {
  if (action === "import") refuseRemoved(args);
  const spec = { command: `tree ${action}`, ...TREE_FLAGS[action] };
  const flags = parseFlags(args, spec);
  const common = commonOptions(flags);
  const fields = requestFields(spec, flags, cwd);
  const [operand = "", second = ""] = flags.operands;
  const passwordStdin = flags.set.has("password-stdin");
  switch (action) {
    case "import": {
      const source = parseSource(operand, cwd);
      return { ...common, action, request: { ...source, ...parseTreatment(fields) } };
    }
    case "pull":
      return {
        ...common,
        action,
        request: { ...parseTreatment(fields), reference: operand },
        passwordStdin,
      };
    case "push":
      return {
        ...common,
        action,
        request: { ...fields, tree: operand, reference: second },
        passwordStdin,
      };
    case "tag":
      return { ...common, action, request: { ...fields, tree: operand, name: second } };
    case "untag":
      return { ...common, action, request: { ...fields, name: operand } };
    case "path":
    case "remove":
    case "inspect":
    case "check":
      return { ...common, action, request: { ...fields, tree: operand } };
    case "verify-all":
      return { ...common, action: "check", request: fields };
    case "list":
    case "gc":
    case "prune":
      return { ...common, action, request: fields };
  }
}
