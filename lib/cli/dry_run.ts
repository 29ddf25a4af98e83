/**
 * Plans commands that change pods, and prints the plans, for `plan`, `--dry-run` and `--flags`.
 *
 * @module
 */
import type { Command, OutputOptions } from "./typed_command.ts";
import type { Io } from "./io.ts";
import { formatPlan } from "./plan_output.ts";
import type { PlanJsonOptions, PrintedPlan } from "./plan_output.ts";
import type { CollectPlan } from "../plan/plan_collect.ts";
import { printable } from "../core/quote.ts";
import type { RequestKind } from "../api/request_kind.ts";
import { wantsPull } from "../request/options.ts";
import type { PodRequest, RenderRequest } from "../request/options.ts";
import type { ChangeOptions } from "../system/change_options.ts";

/** A command that changes existing pods. */
export type PodCommand = Extract<
  Command,
  { kind: "unmount" | "reset" | "restore" | "gc" | "keep" | "unkeep" }
>;

/** Plans a request, with the pulls before it if it asks for them. */
export async function planRequest<R extends RenderRequest | PodRequest>(
  request: R,
  kind: Pick<RequestKind<R>, "resolve" | "plan">,
  mount: boolean,
): Promise<PrintedPlan> {
  if (!wantsPull(request)) return kind.plan(await kind.resolve(request), { mount });
  const { planWithPulls } = await import("../api/pull_images.ts");
  return await planWithPulls(request, kind, { mount });
}

/** Plans a command, and changes nothing. */
export async function planCommand(
  command: PodCommand,
  options: ChangeOptions,
): Promise<PrintedPlan | CollectPlan> {
  switch (command.kind) {
    case "unmount":
      if ("pods" in command.request) {
        const { unmountPodsPlan } = await import("../api/unmount_pods.ts");
        return await unmountPodsPlan(command.request, options);
      }
      return await (await import("../api/unmount.ts")).unmountPlan(command.request, options);
    case "reset":
      return await (await import("../api/reset.ts")).resetPlan(command.request, options);
    case "restore":
      return await (await import("../api/restore.ts")).restorePlan(command.request, options);
    case "gc":
      if ("undo" in command) {
        return await (await import("../api/undo.ts")).undoPlan(command.undo, options);
      }
      return await (await import("../api/gc.ts")).collectPlan(command.request, options);
    case "keep":
    case "unkeep":
      return await (await import("../api/keep.ts")).keepPlan(
        command.pod,
        command.kind === "keep",
        options,
      );
  }
}

/**
 * Prints a plan, and the problems that would stop it, as far as the permissions allow the checks.
 *
 * @returns The exit status that carrying it out would have, as far as it is known.
 */
export async function tellPlan(
  plan: PrintedPlan,
  output: OutputOptions,
  io: Io,
  options: PlanJsonOptions = {},
): Promise<number> {
  const { operations, mounts = [], pulls = [] } = plan;
  io.out(formatPlan(plan, output, options));
  // Nothing of an image can be checked before its pull.
  const planned = pulls.length === 0 ? mounts : [];
  if (planned.length === 0) return 0;
  const { collectFindings, isInTheWay, predictStatus } = await import(
    "../preflight/run_preflight.ts"
  );
  const found = await collectFindings(planned);
  const isMounted = operations.some(({ kind }) => kind === "mount");
  // Without overlayfs, the request may allow a copy instead.
  const orCopy = operations.some((operation) => operation.kind === "mount" && operation.orCopy);
  const told = new Set<string>();
  for (const finding of found.byApp.flatMap(({ findings }) => findings)) {
    const { sentence, hint } = finding;
    const isError = !orCopy && isInTheWay(finding, isMounted);
    if (!isError && output.quiet) continue;
    told.add(`${isError ? "error" : "warning"}: ${sentence}\nhint: ${hint}\n`);
  }
  for (const text of told) io.err(text);
  if (output.verbose && found.unchecked.length > 0) {
    io.err(`not checked: ${printable(found.unchecked.join(", "))}\n`);
  }
  return orCopy ? 0 : predictStatus(found, isMounted);
}
