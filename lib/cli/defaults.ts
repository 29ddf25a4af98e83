/**
 * Variables of the environment that stand for flags that are not given.
 *
 * Requires no permissions.
 *
 * @module
 */
import { FLAGS_OF } from "./commands.ts";
import { COMMANDS } from "./command_names.ts";
import type { CommandName } from "./command_names.ts";

/** Reads a variable of the environment. */
export type ReadVariable = (name: string) => string | undefined;

/** A variable, and the flags in whose place it stands, or that say something else in its place. */
interface Default {
  readonly flag: string;
  readonly variable: string;
  readonly unless: readonly string[];
}

const STORE: Default = {
  flag: "store",
  variable: "OVERLAY_RENDER_STORE",
  // A spec says it; where it does not, the variable is looked at once it is read.
  unless: ["store", "spec"],
};

const PODS: Default = {
  flag: "pods",
  variable: "OVERLAY_RENDER_PODS",
  unless: ["pods", "pod", "undo"],
};

/** The commands that look at all pods where no flag says which. An unmount of all must be asked for. */
const OF_PODS: readonly CommandName[] = ["run", "status", "restore", "gc"];

function takes(name: CommandName, { flag }: Default): boolean {
  if (flag === "pods") return OF_PODS.includes(name);
  // The flags of these two are in modules that only they load.
  if (name === "tree" || name === "run") return true;
  return FLAGS_OF[name].some((one) => one.name === flag);
}

function isGiven(args: readonly string[], { unless }: Default): boolean {
  return args.some((arg) => unless.some((name) => `${arg}=`.startsWith(`--${name}=`)));
}

/**
 * Puts the flags that variables stand for before those that are given.
 *
 * @param args The arguments, the command's name first.
 */
export function withDefaults(args: readonly string[], read: ReadVariable): readonly string[] {
  const name = COMMANDS.find((name) => name === args[0]);
  if (name === undefined) return args;
  // A command of the tree store has its own name first.
  const at = name === "tree" ? 2 : 1;
  const end = args.indexOf("--");
  const given = end < 0 ? args : args.slice(0, end);
  const flags = [STORE, PODS].flatMap((one) => {
    // Most environments have none, and this is on the way of each render.
    const value = read(one.variable);
    if (value === undefined || value === "") return [];
    return takes(name, one) && !isGiven(given, one) ? [`--${one.flag}=${value}`] : [];
  });
  if (flags.length === 0 || args.length < at) return args;
  return [...args.slice(0, at), ...flags, ...args.slice(at)];
}

/** Gives a request the store of the variable, if it has none. */
export function withDefaultStore<R extends { readonly store?: string }>(
  request: R,
  read: ReadVariable | undefined,
  resolve: (path: string) => string,
): R {
  const store = request.store === undefined ? read?.(STORE.variable) : undefined;
  return store === undefined || store === "" ? request : { ...request, store: resolve(store) };
}
