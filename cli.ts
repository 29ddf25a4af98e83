#!/usr/bin/env -S deno run --no-prompt --allow-read --allow-write --allow-run=/usr/bin/mount,/usr/bin/umount,/usr/bin/findmnt,/usr/bin/chcon
/**
 * The command `overlay-render`: reads the command line, calls the library, prints.
 *
 * @module
 */
import { parseCommand } from "./lib/command.ts";
import type { Command, Voice } from "./lib/command.ts";
import {
  InterruptedError,
  MissingPermissionError,
  OverlayError,
  UnmountError,
} from "./lib/errors.ts";
import type { ChangeOptions } from "./lib/change_options.ts";
import { printable, quote } from "./lib/quote.ts";

/** What the command needs of the process it runs in. */
export interface Io {
  /** Writes to stdout. */
  readonly out: (text: string) => void;
  /** Writes to stderr. */
  readonly err: (text: string) => void;
  /** The directory that relative paths are taken from. */
  readonly cwd: () => string;
  /** Calls back on SIGINT and SIGTERM with the signal's number; the result takes that back. */
  readonly onSignal: (handler: (signal: number) => void) => () => void;
}

function voiceOptions(io: Io, voice: Voice, signal?: AbortSignal): ChangeOptions {
  return {
    ...(voice.quiet ? {} : { warn: (text) => io.err(`warning: ${printable(text)}\n`) }),
    ...(voice.verbose ? { trace: (text) => io.err(`${printable(text)}\n`) } : {}),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** Runs what changes something; a signal ends it, and what it did is undone. */
async function interruptible<T>(io: Io, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const done = io.onSignal((signal) => controller.abort(new InterruptedError(signal)));
  try {
    return await act(controller.signal);
  } finally {
    done();
  }
}

type RenderCommand = Extract<Command, { kind: "plan" | "prepare" | "render" }>;

/** Each command loads only what it needs: every module costs start-up time. */
async function runPlan(command: RenderCommand, io: Io): Promise<void> {
  const { planRender } = await import("./lib/plan.ts");
  const { planJson, planText } = await import("./lib/output.ts");
  const plan = planRender(command.request, { mount: command.mount });
  io.out(command.voice.json ? planJson(plan) : planText(plan));
}

async function runRender(command: RenderCommand, io: Io): Promise<void> {
  const { prepareOverlay, renderOverlay } = await import("./lib/render.ts");
  const { request, voice, kind } = command;
  const act = kind === "prepare" ? prepareOverlay : renderOverlay;
  const render = await interruptible(io, (signal) => act(request, voiceOptions(io, voice, signal)));
  if (kind === "render" && !voice.json) return io.out(`${render.rootfs}\n`);
  const { formatJson, renderText } = await import("./lib/output.ts");
  io.out(voice.json ? formatJson(render) : renderText(render));
}

async function runUnmount(command: Extract<Command, { kind: "unmount" }>, io: Io): Promise<void> {
  const { unmountOverlay } = await import("./lib/unmount.ts");
  const { formatJson, unmountedText } = await import("./lib/output.ts");
  const { request, voice } = command;
  try {
    const result = await interruptible(io, (signal) => {
      return unmountOverlay(request, voiceOptions(io, voice, signal));
    });
    io.out(voice.json ? formatJson(result) : unmountedText(result.unmounted));
  } catch (error) {
    if (error instanceof UnmountError && !voice.json) io.out(unmountedText(error.unmounted));
    throw error;
  }
}

async function runStatus(command: Extract<Command, { kind: "status" }>, io: Io): Promise<void> {
  const { overlayStatus } = await import("./lib/status.ts");
  const { formatJson, statusText } = await import("./lib/output.ts");
  const renders = await overlayStatus(command.pod, voiceOptions(io, command.voice));
  if (renders.length === 0 && !command.voice.quiet) {
    io.err(`nothing is rendered in ${quote(command.pod)}\n`);
  }
  io.out(command.voice.json ? formatJson({ renders }) : statusText(renders));
}

async function runVersion(io: Io): Promise<void> {
  const { default: config } = await import("./deno.json", { with: { type: "json" } });
  io.out(`overlay-render ${config.version}\n`);
}

async function runHelp(topic: string | null, io: Io): Promise<void> {
  const { helpText } = await import("./lib/help.ts");
  io.out(helpText(topic));
}

function run(command: Command, io: Io): Promise<void> {
  switch (command.kind) {
    case "plan":
      return runPlan(command, io);
    case "prepare":
    case "render":
      return runRender(command, io);
    case "unmount":
      return runUnmount(command, io);
    case "status":
      return runStatus(command, io);
    case "version":
      return runVersion(io);
    case "help":
      return runHelp(command.topic, io);
  }
}

/** What nobody expects: a permission that is denied in part, and mistakes of our own. */
function unexpected(error: unknown): OverlayError {
  const message = `Cannot go on: ${error instanceof Error ? error.message : String(error)}`;
  if (error instanceof Deno.errors.NotCapable) return new MissingPermissionError(message, []);
  return new OverlayError("failed", message, { cause: error });
}

/** Prints an error, and says what to exit with. */
function report(thrown: unknown, args: readonly string[], io: Io): number {
  const error = thrown instanceof OverlayError ? thrown : unexpected(thrown);
  if (args.includes("--json")) {
    const unmounted = error instanceof UnmountError ? { unmounted: error.unmounted } : {};
    io.out(`${JSON.stringify({ version: 1, error, ...unmounted })}\n`);
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
 * const io = { out, err: out, cwd: () => "/", onSignal: () => () => {} };
 * assert(await main(["plan", "--lower", "/images/debian", "--pod", "/pods/one"], io) === 0);
 * assert(lines.join("").includes("--allow-write=/pods/one"));
 * ```
 */
export async function main(args: readonly string[], io: Io = processIo): Promise<number> {
  try {
    await run(parseCommand(args, io.cwd()), io);
    return 0;
  } catch (error) {
    return report(error, args, io);
  }
}

const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

function onSignal(handler: (signal: number) => void): () => void {
  let interrupted = false;
  const listeners = Object.entries(SIGNALS).map(([name, number]) => {
    const listener = () => {
      // The second one is from somebody who does not want to wait for the undoing.
      if (interrupted) Deno.exit(128 + number);
      interrupted = true;
      handler(number);
    };
    Deno.addSignalListener(name as Deno.Signal, listener);
    return () => Deno.removeSignalListener(name as Deno.Signal, listener);
  });
  return () => listeners.forEach((remove) => remove());
}

function write(stream: { writeSync(data: Uint8Array): number }, text: string): void {
  const data = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < data.length;) at += stream.writeSync(data.subarray(at));
  } catch (error) {
    // Whoever read this has seen enough, as with `| head`.
    if (error instanceof Deno.errors.BrokenPipe) return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new OverlayError("failed", `Cannot write what was asked for, which is done: ${reason}`);
  }
}

const processIo: Io = {
  out: (text) => write(Deno.stdout, text),
  err: (text) => write(Deno.stderr, text),
  cwd: () => Deno.cwd(),
  onSignal,
};

if (import.meta.main) Deno.exitCode = await main(Deno.args);
