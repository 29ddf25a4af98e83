/**
 * The context in which lines are mounted.
 *
 * @module
 */
import type { ProgramOptions } from "../system/run.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { PodLayout } from "../request/layout.ts";

/** The context in which lines are mounted. */
export interface Mounting {
  /** Tells whether a line may be mounted in an image that was mounted before. */
  readonly isLive?: (line: AppLine) => boolean;
  /** The pod. */
  readonly pod: PodLayout;
  /** The options with which programs are run. */
  readonly programs: ProgramOptions;
  /** The options of the call: listeners and the signal. */
  readonly options: ChangeOptions;
  /** Set if no file may be written to ask the kernel about many lines at once. */
  readonly dryRun?: true;
}
