/**
 * The steps of tar that a layer takes, in their order.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatEntry } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";

/** The next step of tar: it reads pieces, or first a directory is emptied, which may have to go as well. */
export type Step = readonly Uint8Array[] | { readonly clear: string; readonly gone?: true };

/** The steps that have come out of a filter, and that nobody has taken yet. */
export class StepQueue {
  #steps: Step[] = [];
  #pieces: Uint8Array[] = [];

  /** How many pieces the last step has. */
  get pieces(): number {
    return this.#pieces.length;
  }

  /** Adds a piece to what tar reads. */
  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
  }

  /** Adds what stands in an archive before the content of an entry. */
  addEntry(path: string, entry: Omit<TarEntry, "name">): void {
    this.#pieces.push(...formatEntry({ ...entry, name: path === "" ? "./" : `./${path}` }));
  }

  /** Adds the step that empties a directory. */
  clear(step: Exclude<Step, readonly Uint8Array[]>): void {
    this.#steps.push(this.#pieces, step);
    this.#pieces = [];
  }

  /** Takes all steps. */
  take(): readonly Step[] {
    const steps = [...this.#steps, this.#pieces];
    this.#steps = [];
    this.#pieces = [];
    return steps;
  }
}
