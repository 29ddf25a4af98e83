/**
 * What every function that changes something may be told, beside what is asked for.
 *
 * Requires no permissions.
 *
 * @module
 */
import { shellQuote } from "../core/quote.ts";
import type { ProgramOptions } from "./run.ts";

/** Who is told what a run does, beside its result. */
export interface Reporter {
  /** Something that was skipped or is odd, in one sentence. */
  readonly warn?: (text: string) => void;
  /** Each operation and each command line, before it is run. */
  readonly trace?: (text: string) => void;
}

/** How a pod is changed. */
export interface ChangeOptions extends Reporter {
  /** Ends the run; what it did is undone. Checked between operations. */
  readonly signal?: AbortSignal;
  /** How long to wait for another process that changes the pod, in milliseconds. @default {10000} */
  readonly waitMs?: number;
  /** Is told the name of each single step when it is done. What it throws ends the run. */
  readonly checkpoint?: (step: string) => void;
}

/** The one option by which a run can be followed, and stopped, step by step. */
export type Checkpoints = Pick<ChangeOptions, "checkpoint">;

/** What programs are run with. */
export function programOptions(options: Reporter): ProgramOptions {
  return { trace: (argv) => options.trace?.(`run ${argv.map(shellQuote).join(" ")}`) };
}

/** The options of a change that is not to be ended halfway. */
export function uninterrupted({ signal: _, ...options }: ChangeOptions): ChangeOptions {
  return options;
}
