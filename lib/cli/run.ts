/**
 * Carries out a command: calls the library, and prints. Each command loads only what it needs, since
 * every module costs start-up time.
 *
 * @module
 */
import { absolute } from "./command.ts";
import type { Command, OutputOptions } from "./typed_command.ts";
import { SPEC_MAX } from "./io.ts";
import type { Io } from "./io.ts";
import { withDefaultStore } from "./defaults.ts";
import { reservedFor, reservedForPulls } from "./reserved.ts";
import { UnmountError } from "../core/errors.ts";
import { printable, quote } from "../core/quote.ts";
import type { PodCommand } from "./dry_run.ts";
import type { Kept } from "../plan/plan_collect.ts";
import type { UnmountPodsRequest } from "../request/unmount_request.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { GO_ON, interruptible, print, rendering, tellFailures } from "./carry_out.ts";

type Of<Kind extends Command["kind"]> = Extract<Command, { kind: Kind }>;
type RenderCommand = Of<"plan" | "prepare" | "render">;

async function runPlan({ request, mount, output }: RenderCommand, io: Io): Promise<number> {
  const { planRequest, tellPlan } = await import("./dry_run.ts");
  const { planRender } = await import("../plan/plan.ts");
  const { resolveRequest } = await import("../api/resolve_request.ts");
  const kind = { resolve: resolveRequest, plan: planRender };
  return await tellPlan(await planRequest(request, kind, mount), output, io, { single: true });
}

async function runRender(command: RenderCommand, io: Io): Promise<void> {
  const { prepareOverlay, renderOverlay } = await import("../api/render.ts");
  const { request, output, kind } = command;
  const act = kind === "prepare" ? prepareOverlay : renderOverlay;
  const render = await rendering(io, command, request, act);
  if (kind === "render" && !output.json) return io.out(`${render.rootfs}\n`);
  const { formatJson, renderText } = await import("./output.ts");
  io.out(output.json ? formatJson(render) : renderText(render));
}

/** Reads a spec. Without permission, the error names the flag to add. */
async function readSpec(file: string, cwd: string, io: Io): Promise<Uint8Array | string> {
  if (file === "-") return io.input();
  const path = absolute(file, cwd);
  const { checkPermissions } = await import("../system/permissions.ts");
  const { readRegular } = await import("../system/regular_file.ts");
  checkPermissions("read the spec", { read: [path], write: [], run: [] });
  return await readRegular(path, SPEC_MAX, { verb: "read spec" });
}

async function runSpec(command: Of<"spec">, io: Io): Promise<number | void> {
  const { file, cwd, action, output, mount } = command;
  const { parseSpec } = await import("../request/spec.ts");
  const content = await readSpec(file, cwd, io);
  const resolve = (path: string) => absolute(path, cwd);
  const request = withDefaultStore(parseSpec(content, resolve), io.variable, resolve);
  io.keepOnly?.(reservedForPulls(request));
  if (action === "plan") {
    const { planRequest, tellPlan } = await import("./dry_run.ts");
    const { planPod } = await import("../plan/pod_plan.ts");
    const { resolvePodRequest } = await import("../api/resolve_request.ts");
    const kind = { resolve: resolvePodRequest, plan: planPod };
    return await tellPlan(await planRequest(request, kind, mount), output, io);
  }
  const { preparePod, renderPod } = await import("../api/render_pod.ts");
  const { renderText } = await import("./output.ts");
  const act = action === "prepare" ? preparePod : renderPod;
  const { pod, renders } = await rendering(io, command, request, act);
  await print(io, output, { pod, renders }, ({ renders }) => {
    return action === "render"
      ? renders.map(({ rootfs }) => `${rootfs}\n`).join("")
      : renders.map(renderText).join("\n");
  });
}

