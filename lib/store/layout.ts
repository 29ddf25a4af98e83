/**
 * Where everything of the tree store lies. Paths only; nothing is read or made.
 *
 * Requires no permissions.
 *
 * @module
 */
import { DEFAULT_STORE } from "../request/layout.ts";
import { parsePath, parseTreeId } from "../request/names.ts";
import { child } from "../core/path.ts";

/** Where everything of a tree store lies. */
export interface StoreLayout {
  /** The store itself. */
  readonly store: string;
  /** The file that is locked while a command changes the store. */
  readonly lock: string;
  /** Holds each layer, unpacked as overlayfs takes it, by its key. */
  readonly layers: string;
  /** Holds a link with a short name to each layer: the kernel reads one page of options. */
  readonly links: string;
  /** Holds what is known of each layer: `<key>.json`, and `<key>.mtree` with a line of each entry. */
  readonly records: string;
  /** Holds the trees, by their ids. */
  readonly trees: string;
  /** Holds a note of each pod that was rendered from a tree: its path, in a file named by the SHA-256 of it. */
  readonly pods: string;
  /** Holds what is not finished; what is there while nobody holds the lock is left over. */
  readonly scratch: string;
}

/** Where everything of a tree of the store lies. */
export interface StoredTreeLayout {
  /** The tree. */
  readonly tree: string;
  /** The manifest, as JSON. */
  readonly manifest: string;
  /** The mark of a tree that is whole (rkt `renderedFilename`). */
  readonly rendered: string;
  /** The same mark while the tree is being removed. */
  readonly removing: string;
  /** The directory of a tree of one directory. */
  readonly rootfs: string;
  /** Of such a tree, a line of each entry. */
  readonly lines: string;
}

/**
 * Says where everything of a tree store lies.
 *
 * @throws {InvalidValueError} If the store is no absolute path.
 */
export function storeLayout(store: string = DEFAULT_STORE): StoreLayout {
  const root = parsePath("store", store);
  return {
    store: root,
    lock: child(root, "store.lock"),
    layers: child(root, "layer"),
    links: child(root, "l"),
    records: child(root, "record"),
    trees: child(root, "tree"),
    pods: child(root, "pod"),
    scratch: child(root, "tmp"),
  };
}

/**
 * Says where everything of a tree of the store lies.
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

/** The target of the link with a short name to a layer; it lies in {@linkcode StoreLayout.links}. */
export function formatLinkTarget(key: string): string {
  return `../layer/${key}`;
}
