/**
 * The error of a command that a signal ended.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "./errors.ts";

/** A signal ended the command, and its changes were undone. Exit status 128 + the signal. */
export class InterruptedError extends OverlayError {
  static {
    this.prototype.name = "InterruptedError";
  }
  /** The signal's number: 2 for SIGINT, 15 for SIGTERM. */
  readonly signal: number;

  /** Makes an error for the signal with this number; the message tells whether the changes were undone. */
  constructor(signal: number, outcome: string = "and undone") {
    super("interrupted", `Cannot finish: interrupted by signal ${signal}, ${outcome}`);
    this.signal = signal;
  }

  /** The exit status that the command ends with: 130 or 143. */
  override get exitStatus(): number {
    return 128 + this.signal;
  }
}
