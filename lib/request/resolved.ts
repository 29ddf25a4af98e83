/**
 * The facts about a request that are looked up on the disk. They are stored in the request under a symbol,
 * which no caller and no spec file can write.
 *
 * Requires no permissions.
 *
 * @module
 */

/** A tree of the store that is rendered. */
export interface StoredTree {
  /** The lower that the root of the rootfs is modelled on. @default {the first} */
  readonly rootLike?: string;
  /** The tree store. */
  readonly store: string;
  /** The directory in which the store notes the pods that use its trees. */
  readonly notes: string;
  /** The marker of a complete tree. */
  readonly rendered: string;
}

/** The facts that were looked up for a request. */
export interface Resolved {
  /** The tree in the store; absent for any other tree. */
  readonly stored?: StoredTree;
  /** The real path of each lower that is named through a symlink. */
  readonly real?: ReadonlyMap<string, string>;
}

const RESOLVED: unique symbol = Symbol("resolved");

/** Returns a copy of a request, or of an app of one, with facts that were looked up for it. */
export function withResolved<T extends object>(request: T, facts: Resolved): T {
  return { ...request, [RESOLVED]: { ...resolvedFor(request), ...facts } };
}

/** Returns the facts that were looked up for a request. */
export function resolvedFor(request: object): Resolved {
  return (request as { readonly [RESOLVED]?: Resolved })[RESOLVED] ?? {};
}
