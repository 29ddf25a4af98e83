/**
 * The Deno permissions that a plan needs: computed, never guessed.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { Operation } from "../plan/operation.ts";
import { parent } from "../core/path.ts";
import type { Plan, PodPlan } from "../plan/plan.ts";

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
}

/**
 * The programs that are run, by absolute path: `--allow-run=mount` would trust whatever `PATH` finds.
 */
export const PROGRAMS = {
  mount: "/usr/bin/mount",
  umount: "/usr/bin/umount",
  findmnt: "/usr/bin/findmnt",
  chcon: "/usr/bin/chcon",
  cp: "/usr/bin/cp",
  ln: "/usr/bin/ln",
  tar: "/usr/bin/tar",
  sync: "/usr/bin/sync",
  rm: "/usr/bin/rm",
  find: "/usr/bin/find",
  fuser: "/usr/bin/fuser",
} as const;

/** The programs that take off a compression which is not done here, by absolute path. */
export const COMPRESSION_PROGRAMS = { xz: "/usr/bin/xz", zstd: "/usr/bin/zstd" } as const;

/** The permissions to find out who could swap a pod, or a directory above it. */
export const TRUST: Pick<Required<RequiredPermissions>, "run" | "sys"> = {
  run: [PROGRAMS.find],
  sys: ["uid"],
};

/** The file in which groups have their names. */
export const GROUP_FILE = "/etc/group";

function needs(operation: Operation): RequiredPermissions {
  const own = [operation.path];
  const { mount, umount, findmnt, chcon, cp, ln, rm } = PROGRAMS;
  switch (operation.kind) {
    case "require":
    case "real":
      return { read: own, write: [], run: [] };
    case "trust":
      return { read: [], write: [], ...TRUST };
    case "lock":
    case "directory":
      return { read: own, write: own, run: [] };
    case "group":
      return {
        read: typeof operation.group === "string" ? [...own, GROUP_FILE] : own,
        write: own,
        run: [],
      };
    case "label":
      return { read: own, write: own, run: [findmnt, chcon] };
    case "manifest":
      return { read: [...own, operation.from], write: own, run: [] };
    case "record":
      return { read: own, write: own, run: [findmnt] };
    case "copy":
      return {
        read: [...own, operation.from],
        write: [parent(operation.path)],
        run: [cp, findmnt, rm, ...(operation.mtab ? [ln] : [])],
      };
    case "touch":
      return { read: own, write: own, run: [] };
    case "use":
      // All of the store is read to find the tree.
      return { read: [operation.store], write: own, run: [] };
    case "link":
    case "mtab":
      return { read: own, write: own, run: [ln] };
    case "mount":
      return {
        read: own,
        write: [],
        run: [mount, umount, findmnt, ...(operation.orCopy ? [cp, rm] : [])],
      };
  }
}

/** Drops each path that another one covers, and repeats. */
function least(paths: readonly string[]): string[] {
  const all = new Set(paths);
  return [...all].filter((path) => {
    for (let at = path; at !== "/";) {
      at = parent(at);
      if (all.has(at)) return false;
    }
    return true;
  });
}

/**
 * Computes the Deno permissions under which a plan can be applied.
 *
 * Requires no permissions.
 *
 * @param plan A plan.
 * @returns The least values: with any one of them taken away, applying the plan is refused.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { planRender, requiredPermissions } from "@overlay/render";
 *
 * const plan = planRender({ lower: "/images/debian", pod: "/pods/one" });
 * assert(requiredPermissions(plan).write.join() === "/pods/one");
 * ```
 */
export function requiredPermissions(plan: Plan | PodPlan): RequiredPermissions {
  const all = plan.operations.map(needs);
  return {
    read: least(all.flatMap((need) => need.read)),
    write: least(all.flatMap((need) => need.write)),
    run: Object.values(PROGRAMS).filter((program) => {
      return all.some((need) => need.run.includes(program));
    }),
    ...(all.some((need) => need.sys !== undefined) ? { sys: TRUST.sys } : {}),
  };
}

/** A flag's value is a list with commas, and has no escape: such a path needs the grant of a parent. */
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
 * const flags = permissionFlags({ read: ["/a", "/b"], write: [], run: ["/usr/bin/mount"] });
 * assert(flags.join(" ") === "--allow-read=/a,/b --allow-run=/usr/bin/mount");
 * ```
 */
export function permissionFlags(permissions: RequiredPermissions): string[] {
  const flag = (kind: string, values: readonly string[]) => {
    return values.length === 0 ? [] : [`--allow-${kind}=${values.join(",")}`];
  };
  return [
    ...flag("read", least(permissions.read.map(expressible))),
    ...flag("write", least(permissions.write.map(expressible))),
    ...flag("run", permissions.run),
    ...flag("sys", permissions.sys ?? []),
  ];
}
