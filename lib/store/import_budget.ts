/**
 * The limits of size and entries for all layers of an image together.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { LayerPolicy, LayerSummary } from "../layer/layer_policy.ts";
import type { LayerRecord } from "./tree_manifest.ts";

/** The limits of all layers of an image together, less the bytes and entries that they have so far. */
export class Budget {
  readonly #policy: LayerPolicy;
  #bytes = 0;
  #entries = 0;

  /** Starts with the limits of the policy, less the layers that are in the store already. */
  constructor(policy: LayerPolicy, found: readonly (LayerRecord | null)[]) {
    this.#policy = policy;
    const known = new Map(found.flatMap((one) => one === null ? [] : [[one.key, one] as const]));
    for (const record of known.values()) this.#take(record);
  }

  /**
   * Unpacks a layer within the remaining limits. Of two at once, each may use all of the rest; the sum is
   * checked when both are unpacked.
   *
   * @throws {OverlayError} If the limits are exceeded.
   */
  async spend<T extends { readonly unpacked: { readonly summary: LayerSummary } }>(
    stage: (policy: LayerPolicy) => Promise<T>,
  ): Promise<T> {
    const { maxBytes, maxEntries } = this.#policy;
    const policy = {
      ...this.#policy,
      maxBytes: Math.max(maxBytes - this.#bytes, 1),
      maxEntries: Math.max(maxEntries - this.#entries, 1),
    };
    try {
      const staged = await stage(policy);
      this.#take(staged.unpacked.summary);
      return staged;
    } catch (error) {
      const isFirst = this.#bytes + this.#entries === 0;
      if (isFirst || !(error instanceof OverlayError) || error.code !== "too-large") throw error;
      throw this.#error(error.hint?.includes("--max-entries") ? "entries" : "bytes");
    }
  }

  #take({ bytes, entries }: { readonly bytes: number; readonly entries: number }): void {
    this.#bytes += bytes;
    this.#entries += entries;
    if (this.#bytes > this.#policy.maxBytes) throw this.#error("bytes");
    if (this.#entries > this.#policy.maxEntries) throw this.#error("entries");
  }

  #error(what: "bytes" | "entries"): OverlayError {
    const isBytes = what === "bytes";
    const limit = isBytes ? this.#policy.maxBytes : this.#policy.maxEntries;
    const hint = `if that is as it should be, raise the limit with ${
      isBytes ? "--max-size" : "--max-entries"
    }`;
    const message = `Cannot import image: its layers have more than ${limit} ${what} together`;
    return new OverlayError("too-large", message, { hint });
  }
}
