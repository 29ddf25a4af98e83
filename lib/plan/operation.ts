/**
 * The operations of plans. They are data: frozen, safe as JSON, and applied by one interpreter.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { CollectOperation } from "./collect_operation.ts";

/** A mode that depends on the disk: that of a directory, with only the bits of `mask`. */
export interface LikeMode {
  /** The directory whose mode it is. */
  readonly like: string;
  /** The bits that are copied. */
  readonly mask: number;
}

/** A file or directory must exist before anything is made. */
export interface RequireOperation {
  /** Tells the operations apart. */
  readonly kind: "require";
  /** The path that must exist. */
  readonly path: string;
  /** The type that it must have. */
  readonly type: "directory" | "file";
}

/** No part of a path may be a symlink, because the option string names a directory twice or relatively. */
export interface RealOperation {
  /** Tells the operations apart. */
  readonly kind: "real";
  /** The path. */
  readonly path: string;
}

/** Only root and the current user may be able to rename the directories above a path. */
export interface TrustOperation {
  /** Tells the operations apart. */
  readonly kind: "trust";
  /** The path. */
  readonly path: string;
}

/** A directory is made unless it exists. */
export interface DirectoryOperation {
  /** Tells the operations apart. */
  readonly kind: "directory";
  /** The directory. */
  readonly path: string;
  /** Its mode when it is made, exactly. */
  readonly mode: number | LikeMode;
  /** The directory whose owner and group it gets when it is made, or `null`. */
  readonly ownerLike: string | null;
  /** Set if it gets the mode even if it existed. */
  readonly force: boolean;
  /** Set if it is refused when it existed and other users could change its content. */
  readonly guarded: boolean;
}

/** The pod is locked until the plan is applied. */
export interface LockOperation {
  /** Tells the operations apart. */
  readonly kind: "lock";
  /** The lock file. */
  readonly path: string;
}

/** An existing pod is opened: its trust is checked, and it is locked until the plan is applied. */
export interface OpenOperation {
  /** Tells the operations apart. */
  readonly kind: "open";
  /** The pod. */
  readonly path: string;
}

/** The records and mounts of a pod, or of all pods in a directory, are read. */
export interface LookOperation {
  /** Tells the operations apart. */
  readonly kind: "look";
  /** The pod or the directory. */
  readonly path: string;
}

/** A directory gets a group. */
export interface GroupOperation {
  /** Tells the operations apart. */
  readonly kind: "group";
  /** The directory. */
  readonly path: string;
  /** A group id, or a name of /etc/group. */
  readonly group: number | string;
}

/** A directory gets an SELinux label. */
export interface LabelOperation {
  /** Tells the operations apart. */
  readonly kind: "label";
  /** The directory. */
  readonly path: string;
  /** The SELinux context. */
  readonly context: string;
}

/** The manifest is copied into the destination. */
export interface ManifestOperation {
  /** Tells the operations apart. */
  readonly kind: "manifest";
  /** The path of the copy. */
  readonly path: string;
  /** The file that is copied. */
  readonly from: string;
  /** Its mode. */
  readonly mode: number;
}

/** The line of the app is written into `overlay.fstab`. */
export interface RecordOperation {
  /** Tells the operations apart. */
  readonly kind: "record";
  /** The `overlay.fstab`. */
  readonly path: string;
  /** The line. */
  readonly line: AppLine;
}

/** The rootfs is mounted as `overlay.fstab` says, and verified afterwards. */
export interface MountOperation {
  /** Tells the operations apart. */
  readonly kind: "mount";
  /** The rootfs. */
  readonly path: string;
  /** The `overlay.fstab`. */
  readonly fstab: string;
  /** The line, if it is in `overlay.fstab` already. If it cannot be mounted, the others still are. */
  readonly line?: AppLine;
  /** Set when it may be mounted in an image that was already mounted. */
  readonly live?: true;
  /** Set when a copy of the tree is made where overlayfs cannot be mounted. */
  readonly orCopy?: true;
}

