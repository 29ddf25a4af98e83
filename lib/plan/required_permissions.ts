/**
 * The permissions that a plan needs: computed, never guessed.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { RequiredPermissions } from "../system/permissions.ts";
import { GROUP_FILE, PROGRAMS } from "../system/programs.ts";
import type { Plan } from "./plan.ts";
import type { Kind, OperationOf } from "./operation.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { parent } from "../core/path.ts";
import { leastPaths, TRUST } from "../system/permissions.ts";

const { mount, umount, findmnt, chcon, cp, ln, rm } = PROGRAMS;

/** The permissions to check who could change a pod, and to read the mount table. */
const MOUNTS = { run: [findmnt, ...TRUST.run], sys: TRUST.sys };

/** The permissions that an operation of each kind needs. */
const NEEDS: { readonly [K in Kind]: (operation: OperationOf<K>) => Partial<RequiredPermissions> } =
  {
    require: ({ path }) => ({ read: [path] }),
    real: ({ path }) => ({ read: [path] }),
    trust: () => TRUST,
    directory: ({ path }) => ({ read: [path], write: [path] }),
    lock: ({ path }) => ({ read: [path], write: [path] }),
    look: ({ path }) => ({ read: [path], ...MOUNTS }),
    open: ({ path }) => ({ read: [path], write: [path], ...MOUNTS }),
    group: ({ path, group }) => ({
      read: typeof group === "string" ? [path, GROUP_FILE] : [path],
      write: [path],
    }),
    label: ({ path }) => ({ read: [path], write: [path], run: [findmnt, chcon] }),
    manifest: ({ path, from }) => ({ read: [path, from], write: [path] }),
    link: ({ path }) => ({ read: [path], write: [path], run: [ln] }),
    // The whole store is read to find the tree.
    use: ({ path, store }) => ({ read: [store], write: [path] }),
    record: ({ path }) => ({ read: [path], write: [path], run: [findmnt] }),
    copy: ({ path, from, mtab }) => ({
      read: [path, from],
      write: [parent(path)],
      run: [cp, findmnt, rm, ...(mtab ? [ln] : [])],
    }),
    mount: ({ path, orCopy, line }) => ({
      read: line === undefined ? [path] : lookedAt(line),
      run: [mount, umount, findmnt, ...(orCopy ? [cp, rm] : [])],
    }),
    unmount: ({ line }) => ({
      read: line === undefined ? [] : lookedAt(line),
      run: [umount, findmnt],
    }),
    volatile: ({ path }) => ({ read: [path], write: [path] }),
    reset: ({ image, point, label }) => ({
      read: [image, point],
      write: [image],
      run: label === null ? [rm] : [rm, chcon],
    }),
    touch: ({ path }) => ({ read: [path], write: [path] }),
    mtab: ({ path }) => ({ read: [path], write: [path], run: [ln] }),
    idle: ({ path }) => ({ read: [path], run: [mount] }),
    free: ({ path }) => ({ read: [path], run: [findmnt] }),
    unused: ({ path }) => ({ read: [path], write: [path] }),
    "set-aside": ({ path, to }) => ({ read: [path, parent(to)], write: [path, parent(to)] }),
    "put-back": ({ path, to }) => ({ read: [parent(path), to], write: [parent(path), to] }),
    grace: ({ path }) => ({ read: [path], write: [path] }),
    rmdir: ({ path }) => ({ read: [path], write: [path] }),
    // A pod that holds a name that is not UTF-8 is moved into another directory beside it.
    remove: ({ path }) => ({ read: [parent(path)], write: [parent(path)], run: [rm] }),
    keep: ({ path }) => ({ read: [parent(path)], write: [parent(path)] }),
  };

/** Lists the parent of a rootfs, and the lower of a bind mount, which is recognised by its content. */
function lookedAt({ rootfs, source }: AppLine): readonly string[] {
  return source === "overlay" ? [parent(rootfs)] : [parent(rootfs), source];
}

function needsOf<K extends Kind>(operation: OperationOf<K>): Partial<RequiredPermissions> {
  return NEEDS[operation.kind as K](operation);
}

/**
 * Computes the Deno permissions under which a plan can be applied.
 *
 * Requires no permissions.
 *
 * @param plan A plan.
 * @returns The least values: without any one of them, applying the plan is refused.
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
export function requiredPermissions({ operations }: Pick<Plan, "operations">): RequiredPermissions {
  const all = operations.map((operation) => needsOf(operation));
  const run = new Set(all.flatMap(({ run = [] }) => run));
  return {
    read: leastPaths(all.flatMap(({ read = [] }) => read)),
    write: leastPaths(all.flatMap(({ write = [] }) => write)),
    run: Object.values(PROGRAMS).filter((program) => run.has(program)),
    ...(all.some(({ sys }) => sys !== undefined) ? { sys: TRUST.sys } : {}),
  };
}
