#!/usr/bin/env -S deno run --no-prompt -R -W --allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/chcon,/usr/bin/cp,/usr/bin/ln,/usr/bin/tar,/usr/bin/sync,/usr/bin/rm,/usr/bin/find,/usr/bin/fuser,/usr/bin/xz,/usr/bin/zstd -S=uid
/**
 * The command `overlay-render`: reads the command line, calls the library, prints.
 *
 * @module
 */
import { absolute, parseCommand } from "./lib/cli/command.ts";
import type { Command, OutputOptions } from "./lib/cli/command.ts";
import {
  InterruptedError,
  MissingPermissionError,
  OverlayError,
  PodError,
  UnmountError,
} from "./lib/core/errors.ts";
import type { ChangeOptions } from "./lib/system/change_options.ts";
import type { Plan } from "./lib/plan/plan.ts";
import { printable, quote } from "./lib/core/quote.ts";

/** What the command needs of the process it runs in. */
export interface Io {
  /** Writes to stdout. */
  readonly out: (text: string) => void;
  /** Writes to stderr. */
  readonly err: (text: string) => void;
  /** Reads stdin to its end. */
  readonly input: () => Uint8Array | string;
  /** The directory that relative paths are taken from. */
  readonly cwd: () => string;
  /** Calls back on SIGINT and SIGTERM with the signal's number; the result takes that back. */
  readonly onSignal: (handler: (signal: number) => void) => () => void;
}

