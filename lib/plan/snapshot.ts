/**
 * The snapshot of a pod: what its record and the mount table say at one moment. Commands are planned by it.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { AppLine } from "../overlay/app_line.ts";
import type { FstabEntry } from "../overlay/fstab.ts";
import type { PodLayout } from "../request/layout.ts";
import type { Mount } from "../system/mount_table.ts";

/** The content of `overlay.fstab`. */
export interface PodRecord {
  /** Every line, in the order of mounting. */
  readonly entries: readonly FstabEntry[];
  /** The lines of apps among them. */
  readonly lines: readonly AppLine[];
}

/** How a line and the kernel agree: nothing is mounted there, the line is, or something else is. */
export type MountState = "unmounted" | "mounted" | "foreign";

/** A line beside the mount table. */
export interface SeenLine {
  /** The line. */
  readonly line: AppLine;
  /** How the line and the kernel agree. */
  readonly state: MountState;
  /** The mount point without symlinks; `null` when its destination is not there. */
  readonly target: string | null;
  /** The mount points in its rootfs. */
  readonly inside: readonly string[];
}

/** The record of a pod, and what is mounted of it. */
export interface PodSnapshot {
  /** The pod. */
  readonly pod: PodLayout;
  /** The content of `overlay.fstab`. */
  readonly record: PodRecord;
  /** The lines that were looked at. */
  readonly seen: readonly SeenLine[];
  /** The mounts in the pod that no line names, in the order of mounting; known where all lines are seen. */
  readonly unnamed: readonly Mount[];
}
