/**
 * The changes that a run has made, and how to undo them.
 *
 * @module
 */
import { describeError } from "../system/disk.ts";

interface Entry {
  readonly what: () => string;
  readonly undo: () => void | Promise<void>;
  readonly barrier: boolean;
}

/** A stack of undo actions. A run that fails undoes its own changes, and no others. */
export class Journal {
  readonly #entries: Entry[] = [];

  /**
   * Notes how to undo the last change.
   *
   * @param what Describes the undo action, such as `remove "/x"`, for the message if it fails.
   */
  add(what: () => string, undo: () => void | Promise<void>): void {
    this.#entries.push({ what, undo, barrier: false });
  }

  /**
   * Notes an undo action that all earlier ones depend on. If a mount cannot be undone, the directories
   * below it must stay: removing them would remove mounted files.
   */
  addBarrier(what: () => string, undo: () => void | Promise<void>): void {
    this.#entries.push({ what, undo, barrier: true });
  }

  /**
   * Undoes all changes, the last one first.
   *
   * @returns A description of each change that could not be undone; empty if all were.
   */
  async rollBack(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (let entry = this.#entries.pop(); entry !== undefined; entry = this.#entries.pop()) {
      try {
        await entry.undo();
      } catch (error) {
        problems.push(`could not ${entry.what()}: ${describeError(error)}`);
        if (entry.barrier) break;
      }
    }
    return problems;
  }
}