async function runUnmountPods(
  command: Of<"unmount">,
  request: UnmountPodsRequest,
  io: Io,
): Promise<number> {
  const { unmountPods } = await import("../api/unmount_pods.ts");
  const { unmountedText } = await import("./output.ts");
  const { output } = command;
  const act = (options: ChangeOptions) => unmountPods(request, options);
  const result = await interruptible(io, command, act, GO_ON);
  await print(io, output, result, unmountedText);
  return await tellFailures(result.failed, output, io);
}

async function runUnmount(command: Of<"unmount">, io: Io): Promise<number | void> {
  const { request, output } = command;
  if ("pods" in request) return await runUnmountPods(command, request, io);
  const { unmountOverlay } = await import("../api/unmount.ts");
  const { unmountedText } = await import("./output.ts");
  try {
    const result = await interruptible(io, command, (options) => unmountOverlay(request, options));
    await print(io, output, result, unmountedText);
  } catch (error) {
    if (error instanceof UnmountError && !output.json) io.out(unmountedText(error));
    throw error;
  }
}

async function runStatus(command: Of<"status">, io: Io): Promise<number> {
  const { runStatusCommand } = await import("./status_cli.ts");
  return await runStatusCommand(command, io);
}

async function runChanges(command: Of<"changes">, io: Io): Promise<void> {
  const { changesPermissions, overlayChanges } = await import("../api/changes.ts");
  const { request, output } = command;
  if (output.flags) {
    const { flagsText } = await import("./plan_output.ts");
    return io.out(flagsText(await changesPermissions(request), output.json));
  }
  const { changesText } = await import("./output.ts");
  const act = (options: ChangeOptions) => overlayChanges(request, options);
  const changes = await interruptible(io, command, act);
  await print(io, output, { changes }, ({ changes }) => changesText(changes));
}

async function runReset(command: Of<"reset">, io: Io): Promise<void> {
  const { resetOverlay } = await import("../api/reset.ts");
  const { resetText } = await import("./output.ts");
  const { request, output } = command;
  const act = (options: ChangeOptions) => resetOverlay(request, options);
  await print(io, output, await interruptible(io, command, act), resetText);
}

async function runRestore(command: Of<"restore">, io: Io): Promise<number> {
  const { restoreOverlays } = await import("../api/restore.ts");
  const { restoredText } = await import("./output.ts");
  const { request, output } = command;
  const act = (options: ChangeOptions) => restoreOverlays(request, options);
  const result = await interruptible(io, command, act, GO_ON);
  await print(io, output, result, restoredText);
  return await tellFailures(result.failed, output, io);
}

/** Plans the command, and prints the plan without making changes. */
async function runDry(command: PodCommand, io: Io): Promise<number> {
  const { planCommand, tellPlan } = await import("./dry_run.ts");
  const { output } = command;
  const plan = await interruptible(io, command, (options) => planCommand(command, options));
  if (!("kept" in plan)) return await tellPlan(plan, output, io);
  const { marked, removed, kept } = plan;
  await tellPlan(plan, output, io, { more: { marked, removed, kept } });
  return await tellKept(kept, output, io);
}

async function tellKept(kept: readonly Kept[], output: OutputOptions, io: Io): Promise<number> {
  for (const { pod, reason, failed } of output.json || output.quiet ? [] : kept) {
    if (!failed) io.err(`kept ${printable(quote(pod))}: ${printable(reason)}\n`);
  }
  return await tellFailures(kept.filter(({ failed }) => failed), output, io);
}

async function runGc(command: Extract<Of<"gc">, { request: unknown }>, io: Io): Promise<number> {
  const { collectPods } = await import("../api/gc.ts");
  const { collectedText } = await import("./output.ts");
  const { request, output } = command;
  const act = (options: ChangeOptions) => collectPods(request, options);
  const collected = await interruptible(io, command, act, GO_ON);
  await print(io, output, collected, collectedText);
  return await tellKept(collected.kept, output, io);
}

async function runUndo(command: Extract<Of<"gc">, { undo: string }>, io: Io): Promise<void> {
  const { undoCollect } = await import("../api/undo.ts");
  const { undoneText } = await import("./output.ts");
  const { undo, output } = command;
  const undone = await interruptible(io, command, (options) => undoCollect(undo, options));
  await print(io, output, undone, undoneText);
}

