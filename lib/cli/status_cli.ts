/**
 * Carries out `status`: calls the library, and prints.
 *
 * @module
 */
import { overlayStatus } from "../api/status.ts";
import { quote } from "../core/quote.ts";
import { changeOptions, print, tellFailures } from "./carry_out.ts";
import type { Io } from "./io.ts";
import { driftText, statusText } from "./output.ts";
import type { Command } from "./typed_command.ts";

type StatusCommand = Extract<Command, { kind: "status" }>;

async function runCheck(command: StatusCommand, io: Io): Promise<number> {
  const { findDrift } = await import("../api/find_drift.ts");
  const drift = await findDrift(command.request, changeOptions(io, command));
  await print(io, command.output, { drift }, ({ drift }) => driftText(drift));
  return drift.length === 0 ? 0 : 1;
}

/**
 * Carries out `status`.
 *
 * @returns The exit status.
 */
export async function runStatusCommand(command: StatusCommand, io: Io): Promise<number> {
  if (command.check) return await runCheck(command, io);
  const { request, output } = command;
  const failed: { pod: string; code: string; reason: string; hint: string | null }[] = [];
  const renders = await overlayStatus(request, {
    ...changeOptions(io, command),
    failed: (pod, { code, message: reason, hint }) => void failed.push({ pod, code, reason, hint }),
  });
  const several = "pods" in request;
  if (renders.length + failed.length === 0 && !output.quiet) {
    io.err(`nothing is rendered in ${quote(several ? request.pods : request.pod)}\n`);
  }
  const result = { renders, ...(failed.length === 0 ? {} : { failed }) };
  await print(io, output, result, ({ renders }) => statusText(renders, several, io.screen?.()));
  return await tellFailures(failed, output, io);
}
