/**
 * The path of an entry in its layer, which cannot lead out of it, and the meaning of names with the prefix
 * of whiteouts (OCI image specification, "Image Layer Filesystem Changeset").
 *
 * Requires no permissions.
 *
 * @module
 */
import { quoteBytes } from "../core/quote.ts";
import { archiveError } from "./archive_error.ts";

/** The meaning of a name. */
export type Meaning =
  /** An entry like any other. */
  | { readonly kind: "entry"; readonly path: string }
  /** The path is removed from the layers below. */
  | { readonly kind: "whiteout"; readonly path: string }
  /** The directory hides its entries in the layers below. */
  | { readonly kind: "opaque"; readonly path: string }
  /** A file that aufs kept for hard links to lead to. */
  | { readonly kind: "pseudo-link"; readonly path: string }
  /** A file that an old union file system kept for itself. */
  | { readonly kind: "ignored" };

/** The prefix of the name of a whiteout. */
export const WHITEOUT_PREFIX = ".wh.";

/** The name of the mark of an opaque directory. */
export const OPAQUE_MARK = ".wh..wh..opq";

const OWN = ".wh..wh.";

/** The directory in the root in which aufs keeps files with hard links in several directories. */
export const PSEUDO_LINKS = ".wh..wh.plnk";

/** Linux PATH_MAX and NAME_MAX, without the closing NUL. */
export const PATH_MAX = 4095;
const NAME_MAX = 255;

/** The largest depth of an entry, since each directory costs work; real trees have some dozens. */
const DEPTH_MAX = 512;

/**
 * Checks that a path in a layer is not too long and not too deep.
 *
 * @returns The path.
 * @throws {OverlayError} If it is too long or too deep.
 */
export function checkPath(path: string): string {
  return checkParts(path, path.split("/"));
}

function checkParts(path: string, parts: readonly string[]): string {
  const begins = () => `that begins with ${quoteBytes(path.slice(0, 60))}`;
  if (path.length > PATH_MAX || parts.some((part) => part.length > NAME_MAX)) {
    throw archiveError(`a name of ${path.length} bytes ${begins()} is too long for the kernel`);
  }
  if (parts.length > DEPTH_MAX) {
    const limit = `is too deep: ${DEPTH_MAX} are allowed`;
    throw archiveError(`a name of ${parts.length} parts ${begins()} ${limit}`);
  }
  return path;
}

/**
 * Computes the path of an entry in its layer: without a slash at either end, empty for the root.
 *
 * @throws {OverlayError} If it leads out of the layer, or is not a path.
 */
export function pathInLayer(name: string): string {
  if (name.includes("\0")) throw archiveError(`the name ${quoteBytes(name)} holds NUL`);
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) {
    throw archiveError(`the name ${quoteBytes(name)} holds "..", which leads out of the layer`);
  }
  return checkParts(parts.join("/"), parts);
}

/**
 * Checks the target of a symlink: any text that the kernel allows, since it is never followed here.
 *
 * @throws {OverlayError} If the kernel would refuse it.
 */
export function checkTarget(path: string, target: string): void {
  if (target === "" || target.includes("\0")) {
    throw archiveError(`${quoteBytes(path)} is a symlink to ${quoteBytes(target)}`);
  }
  if (target.length <= PATH_MAX) return;
  const what = `a symlink to ${target.length} bytes, which is too long for the kernel`;
  throw archiveError(`${quoteBytes(path)} is ${what}`);
}

/** Returns the parent directory of a path; empty for the root. */
export function directoryAbove(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

/**
 * Finds the meaning of an entry's name.
 *
 * @throws {OverlayError} If the name leads out of the layer, or is a whiteout of nothing.
 */
export function parseMeaning(name: string): Meaning {
  const path = pathInLayer(name);
  if (!path.includes(WHITEOUT_PREFIX)) return { kind: "entry", path };
  const directory = directoryAbove(path);
  const last = path.slice(directory === "" ? 0 : directory.length + 1);
  if (path.split("/").slice(0, -1).some((part) => part.startsWith(WHITEOUT_PREFIX))) {
    return underWhiteout(path);
  }
  if (!last.startsWith(WHITEOUT_PREFIX)) return { kind: "entry", path };
  if (last === OPAQUE_MARK) return { kind: "opaque", path: directory };
  if (last.startsWith(OWN)) return { kind: "ignored" };
  const gone = last.slice(WHITEOUT_PREFIX.length);
  if (gone === "" || gone === "." || gone === "..") {
    throw archiveError(
      `${quoteBytes(path)} is the whiteout of ${quoteBytes(gone)}, which is no name`,
    );
  }
  return { kind: "whiteout", path: directory === "" ? gone : `${directory}/${gone}` };
}

/** Finds the meaning of a path below a whiteout name, which only directories of old union file systems have. */
function underWhiteout(path: string): Meaning {
  const first = path.split("/").find((part) => part.startsWith(WHITEOUT_PREFIX)) ?? "";
  if (directoryAbove(path) === PSEUDO_LINKS) return { kind: "pseudo-link", path };
  if (first.startsWith(OWN)) return { kind: "ignored" };
  throw archiveError(`${quoteBytes(path)} lies in a whiteout`);
}
