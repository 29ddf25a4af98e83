/**
 * The operations of gc, of keep and unkeep, and of removals from the tree store.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";

/** An operation on one path. */
export interface PathOperation<K extends string> {
  /** Tells the operations apart. */
  readonly kind: K;
  /** The file or directory. */
  readonly path: string;
}

/** The kernel is asked whether an upper is part of a mount, in whatever mount namespace. */
export interface IdleOperation extends PathOperation<"idle"> {
  /** The line of its app. */
  readonly line: AppLine;
  /** Set if an upper that is part of one stays as it is, and the rest of the plan is applied. */
  readonly orStays?: true;
  /** Set if it was unmounted lazily, so that such an upper is no failure. */
  readonly lazy?: true;
}

/** Nothing may be mounted in a directory, and no mount may use a directory in it. */
export type FreeOperation = PathOperation<"free">;

/** A pod with a note in the tree store may not use the trees that are removed. */
export type UnusedOperation = PathOperation<"unused">;

/** A pod is renamed into the garbage. */
export interface SetAsideOperation extends PathOperation<"set-aside"> {
  /** The first free name in the garbage. */
  readonly to: string;
  /** Set if the pod was named: on a full disk its works go first. */
  readonly named?: true;
}

/** A pod that is set aside gets its own name again. */
export interface PutBackOperation extends PathOperation<"put-back"> {
  /** The name that it had. */
  readonly to: string;
}

/** The grace period of a pod starts now, because it was set aside at a time in the future. */
export type GraceOperation = PathOperation<"grace">;

/** A destination outside the pod, or its rootfs if only that was made, is removed if it is empty. */
export interface RmdirOperation extends PathOperation<"rmdir"> {
  /** The rootfs in it. */
  readonly rootfs: string;
}

/** A directory is removed with its content. */
export type RemoveOperation = PathOperation<"remove">;

/** A pod is kept from gc, or no longer, by a file in it. */
export interface KeepOperation extends PathOperation<"keep"> {
  /** Set if the pod is kept afterwards. */
  readonly kept: boolean;
}

/** One step of these plans. */
export type CollectOperation =
  | IdleOperation
  | FreeOperation
  | UnusedOperation
  | SetAsideOperation
  | PutBackOperation
  | GraceOperation
  | RmdirOperation
  | RemoveOperation
  | KeepOperation;
