/**
 * The options and the result of an import.
 *
 * @module
 */
import type { SourceOptions } from "./import_source.ts";
import type { ImportProgress } from "./stage_layer.ts";
import type { ChangeOptions } from "../system/change_options.ts";

/** A tree that was imported. */
export interface ImportedTree {
  /** The tree id. */
  readonly id: string;
  /** The name that `--image` finds it by; `null` when it has none. */
  readonly image: string | null;
  /** The digest of the image's manifest, or of its config; `null` for a plain archive or a directory. */
  readonly digest: string | null;
  /** How many layers it has. */
  readonly layers: number;
  /** How many bytes its files have together. */
  readonly bytes: number;
  /** How many entries it has. */
  readonly entries: number;
  /** Set if anything was unpacked; otherwise all of it was in the store. */
  readonly changed: boolean;
}

/** The options of an import. */
export type ImportOptions = ChangeOptions & ImportProgress & SourceOptions;
