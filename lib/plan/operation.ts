/**
 * What a plan is made of. Operations are data: frozen, safe as JSON, and applied by one interpreter.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { CollectOperation } from "./collect_operation.ts";

/** A mode that depends on the disk: that of a directory, with only the bits of `mask`. */
export interface LikeMode {
  /** The directory whose mode it is. */
  readonly like: string;
  /** The bits that are taken over. */
  readonly mask: number;
}

/** Something must be there before anything is made. */
export interface RequireOperation {
  /** Tells the operations apart. */
  readonly kind: "require";
  /** What must be there. */
  readonly path: string;
  /** What it must be. */
  readonly type: "directory" | "file";
}

/** No part of a path may be a symlink, because the option string names a directory twice, or from the pod. */
export interface RealOperation {
  /** Tells the operations apart. */
  readonly kind: "real";
  /** The path. */
  readonly path: string;
}

/** Nobody but root and the user we are may be able to rename what is above a path. */
export interface TrustOperation {
  /** Tells the operations apart. */
  readonly kind: "trust";
  /** The path. */
  readonly path: string;
}

/** A directory is made unless it is there. */
export interface DirectoryOperation {
  /** Tells the operations apart. */
  readonly kind: "directory";
  /** The directory. */
  readonly path: string;
  /** Its mode when it is made, exactly. */
  readonly mode: number | LikeMode;
  /** The directory whose owner and group it gets when it is made, or `null`. */
  readonly ownerLike: string | null;
  /** Whether it gets the mode even if it was there. */
  readonly force: boolean;
  /** Whether it is refused when it was there and others could change what is in it. */
  readonly guarded: boolean;
}

/** The pod is locked until the plan is applied. */
export interface LockOperation {
  /** Tells the operations apart. */
  readonly kind: "lock";
  /** The lock file. */
  readonly path: string;
}

/** A pod that is there is opened: it is checked who else could change it, and it is locked until the plan is applied. */
export interface OpenOperation {
  /** Tells the operations apart. */
  readonly kind: "open";
  /** The pod. */
  readonly path: string;
}

/** A pod, or all pods in a directory, are looked at: what they record, and what is mounted of it. */
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
  /** Where it goes. */
  readonly path: string;
  /** The file it is a copy of. */
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

/** The rootfs is mounted as `overlay.fstab` says, and looked at afterwards. */
export interface MountOperation {
  /** Tells the operations apart. */
  readonly kind: "mount";
  /** The rootfs. */
  readonly path: string;
  /** The `overlay.fstab`. */
  readonly fstab: string;
  /** The line, if it stands in `overlay.fstab`; one that cannot be mounted does not keep others from it. */
  readonly line?: AppLine;
  /** Set when it may be mounted in an image that was mounted before. */
  readonly live?: true;
  /** Set when a copy of the tree will do where overlayfs cannot be mounted. */
  readonly orCopy?: true;
}

/** Something is unmounted. What is in use stays, and does not keep the rest from being unmounted. */
export interface UnmountOperation {
  /** Tells the operations apart. */
  readonly kind: "unmount";
  /** The mount point, without symlinks. */
  readonly path: string;
  /** The line that names it; not there when it is the mount of a line that was lost. */
  readonly line?: AppLine;
  /** Set when what is in use goes, too: out of the file tree, and from the kernel when nothing uses it any more. */
  readonly lazy?: true;
}

/** The mark by which the kernel knows a volatile mount is removed after the unmount (kernel, overlayfs.rst). */
export interface VolatileOperation {
  /** Tells the operations apart. */
  readonly kind: "volatile";
  /** The mark, in the work. */
  readonly path: string;
  /** The rootfs that was unmounted. */
  readonly rootfs: string;
}

/** The rootfs is made a copy of the lower, where it is not to be an overlay. */
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
 * The directory in which the pod's own image keeps the exit status of apps is made in the upper, if the
 * image has it: there it is read without the mount (rkt stage0).
 */
export interface TouchOperation {
  /** Tells the operations apart. */
  readonly kind: "touch";
  /** The directory, in the upper. */
  readonly path: string;
  /** The rootfs that it will be seen in. */
  readonly rootfs: string;
}

/** `etc/mtab` becomes a link to `../proc/self/mounts`, if there is none (rkt `ensureMtabExists`). */
export interface MtabOperation {
  /** Tells the operations apart. */
  readonly kind: "mtab";
  /** The link, in the upper. */
  readonly path: string;
  /** The rootfs that it will be seen in. */
  readonly rootfs: string;
}

/** A link in the pod leads to the directory of the lowers, which have short names through it. */
export interface LinkOperation {
  /** Tells the operations apart. */
  readonly kind: "link";
  /** The link. */
  readonly path: string;
  /** Where it leads. */
  readonly to: string;
}

/** The tree store notes that the pod uses its trees; the tree must be whole then. */
export interface UseOperation {
  /** Tells the operations apart. */
  readonly kind: "use";
  /** The directory of notes in the store. */
  readonly path: string;
  /** The pod. */
  readonly pod: string;
  /** The tree store. */
  readonly store: string;
  /** The mark of the tree that it is whole. */
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
  | TouchOperation
  | MtabOperation
  | CollectOperation;

/** The kind of an operation. */
export type Kind = Operation["kind"];

/** The operation of a kind. */
export type OperationOf<K extends Kind> = Extract<Operation, { readonly kind: K }>;
