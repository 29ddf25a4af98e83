/**
 * The options of every function that changes something.
 *
 * Requires no permissions.
 *
 * @module
 */
import { shellQuote } from "../core/quote.ts";
import type { ProgramOptions } from "./run.ts";

/** The callbacks that follow a run. */
export interface Reporter {
  /** Receives each warning, in one sentence. */
  readonly warn?: (text: string) => void;
  /** Receives each operation and each command line before it is run. */
  readonly trace?: (text: string) => void;
}

/** The options of a change to a pod. */
export interface ChangeOptions extends Reporter {
  /** Aborts the run and undoes its changes. Checked between operations. */
  readonly signal?: AbortSignal;
  /** How long to wait for another process that changes the pod, in milliseconds. @default {10000} */
  readonly waitMs?: number;
  /** Receives the name of each step when it is done. An error that it throws ends the run. */
  readonly checkpoint?: (step: string) => void;
}

/** The option with which a test follows a run, and stops it, step by step. */
export type Checkpoints = Pick<ChangeOptions, "checkpoint">;

/** Makes the options for programs. */
export function programOptions(options: Reporter): ProgramOptions {
  return { trace: (argv) => options.trace?.(`run ${argv.map(shellQuote).join(" ")}`) };
}

/** The options of a change that must not be aborted halfway. */
export function uninterrupted({ signal: _, ...options }: ChangeOptions): ChangeOptions {
  return options;
}
