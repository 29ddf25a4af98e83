/**
 * What every function that changes something may be told, beside what is asked for.
 *
 * Requires no permissions.
 *
 * @module
 */
import { shellQuote } from "./quote.ts";
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
}

/** Where tests can stop a run. */
export interface Checkpoints {
  /** Is told the kind of each single step when it is done. */
  readonly checkpoint?: (step: string) => void;
}

/** What programs are run with. */
export function programOptions(options: Reporter): ProgramOptions {
  return { trace: (argv) => options.trace?.(`run ${argv.map(shellQuote).join(" ")}`) };
}