function changeOptions(
  io: Io,
  { voice, waitMs }: { readonly voice: OutputOptions; readonly waitMs?: number },
  signal?: AbortSignal,
): ChangeOptions {
  return {
    ...(waitMs === undefined ? {} : { waitMs }),
    ...(voice.quiet ? {} : { warn: (text) => io.err(`warning: ${printable(text)}\n`) }),
    ...(voice.verbose ? { trace: (text) => io.err(`${printable(text)}\n`) } : {}),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** Runs what changes something; a signal ends it, and what it did is undone. */
async function interruptible<T>(
  io: Io,
  act: (signal: AbortSignal) => Promise<T>,
  outcome?: string,
): Promise<T> {
  const controller = new AbortController();
  const done = io.onSignal((signal) => controller.abort(new InterruptedError(signal, outcome)));
  try {
    return await act(controller.signal);
  } finally {
    done();
  }
}

type RenderCommand = Extract<Command, { kind: "plan" | "prepare" | "render" }>;

/** Each command loads only what it needs: every module costs start-up time. */
async function runPlan(command: RenderCommand, io: Io): Promise<number> {
  const { planRender } = await import("./lib/plan/plan.ts");
  const { planJson, planText } = await import("./lib/cli/output.ts");
  const { resolveRequest } = await import("./lib/api/resolve_request.ts");
  const plan = planRender(await resolveRequest(command.request), { mount: command.mount });
  io.out(command.voice.json ? planJson(plan, { single: true }) : planText(plan));
  return await tellFindings(plan, command.voice, io);
}

/**
 * Says what would keep a plan from being carried out, as far as the permissions go.
 *
 * @returns The exit status that carrying it out would end with, as far as that is known.
 */
async function tellFindings(plan: Plan, voice: OutputOptions, io: Io): Promise<number> {
  const { findingsOf, isInTheWay, statusOf } = await import("./lib/preflight/run_preflight.ts");
  const found = await findingsOf(plan.mounts);
  const { operations } = plan;
  const mounts = operations.some(({ kind }) => kind === "mount");
  // Where an overlay cannot be, a copy may be asked for instead.
  const orCopy = operations.some((operation) => operation.kind === "mount" && operation.orCopy);
  const told = new Set<string>();
  for (const finding of found.byApp.flatMap(({ findings }) => findings)) {
    const { sentence, hint } = finding;
    const isError = !orCopy && isInTheWay(finding, mounts);
    if (!isError && voice.quiet) continue;
    told.add(`${isError ? "error" : "warning"}: ${sentence}\nhint: ${hint}\n`);
  }
  for (const text of told) io.err(text);
  if (voice.verbose && found.unchecked.length > 0) {
    io.err(`not checked: ${printable(found.unchecked.join(", "))}\n`);
  }
  return orCopy ? 0 : statusOf(found, mounts);
}

async function runRender(command: RenderCommand, io: Io): Promise<void> {
  const { prepareOverlay, renderOverlay } = await import("./lib/api/render.ts");
  const { request, voice, kind } = command;
  const act = kind === "prepare" ? prepareOverlay : renderOverlay;
  const render = await interruptible(io, (signal) => {
    return act(request, changeOptions(io, command, signal));
  });
  if (kind === "render" && !voice.json) return io.out(`${render.rootfs}\n`);
  const { formatJson, renderText } = await import("./lib/cli/output.ts");
  io.out(voice.json ? formatJson(render) : renderText(render));
}

/** The most bytes of a spec: some ten thousand apps have fewer. */
const SPEC_MAX = 16 << 20;

/** Deno says so by itself when a file may not be read, but not how to allow it in our words. */
async function readSpec(file: string, cwd: string, io: Io): Promise<Uint8Array | string> {
  if (file === "-") return io.input();
  const path = absolute(file, cwd);
  const { checkPermissions } = await import("./lib/system/permissions.ts");
  const { readRegular } = await import("./lib/system/regular_file.ts");
  checkPermissions("read the spec", { read: [path], write: [], run: [] });
  return await readRegular(path, SPEC_MAX, { verb: "read spec" });
}

async function runSpec(
  command: Extract<Command, { kind: "spec" }>,
  io: Io,
): Promise<number | void> {
  const { file, cwd, action, voice, mount } = command;
  const { parseSpec } = await import("./lib/request/spec.ts");
  const content = await readSpec(file, cwd, io);
  const request = parseSpec(content, (path) => absolute(path, cwd));
  const { formatJson, planJson, planText, renderText } = await import("./lib/cli/output.ts");
  if (action === "plan") {
    const { planPod } = await import("./lib/plan/pod_plan.ts");
    const { resolvePodRequest } = await import("./lib/api/resolve_request.ts");
    const plan = planPod(await resolvePodRequest(request), { mount });
    io.out(voice.json ? planJson(plan) : planText(plan));
    return await tellFindings(plan, voice, io);
  }
  const { preparePod, renderPod } = await import("./lib/api/render_pod.ts");
  const act = action === "prepare" ? preparePod : renderPod;
  const { pod, renders } = await interruptible(io, (signal) => {
    return act(request, changeOptions(io, command, signal));
  });
  if (voice.json) io.out(formatJson({ pod, renders }));
  else if (action === "render") io.out(renders.map(({ rootfs }) => `${rootfs}\n`).join(""));
  else io.out(renders.map(renderText).join("\n"));
}

async function runUnmount(command: Extract<Command, { kind: "unmount" }>, io: Io): Promise<void> {
  const { unmountOverlay } = await import("./lib/api/unmount.ts");
  const { formatJson, unmountedText } = await import("./lib/cli/output.ts");
  const { request, voice } = command;
  try {
    const result = await interruptible(io, (signal) => {
      return unmountOverlay(request, changeOptions(io, command, signal));
    });
    io.out(voice.json ? formatJson(result) : unmountedText(result));
  } catch (error) {
    if (error instanceof UnmountError && !voice.json) io.out(unmountedText(error));
    throw error;
  }
}

async function runStatus(command: Extract<Command, { kind: "status" }>, io: Io): Promise<number> {
  const { overlayStatus } = await import("./lib/api/status.ts");
  const { formatJson, statusText } = await import("./lib/cli/output.ts");
  const { request, voice } = command;
  const failed: { pod: string; code: string; reason: string; hint: string | null }[] = [];
  const renders = await overlayStatus(request, {
    ...changeOptions(io, command),
    failed: (pod, { code, message: reason, hint }) => void failed.push({ pod, code, reason, hint }),
  });
  const several = "pods" in request;
  if (renders.length + failed.length === 0 && !voice.quiet) {
    io.err(`nothing is rendered in ${quote(several ? request.pods : request.pod)}\n`);
  }
  const failures = failed.length === 0 ? {} : { failed };
  io.out(voice.json ? formatJson({ renders, ...failures }) : statusText(renders, several));
  if (!voice.json) { for (const one of failed) tellFailure(one, io); }
  return failed.length > 0 ? 1 : 0;
}

function tellFailure(
  { reason, hint }: { readonly reason: string; readonly hint: string | null },
  io: Io,
): void {
  io.err(`error: ${printable(reason)}\n`);
  if (hint !== null) io.err(`hint: ${printable(hint)}\n`);
}

/** What is done pod by pod stays done when a signal comes in between. */
const GO_ON = "what was done stays; run it again to go on";

type GcCommand = Extract<Command, { kind: "gc"; request: unknown }>;

async function runGc(command: GcCommand, io: Io): Promise<number> {
  const { collectPods } = await import("./lib/api/gc.ts");
  const { collectedText, formatJson } = await import("./lib/cli/output.ts");
  const { request, voice } = command;
  const collected = await interruptible(io, (signal) => {
    return collectPods(request, changeOptions(io, command, signal));
  }, GO_ON);
  const { kept } = collected;
  io.out(voice.json ? formatJson(collected) : collectedText(collected));
  for (const one of voice.json ? [] : kept) {
    const { pod, reason } = one;
    if (one.failed) tellFailure(one, io);
    else if (!voice.quiet) io.err(`kept ${printable(quote(pod))}: ${printable(reason)}\n`);
  }
  return kept.some(({ failed }) => failed) ? 1 : 0;
}

type UndoCommand = Extract<Command, { kind: "gc"; undo: string }>;

async function runUndo(command: UndoCommand, io: Io): Promise<void> {
  const { undoCollect } = await import("./lib/api/garbage.ts");
  const { formatJson, undoneText } = await import("./lib/cli/output.ts");
  const { undo, voice } = command;
  const undone = await interruptible(io, (signal) => {
    return undoCollect(undo, changeOptions(io, command, signal));
  });
  io.out(voice.json ? formatJson(undone) : undoneText(undone));
}

async function runKeep(
  command: Extract<Command, { kind: "keep" | "unkeep" }>,
  io: Io,
): Promise<void> {
  const { keepPod, unkeepPod } = await import("./lib/api/keep.ts");
  const { formatJson, keptText } = await import("./lib/cli/output.ts");
  const { kind, pod, voice } = command;
  const result = await interruptible(io, (signal) => {
    return (kind === "keep" ? keepPod : unkeepPod)(pod, changeOptions(io, command, signal));
  });
  io.out(voice.json ? formatJson(result) : keptText(result));
}

async function runRestore(
  command: Extract<Command, { kind: "restore" }>,
  io: Io,
): Promise<number> {
  const { restoreOverlays } = await import("./lib/api/restore.ts");
  const { formatJson, restoredText } = await import("./lib/cli/output.ts");
  const { request, voice } = command;
  const result = await interruptible(io, (signal) => {
    return restoreOverlays(request, changeOptions(io, command, signal));
  }, GO_ON);
  io.out(voice.json ? formatJson(result) : restoredText(result));
  for (const one of voice.json ? [] : result.failed) tellFailure(one, io);
  return result.failed.length > 0 ? 1 : 0;
}

async function runDoctor(command: Extract<Command, { kind: "doctor" }>, io: Io): Promise<number> {
  const { diagnose } = await import("./lib/api/doctor.ts");
  const { diagnosisText, formatJson } = await import("./lib/cli/output.ts");
  const { request, voice } = command;
  const diagnosis = await interruptible(io, (signal) => {
    return diagnose(request, changeOptions(io, command, signal));
  });
  io.out(voice.json ? formatJson(diagnosis) : diagnosisText(diagnosis));
  return diagnosis.healthy ? 0 : 1;
}

/** Has its own lines, flags and output, which nothing else loads. */
async function runTree(command: Extract<Command, { kind: "tree" }>, io: Io): Promise<number> {
  const { runTreeCommand } = await import("./lib/cli/tree_cli.ts");
  const { parseTreeCommand } = await import("./lib/cli/tree_command.ts");
  const { action, args, cwd } = command;
  const parsed = parseTreeCommand(action, args, cwd);
  return await interruptible(io, (signal) => {
    const { out, err } = io;
    return runTreeCommand(parsed, { out, err, ...changeOptions(io, parsed, signal) });
  }, action === "import" ? undefined : GO_ON);
}

async function runVersion(io: Io): Promise<void> {
  const { default: config } = await import("./deno.json", { with: { type: "json" } });
  io.out(`overlay-render ${config.version}\n`);
}

async function runHelp(topic: string | null, io: Io): Promise<void> {
  const { helpText } = await import("./lib/cli/help.ts");
  io.out(helpText(topic));
}

/** Some commands end with a status of their own, having done what they could. */
function run(command: Command, io: Io): Promise<number | void> {
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
    case "gc":
      return "undo" in command ? runUndo(command, io) : runGc(command, io);
    case "keep":
    case "unkeep":
      return runKeep(command, io);
    case "doctor":
      return runDoctor(command, io);
    case "restore":
      return runRestore(command, io);
    case "tree":
      return runTree(command, io);
    case "version":
      return runVersion(io);
    case "help":
      return runHelp(command.topic, io);
  }
}

/** What nobody expects: a permission that is denied in part, and mistakes of our own. */
function unexpected(error: unknown): OverlayError {
  const message = `Cannot go on: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof Deno.errors.NotCapable) {
    const isKept = error.message.includes("Requires all access");
    const hint = "choose a directory that is not in /dev, /proc or /sys, or give --allow-all";
    return new MissingPermissionError(message, [], isKept ? { hint } : {});
  }
  return new OverlayError("failed", message, { cause: error });
}

/** Prints an error, and says what to exit with; where that cannot be told on stdout, it is on stderr. */
function reportSafely(thrown: unknown, args: readonly string[], io: Io): number {
  try {
    return report(thrown, args, io);
  } catch (error) {
    if (!(error instanceof UnwritableError)) throw error;
    return report(thrown, args.filter((arg) => arg !== "--json"), io);
  }
}

/** Prints an error, and says what to exit with. */
function report(thrown: unknown, args: readonly string[], io: Io): number {
  const error = thrown instanceof OverlayError ? thrown : unexpected(thrown);
  // Where stdout cannot be written to, an object on it would not be either.
  if (args.includes("--json") && !(error instanceof UnwritableError)) {
    const unmounted = error instanceof UnmountError ? { unmounted: error.unmounted } : {};
    const failures = error instanceof PodError ? { failures: error.failures } : {};
    io.out(`${JSON.stringify({ version: 1, error, ...unmounted, ...failures })}\n`);
    return error.exitStatus;
  }
  // Where a mistake of our own comes from is what its report needs.
  const isOurs = error !== thrown && error.exitStatus === 1 && thrown instanceof Error;
  const stack = isOurs ? `error: Cannot go on: ${thrown.stack ?? thrown.message}` : null;
  io.err(`${stack ?? `error: ${printable(error.message)}`}\n`);
  if (error.hint !== null) io.err(`hint: ${printable(error.hint)}\n`);
  return error.exitStatus;
}

/**
 * Runs the command.
 *
 * @param args The command line, without the program's name.
 * @param io The process it runs in. @default {this one}
 * @returns The exit status: 0 done, 1 failed, 2 usage, 3 refused, 4 a permission is missing, 130 and 143
 * interrupted.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { main } from "@overlay/render/cli";
 *
 * const lines: string[] = [];
 * const out = (text: string) => void lines.push(text);
 * const io = { out, err: out, input: () => new Uint8Array(), cwd: () => "/", onSignal: () => () => {} };
 * // Exits 1 where it sees that there is no such lower.
 * await main(["plan", "--lower", "/images/debian", "--pod", "/pods/one"], io);
 * assert(lines.join("").includes("--allow-write=/pods/one"));
 * ```
 */
export async function main(args: readonly string[], io: Io = processIo): Promise<number> {
  try {
    return await run(parseCommand(args, io.cwd()), io) ?? 0;
  } catch (error) {
    return reportSafely(error, args, io);
  }
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

/**
 * The listeners stay until the process ends: a signal that comes when all is done must not make it end
 * as if it had been undone. They do not keep it from ending.
 */
function onSignal(handler: (signal: number) => void): () => void {
  let interrupted = false;
  let done = false;
  for (const [name, number] of Object.entries(SIGNALS)) {
    Deno.addSignalListener(name as Deno.Signal, () => {
      // The second one is from somebody who does not want to wait for the undoing.
      if (interrupted) Deno.exit(128 + number);
      interrupted = true;
      if (!done) handler(number);
    });
  }
  return () => void (done = true);
}

/** The work is done and stays done; only its result could not be told. */
class UnwritableError extends OverlayError {
  constructor(reason: string) {
    super("failed", `Cannot write the result: ${reason}; what was asked for is done, and stays`, {
      hint: "overlay-render status tells what is mounted",
    });
  }
}

function write(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  const data = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < data.length;) at += stream.writeSync(data.subarray(at));
  } catch (error) {
    // Whoever read this has seen enough, as with `| head`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    const reason = (error instanceof Error ? error.message : String(error)).replace(
      / \(os .*/s,
      "",
    );
    throw new UnwritableError(reason);
  }
}

/** The streams of the web would cost a start of theirs. */
function readInput(): Uint8Array {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  let left = SPEC_MAX;
  for (let read = Deno.stdin.readSync(buffer); read !== null; read = Deno.stdin.readSync(buffer)) {
    parts.push(buffer.slice(0, read));
    if ((left -= read) >= 0) continue;
    throw new OverlayError("too-large", `Cannot read spec "-": it has more than ${SPEC_MAX} bytes`);
  }
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

const processIo: Io = {
  out: (text) => write(Deno.stdout, text),
  err: (text) => write(Deno.stderr, text),
  input: readInput,
  cwd: () => Deno.cwd(),
  onSignal,
};

// Not `Deno.exitCode`: what is still being opened, such as a FIFO without a writer, must not hold it.
if (import.meta.main) Deno.exit(await main(Deno.args));
