/**
 * Deno permissions as values, which are written as flags and checked before anything is touched.
 *
 * @module
 */
import { parent } from "../core/path.ts";
import { PROGRAMS } from "./programs.ts";
import { shellQuote } from "../core/quote.ts";
import { MissingPermissionError } from "../core/errors.ts";

/** Deno permissions, each with its least values. */
export interface RequiredPermissions {
  /** Paths for `--allow-read`. */
  readonly read: readonly string[];
  /** Paths for `--allow-write`. */
  readonly write: readonly string[];
  /** Programs for `--allow-run`, by absolute path. */
  readonly run: readonly string[];
  /** Values for `--allow-sys`. @default {none} */
  readonly sys?: readonly "uid"[];
  /** Hosts with ports for `--allow-net`. @default {none} */
  readonly net?: readonly string[];
  /** Variables for `--allow-env`. @default {none} */
  readonly env?: readonly string[];
}

/** The permissions to check who could swap a pod, or a directory above it. */
export const TRUST: Pick<Required<RequiredPermissions>, "run" | "sys"> = {
  run: [PROGRAMS.find],
  sys: ["uid"],
};

/** Drops duplicates and paths that another path covers. */
export function leastPaths(paths: readonly string[]): string[] {
  const all = new Set(paths);
  return [...all].filter((path) => {
    for (let at = path; at !== "/";) {
      at = parent(at);
      if (all.has(at)) return false;
    }
    return true;
  });
}

/** Joins permissions to those that all of them need. */
export function joinPermissions(all: readonly RequiredPermissions[]): RequiredPermissions {
  const join = <T>(values: readonly T[]) => [...new Set(values)];
  return {
    read: leastPaths(all.flatMap(({ read }) => read)),
    write: leastPaths(all.flatMap(({ write }) => write)),
    run: join(all.flatMap(({ run }) => run)),
    sys: join(all.flatMap(({ sys = [] }) => sys)),
    net: join(all.flatMap(({ net = [] }) => net)),
    env: join(all.flatMap(({ env = [] }) => env)),
  };
}

/** Returns a path, or its nearest parent without a comma: the value of a flag is split at every comma. */
function expressible(path: string): string {
  let at = path;
  while (at.includes(",")) at = parent(at);
  return at;
}

/**
 * Writes permissions as the flags of `deno run`.
 *
 * Deno's flags cannot express a path with a comma; its nearest parent without one is granted instead.
 *
 * Requires no permissions.
 *
 * @param permissions The permissions.
 * @returns One argument a kind; not quoted for a shell.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { permissionFlags } from "@overlay/render";
 *
 * const flags = permissionFlags({ read: ["/a", "/b"], write: [], run: ["/bin/mount"] });
 * assert(flags.join(" ") === "--allow-read=/a,/b --allow-run=/bin/mount");
 * ```
 */
export function permissionFlags(permissions: RequiredPermissions): string[] {
  const flag = (kind: string, values: readonly string[]) => {
    return values.length === 0 ? [] : [`--allow-${kind}=${values.join(",")}`];
  };
  return [
    ...flag("read", leastPaths(permissions.read.map(expressible))),
    ...flag("write", leastPaths(permissions.write.map(expressible))),
    ...flag("run", permissions.run),
    ...flag("sys", permissions.sys ?? []),
    ...flag("net", permissions.net ?? []),
    ...flag("env", permissions.env ?? []),
  ];
}

/** Tells whether a permission is granted. Never prompts. */
export function isGranted(descriptor: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** Lists the missing flags. */
function missingFlags(required: RequiredPermissions): string[] {
  return permissionFlags({
    read: required.read.filter((path) => !isGranted({ name: "read", path })),
    write: required.write.filter((path) => !isGranted({ name: "write", path })),
    run: required.run.filter((command) => !isGranted({ name: "run", command })),
    sys: required.sys?.filter((kind) => !isGranted({ name: "sys", kind })) ?? [],
    net: required.net?.filter((host) => !isGranted({ name: "net", host })) ?? [],
    env: required.env?.filter((variable) => !isGranted({ name: "env", variable })) ?? [],
  });
}

/**
 * Checks that permissions are granted. Never prompts.
 *
 * @param action The action that needs them, such as `render`.
 * @param likely The permissions that will be needed later; they are listed with the others. @default {none}
 * @throws {MissingPermissionError} If one is missing; it names the flags to add.
 */
export function checkPermissions(
  action: string,
  required: RequiredPermissions,
  likely: RequiredPermissions = required,
): void {
  if (missingFlags(required).length === 0) return;
  const flags = missingFlags(likely);
  throw new MissingPermissionError(
    `Cannot ${action} without Deno permissions: missing ${flags.map(shellQuote).join(" ")}`,
    flags,
    { hint: `add that to the flags of deno run; ${whoTellsAll(action)}` },
  );
}

function whoTellsAll(action: string): string {
  const isRender = /^(render|prepare|look .* up)$/.test(action);
  return isRender
    ? "plan prints all that a render needs"
    : "--help says all that the command needs";
}