async function runKeep(command: Of<"keep" | "unkeep">, io: Io): Promise<void> {
  const { keepPod, unkeepPod } = await import("../api/keep.ts");
  const { keptText } = await import("./output.ts");
  const { kind, pod, output } = command;
  const act = kind === "keep" ? keepPod : unkeepPod;
  await print(
    io,
    output,
    await interruptible(io, command, (options) => act(pod, options)),
    keptText,
  );
}

async function runDoctor(command: Of<"doctor">, io: Io): Promise<number> {
  const { diagnose } = await import("../api/doctor.ts");
  const { diagnosisText } = await import("./output.ts");
  const { request, output } = command;
  const diagnosis = await interruptible(io, command, (options) => diagnose(request, options));
  await print(io, output, diagnosis, diagnosisText);
  return diagnosis.healthy ? 0 : 1;
}

async function runCompletion({ shell, output }: Of<"completion">, io: Io): Promise<void> {
  const { completion } = await import("./completion.ts");
  await print(io, output, { shell, script: completion(shell) }, ({ script }) => script);
}

async function runSystemd(command: Of<"systemd">, io: Io): Promise<void> {
  const { runSystemdCommand } = await import("./systemd_cli.ts");
  await runSystemdCommand(command, io);
}

/** Runs an export or a commit, whose modules no other command loads. */
async function runExport(command: Of<"export" | "commit">, io: Io): Promise<void> {
  const { runExportCommand } = await import("./export_cli.ts");
  await interruptible(io, command, (options) => runExportCommand(command, io, options));
}

/** Runs a command in a rootfs, by modules that no other command loads. */
async function runProcess(command: Of<"run">, io: Io): Promise<number> {
  const { runCommand } = await import("./run_cli.ts");
  return await runCommand(command, io);
}

/** Runs a tree command, whose modules no other command loads. */
async function runTree(command: Of<"tree">, io: Io): Promise<number> {
  const { runTreeLine } = await import("./tree_cli.ts");
  return await runTreeLine(command, io);
}

async function runUnshare(command: Of<"unshare">, io: Io): Promise<number> {
  const { runUnshare } = await import("./unshare_cli.ts");
  return await runUnshare(command, io);
}

async function runVersion(io: Io): Promise<void> {
  const { default: config } = await import("../../deno.json", { with: { type: "json" } });
  io.out(`overlay-render ${config.version}\n`);
}

async function runHelp(topic: string | null, io: Io): Promise<void> {
  const { helpText } = await import("./help.ts");
  io.out(helpText(topic));
}

/**
 * Carries out a command.
 *
 * @returns The exit status of a command that did what it could; nothing for 0.
 */
export function run(command: Command, io: Io): Promise<number | void> {
  io.keepOnly?.(reservedFor(command));
  if (command.kind === "export" || command.kind === "commit") return runExport(command, io);
  if (command.kind === "systemd") return runSystemd(command, io);
  if ("dryRun" in command) return runDry(command as PodCommand, io);
  switch (command.kind) {
    case "plan":
      return runPlan(command, io);
    case "prepare":
    case "render":
      return runRender(command, io);
    case "spec":
      return runSpec(command, io);
    case "unmount":
      return runUnmount(command, io);
    case "status":
      return runStatus(command, io);
    case "reset":
      return runReset(command, io);
    case "changes":
      return runChanges(command, io);
    case "gc":
      return "undo" in command ? runUndo(command, io) : runGc(command, io);
    case "keep":
    case "unkeep":
      return runKeep(command, io);
    case "doctor":
      return runDoctor(command, io);
    case "unshare":
      return runUnshare(command, io);
    case "completion":
      return runCompletion(command, io);
    case "restore":
      return runRestore(command, io);
    case "tree":
      return runTree(command, io);
    case "run":
      return runProcess(command, io);
    case "version":
      return runVersion(io);
    case "help":
      return runHelp(command.topic, io);
  }
}
