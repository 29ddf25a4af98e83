/**
 * The form of the help of a command.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The texts of a command. Each is lines of at most 80 columns, without a newline at the end. */
export interface HelpText {
  /** The purpose. */
  readonly purpose: string;
  /** The command line. */
  readonly usage: string;
  /** Command lines to copy. */
  readonly examples: string;
  /** More to know, after the flags. @default {nothing} */
  readonly notes?: string;
  /** The flags of `deno run` that it needs. */
  readonly permissions: string;
}
