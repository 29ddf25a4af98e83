/**
 * The policy by which a layer is unpacked, and the summary of one that was.
 *
 * @module
 */

/** Whose extended attributes overlayfs reads: root's, or, in a user namespace, the user's. */
export type AttributeClass = "trusted" | "user";

/** The parts of a layer that are let through. */
export interface LayerPolicy {
  /** Set if device nodes are made. */
  readonly devices: boolean;
  /** Set if files keep setuid, setgid and capabilities. */
  readonly setuid: boolean;
  /** The class of attributes that overlayfs will read. */
  readonly attributes: AttributeClass;
  /** Set if names that begin with `.wh.` are whiteouts, as in a layer; otherwise they are names like any other. */
  readonly whiteouts: boolean;
  /** The most bytes that the files of a layer may have together. */
  readonly maxBytes: number;
  /** The most entries that a layer may have. */
  readonly maxEntries: number;
}

/** The numbers of what a layer holds. */
export interface LayerSummary {
  /** How many entries were written. */
  readonly entries: number;
  /** How many bytes its files have together. */
  readonly bytes: number;
  /** Device nodes that were kept, and that were left out on request or because none can be made. */
  readonly devices: { readonly kept: number; readonly left: number };
  /** Files whose setuid, setgid or capabilities were kept, and that lost them. */
  readonly setuid: { readonly kept: number; readonly left: number };
  /** How many directories hide what is below; they need attributes of the class. */
  readonly opaque: number;
  /** Set if the layer hides all of the layers below. */
  readonly opaqueRoot: boolean;
  /** Set if the archive has an entry of the root. */
  readonly hasRoot: boolean;
  /** How many directories have no entry of their own. */
  readonly implicit: number;
}

/** Computes a digest, piece by piece. */
export interface Digest {
  /** Takes a piece. */
  update(bytes: Uint8Array): unknown;
  /** The digest in hexadecimal. */
  digest(encoding: "hex"): string;
}

/** Where what the filter finds goes. */
export interface LayerSink {
  /** Starts the SHA-256 of a file's content. */
  readonly startDigest: () => Digest;
  /** Takes the line of an entry, see `mtree.ts`. */
  readonly line: (text: string) => void;
}
