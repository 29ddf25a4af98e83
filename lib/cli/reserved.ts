/**
 * The permissions that only some commands need. The others give them up before they begin.
 *
 * @module
 */
import type { Command } from "./typed_command.ts";
import { STARTERS } from "../system/programs.ts";
import { wantsPull } from "../request/options.ts";

/** A permission that only some commands need. */
export type Reserved = "net" | "env" | "unshare" | "setpriv";

/** The permissions of a pull. */
const OF_PULLS: readonly Reserved[] = ["net", "env"];

const RESERVED: Readonly<Record<Reserved, Deno.PermissionDescriptor>> = {
  net: { name: "net" },
  env: { name: "env" },
  unshare: { name: "run", command: STARTERS.unshare },
  setpriv: { name: "run", command: STARTERS.setpriv },
};

/** Lists the reserved permissions that a request may need, for its pulls. */
export function reservedForPulls(request: object): readonly Reserved[] {
  return wantsPull(request) ? OF_PULLS : [];
}

/**
 * Lists the reserved permissions that a command may need. A spec must be read, and the flags of a run, to know
 * whether it pulls.
 */
export function reservedFor(command: Command): readonly Reserved[] {
  switch (command.kind) {
    case "plan":
    case "prepare":
    case "render":
      return reservedForPulls(command.request);
    case "spec":
      return OF_PULLS;
    case "run":
      return [...OF_PULLS, "setpriv"];
    case "tree":
      return command.action === "pull" || command.action === "push" ? OF_PULLS : [];
    case "unshare":
      return ["env", "unshare"];
    case "doctor":
      return ["unshare"];
    case "export":
      // For SOURCE_DATE_EPOCH.
      return ["env"];
    case "commit":
      return command.flags.values.to?.[0]?.startsWith("docker://") ? OF_PULLS : ["env"];
    default:
      return [];
  }
}

/** Gives up the reserved permissions of this process but for these. */
export function keepOnly(kept: readonly Reserved[]): void {
  for (const [name, descriptor] of Object.entries(RESERVED)) {
    if (!kept.includes(name as Reserved)) Deno.permissions.revokeSync(descriptor);
  }
}
