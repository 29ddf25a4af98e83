/**
 * The steps of tar for a layer, in their order.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatEntry } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";

/** A step of tar: it reads pieces, or empties a directory, and with `gone` also removes it. */
export type Step = readonly Uint8Array[] | { readonly clear: string; readonly gone?: true };

/** The steps of a filter that are not taken yet. */
export class StepQueue {
  #steps: Step[] = [];
  #pieces: Uint8Array[] = [];

  /** The number of pieces in the last step. */
  get pieces(): number {
    return this.#pieces.length;
  }

  /** Adds a piece for tar. */
  add(piece: Uint8Array): void {
    this.#pieces.push(piece);
  }

  /** Adds the header of an entry. */
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
