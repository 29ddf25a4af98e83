/**
 * The permissions that only some commands need. The others give them up before they begin.
 *
 * @module
 */
import type { Command } from "./typed_command.ts";
import { wantsPull } from "../request/options.ts";

/** A permission that only some commands need. */
export type Reserved = "net" | "env";

const RESERVED: readonly Reserved[] = ["net", "env"];

/** Lists the reserved permissions that a request may need, for its pulls. */
export function reservedForPulls(request: object): readonly Reserved[] {
  return wantsPull(request) ? RESERVED : [];
}

/** Lists the reserved permissions that a command may need. A spec must be read, and the flags of a run, to know whether it pulls. */
export function reservedFor(command: Command): readonly Reserved[] {
  switch (command.kind) {
    case "plan":
    case "prepare":
    case "render":
      return reservedForPulls(command.request);
    case "spec":
    case "run":
      return RESERVED;
    case "tree":
      return command.action === "pull" || command.action === "push" ? RESERVED : [];
    case "unshare":
    case "export":
    case "commit":
      // The command of unshare has all of it, the others look for SOURCE_DATE_EPOCH.
      return ["env"];
    default:
      return [];
  }
}

/** Gives up the reserved permissions of this process but for these. */
export function keepOnly(kept: readonly Reserved[]): void {
  for (const name of RESERVED) if (!kept.includes(name)) Deno.permissions.revokeSync({ name });
}
