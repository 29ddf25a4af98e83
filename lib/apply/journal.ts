/**
 * What a run has done, and how each of it is undone.
 *
 * @module
 */
import { describeError } from "../system/disk.ts";

interface Entry {
  readonly what: () => string;
  readonly undo: () => void | Promise<void>;
  readonly barrier: boolean;
}

/** A stack of things to undo. A run that fails takes back what it made, and only that. */
export class Journal {
  readonly #entries: Entry[] = [];

  /**
   * Notes how to undo what was just done.
   *
   * @param what What undoing does, such as `remove "/x"`; asked for when that cannot be done.
   */
  add(what: () => string, undo: () => void | Promise<void>): void {
    this.#entries.push({ what, undo, barrier: false });
  }

  /**
   * The same for what everything before it depends on. When a mount cannot be taken back, what lies
   * below it must stay: removing it would remove what is mounted.
   */
  addBarrier(what: () => string, undo: () => void | Promise<void>): void {
    this.#entries.push({ what, undo, barrier: true });
  }

  /**
   * Undoes everything, last thing first.
   *
   * @returns What could not be undone, in words; empty when all is as it was.
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