/** A mount point is unmounted. If it is busy, it stays, and the others are still unmounted. */
export interface UnmountOperation {
  /** Tells the operations apart. */
  readonly kind: "unmount";
  /** The mount point, without symlinks. */
  readonly path: string;
  /** The line that names it; absent when the line was lost. */
  readonly line?: AppLine;
  /** Set when it is unmounted lazily: detached at once, and released when nothing uses it any more. */
  readonly lazy?: true;
}

/** The kernel's marker of a volatile mount is removed after the unmount (kernel, overlayfs.rst). */
export interface VolatileOperation {
  /** Tells the operations apart. */
  readonly kind: "volatile";
  /** The marker, in the work. */
  readonly path: string;
  /** The rootfs that was unmounted. */
  readonly rootfs: string;
}

/** An empty upper and an empty work take the place of those of an app, and the old ones are removed. */
export interface ResetOperation {
  /** Tells the operations apart. */
  readonly kind: "reset";
  /** The app. */
  readonly app: string;
  /** The upper. */
  readonly path: string;
  /** The work. */
  readonly work: string;
  /** The image directory, in which the old ones lie until they are removed. */
  readonly image: string;
  /** The rootfs, which is not mounted. */
  readonly rootfs: string;
  /** Its mount point, whose mode and owner the upper gets. */
  readonly point: string;
  /** The SELinux context of the new ones, or `null`. */
  readonly label: string | null;
}

/** The lower is copied to the rootfs, in place of an overlay. */
export interface CopyOperation {
  /** Tells the operations apart. */
  readonly kind: "copy";
  /** The rootfs. */
  readonly path: string;
  /** The lower. */
  readonly from: string;
  /** Mode of the rootfs; the lower's when it is `null`. */
  readonly mode: number | null;
  /** Set when the copy gets an `etc/mtab`, see {@linkcode MtabOperation}. */
  readonly mtab?: true;
}

/**
 * The directory with the exit status of apps is made in the upper of the pod's own image, if the image has
 * it: there it can be read without the mount (rkt stage0).
 */
export interface TouchOperation {
  /** Tells the operations apart. */
  readonly kind: "touch";
  /** The directory, in the upper. */
  readonly path: string;
  /** The rootfs in which it appears. */
  readonly rootfs: string;
}

/** `etc/mtab` is made a link to `../proc/self/mounts`, unless it exists (rkt `ensureMtabExists`). */
export interface MtabOperation {
  /** Tells the operations apart. */
  readonly kind: "mtab";
  /** The link, in the upper. */
  readonly path: string;
  /** The rootfs in which it appears. */
  readonly rootfs: string;
}

/** A link to the directory of the lowers is made in the pod, which gives them short names. */
export interface LinkOperation {
  /** Tells the operations apart. */
  readonly kind: "link";
  /** The link. */
  readonly path: string;
  /** The target of the link. */
  readonly to: string;
}

/** The tree store notes that the pod uses its trees; the tree must be complete. */
export interface UseOperation {
  /** Tells the operations apart. */
  readonly kind: "use";
  /** The directory of notes in the store. */
  readonly path: string;
  /** The pod. */
  readonly pod: string;
  /** The tree store. */
  readonly store: string;
  /** The marker of a complete tree. */
  readonly rendered: string;
}

/** One step of a plan. */
export type Operation =
  | RequireOperation
  | RealOperation
  | TrustOperation
  | DirectoryOperation
  | LockOperation
  | OpenOperation
  | LookOperation
  | GroupOperation
  | LabelOperation
  | ManifestOperation
  | LinkOperation
  | UseOperation
  | RecordOperation
  | CopyOperation
  | MountOperation
  | UnmountOperation
  | VolatileOperation
  | ResetOperation
  | TouchOperation
  | MtabOperation
  | CollectOperation;

/** The kind of an operation. */
export type Kind = Operation["kind"];

/** The operation of a kind. */
export type OperationOf<K extends Kind> = Extract<Operation, { readonly kind: K }>;
