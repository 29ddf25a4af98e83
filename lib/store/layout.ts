/**
 * The paths of the tree store. It reads and makes no files.
 *
 * Requires no permissions.
 *
 * @module
 */
import { defaults } from "../request/layout.ts";
import { parsePath, parseTreeId } from "../request/names.ts";
import { child } from "../core/path.ts";

/** The paths of a tree store. */
export interface StoreLayout {
  /** The store itself. */
  readonly store: string;
  /** The file that is locked while a command changes the store. */
  readonly lock: string;
  /** Holds each layer, unpacked for overlayfs, by its key. */
  readonly layers: string;
  /** Holds a symlink with a short name to each layer, since the kernel reads one page of options. */
  readonly links: string;
  /** Holds the records of each layer: `<key>.json`, and `<key>.mtree` with a line for each entry. */
  readonly records: string;
  /** Holds the trees, by their ids. */
  readonly trees: string;
  /** Holds a note for each pod that was rendered from a tree: a file with its path, named by the SHA-256 of it. */
  readonly pods: string;
  /** Holds the original blobs of images that were imported so, as `<algorithm>/<hexadecimal>`. */
  readonly blobs: string;
  /** Holds unfinished imports; files there while the lock is free are remains. */
  readonly scratch: string;
}

/** The paths of a tree of the store. */
export interface StoredTreeLayout {
  /** The tree. */
  readonly tree: string;
  /** The manifest, as JSON. */
  readonly manifest: string;
  /** The `rendered` marker of a complete tree (rkt `renderedFilename`). */
  readonly rendered: string;
  /** The marker while the tree is being removed. */
  readonly removing: string;
  /** The directory of a tree of one directory. */
  readonly rootfs: string;
  /** The lines of the entries of a tree of one directory. */
  readonly lines: string;
}

/**
 * Computes the paths of a tree store.
 *
 * @throws {InvalidValueError} If the store is not an absolute path.
 */
export function storeLayout(store: string = defaults().store): StoreLayout {
  const root = parsePath("store", store);
  return {
    store: root,
    lock: child(root, "store.lock"),
    layers: child(root, "layer"),
    links: child(root, "l"),
    records: child(root, "record"),
    trees: child(root, "tree"),
    pods: child(root, "pod"),
    blobs: child(root, "blob"),
    scratch: child(root, "tmp"),
  };
}

/**
 * Computes the paths of a tree of the store.
 *
 * @throws {InvalidValueError} If the tree id could leave its directory.
 */
export function storedTreeLayout(store: StoreLayout, id: string): StoredTreeLayout {
  const tree = child(store.trees, parseTreeId(id));
  return {
    tree,
    manifest: child(tree, "manifest"),
    rendered: child(tree, "rendered"),
    removing: child(tree, "rendered.removing"),
    rootfs: child(tree, "rootfs"),
    lines: child(tree, "mtree"),
  };
}

/**
 * Computes the path of a blob.
 *
 * @param digest A checked digest.
 */
export function blobPath({ blobs }: StoreLayout, digest: string): string {
  return child(blobs, digest.replace(":", "/"));
}

/** Makes the target of the short symlink to a layer, which lies in {@linkcode StoreLayout.links}. */
export function formatLinkTarget(key: string): string {
  return `../layer/${key}`;
}
