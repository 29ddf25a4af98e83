/**
 * Carries out `run`: renders, starts the command, hands on signals, and passes the exit status.
 *
 * @module
 */
import { changeOptions } from "./carry_out.ts";
import type { Command } from "./typed_command.ts";
import type { Common } from "./typed_command.ts";
import { OWN_FAILURE } from "./exit_status.ts";
import type { Io } from "./io.ts";
import { parseRun } from "./run_command.ts";
import { reservedForPulls } from "./reserved.ts";
import { permissionsFor, planRun } from "../api/run_permissions.ts";
import { runInOverlay } from "../api/run_overlay.ts";
import type { RunningCommand } from "../api/run_overlay.ts";
import { splitRun } from "../api/run_request.ts";
import type { RunRequest } from "../api/run_request.ts";
import { InterruptedError } from "../core/interrupted.ts";
import { KEYBOARD, listen } from "../runtime/run_process.ts";
import { wantsPull } from "../request/options.ts";

/** Prints the plan of the render, and the permissions of all of it. */
async function plan(request: RunRequest, { output }: Common, io: Io): Promise<number> {
  const parts = splitRun(request);
  const planned = await planRun(parts) ??
    { operations: [{ kind: "look" as const, path: parts.pod }], mounts: [] };
  const pulling = await permissionsFor(parts, "action" in planned ? planned : null);
  const { tellPlan } = await import("./dry_run.ts");
  return await tellPlan({ ...planned, pulling }, output, io, { single: true });
}

async function carryOut(request: RunRequest, command: Common, io: Io): Promise<number> {
  const controller = new AbortController();
  let running: RunningCommand | null = null;
  listen((signal, number) => {
    if (running === null) return controller.abort(new InterruptedError(number));
    if (request.tty && KEYBOARD.includes(signal)) return;
    running.kill(signal).catch((error) => io.err(`warning: ${error.message}\n`));
  });
  const started = (command: RunningCommand) => void (running = command);
  const options = { ...changeOptions(io, command, controller.signal), started };
  const act = (progress: object) => runInOverlay(request, { ...options, ...progress });
  if (!wantsPull(request)) return (await act({})).code;
  const { withProgress } = await import("./progress.ts");
  return (await withProgress({ err: io.err, quiet: command.output.quiet }, act)).code;
}

/**
 * Carries out `run`.
 *
 * @returns The exit status of the command; 125 if `run` itself fails, 126 if the command cannot be executed, 127
 * if it does not exist.
 */
export async function runCommand(
  given: Extract<Command, { kind: "run" }>,
  io: Io,
): Promise<number> {
  try {
    const { request, ...command } = parseRun(given.args, given.cwd);
    io.keepOnly?.([...reservedForPulls(request), "setpriv"]);
    return await (command.dryRun ? plan : carryOut)(request, command, io);
  } catch (error) {
    const { report } = await import("./report.ts");
    const status = report(error, false, io);
    return status < OWN_FAILURE ? OWN_FAILURE : status;
  }
}
