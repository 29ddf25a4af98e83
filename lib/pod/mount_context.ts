/**
 * What the mounting of lines needs to know.
 *
 * @module
 */
import type { ProgramOptions } from "../system/run.ts";
import type { AppLine } from "../overlay/app_line.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import type { PodLayout } from "../request/layout.ts";

/** What mounting lines needs to know. */
export interface Mounting {
  /** Tells whether a line may be mounted in an image that was mounted before. */
  readonly isLive?: (line: AppLine) => boolean;
  /** The pod. */
  readonly pod: PodLayout;
  /** What programs are run with. */
  readonly programs: ProgramOptions;
  /** Who is told what is done. */
  readonly options: ChangeOptions;
  /** Set if no file is written to ask the kernel about many lines at once. */
  readonly dryRun?: true;
}
