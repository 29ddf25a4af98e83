/**
 * The policy for unpacking a layer, and the summary of the result.
 *
 * @module
 */

/** The class of the extended attributes of overlayfs: `trusted`, or `user` in a user namespace. */
export type AttributeClass = "trusted" | "user";

/** The parts of a layer that are allowed, and the limits. */
export interface LayerPolicy {
  /** Set if device nodes are made. */
  readonly devices: boolean;
  /** Set if files keep setuid, setgid and capabilities. */
  readonly setuid: boolean;
  /** The class of the attributes of overlayfs. */
  readonly attributes: AttributeClass;
  /** Set if names that begin with `.wh.` are whiteouts, as in a layer; otherwise they are names like any other. */
  readonly whiteouts: boolean;
  /** The largest size of all files of a layer, in bytes. */
  readonly maxBytes: number;
  /** The largest number of entries of a layer. */
  readonly maxEntries: number;
}

/** The summary of a layer, in numbers. */
export interface LayerSummary {
  /** The number of entries. */
  readonly entries: number;
  /** The size of its files, in bytes. */
  readonly bytes: number;
  /** The numbers of device nodes that were kept, and left out on request or since none can be made. */
  readonly devices: { readonly kept: number; readonly left: number };
  /** The numbers of files that kept setuid, setgid or capabilities, and that lost them. */
  readonly setuid: { readonly kept: number; readonly left: number };
  /** The number of opaque directories, which need attributes of the class. */
  readonly opaque: number;
  /** Set if the root is opaque, so that the layer hides all layers below. */
  readonly opaqueRoot: boolean;
  /** Set if the archive has an entry for the root. */
  readonly hasRoot: boolean;
  /** The number of directories without an entry. */
  readonly implicit: number;
}

/** Computes a digest, piece by piece. */
export interface Digest {
  /** Takes a piece. */
  update(bytes: Uint8Array): unknown;
  /** The digest in hexadecimal. */
  digest(encoding: "hex"): string;
}

/** The output of the filter. */
export interface LayerSink {
  /** Starts the SHA-256 of a file's content. */
  readonly startDigest: () => Digest;
  /** Receives the line of an entry, see `mtree.ts`. */
  readonly line: (text: string) => void;
}
