/**
 * The permissions that a plan needs: computed, never guessed.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { RequiredPermissions } from "../system/permissions.ts";
import { GROUP_FILE, PROGRAMS } from "../system/programs.ts";
import type { Plan, PodPlan } from "./plan.ts";
import type { Operation } from "./operation.ts";
import { parent } from "../core/path.ts";
import { leastPaths, TRUST } from "../system/permissions.ts";

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
    read: leastPaths(all.flatMap((need) => need.read)),
    write: leastPaths(all.flatMap((need) => need.write)),
    run: Object.values(PROGRAMS).filter((program) => {
      return all.some((need) => need.run.includes(program));
    }),
    ...(all.some((need) => need.sys !== undefined) ? { sys: TRUST.sys } : {}),
  };
}
