/**
 * The snapshot of a pod: its record and its mounts at one moment. Commands are planned from it.
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

/** The state of a line: nothing is mounted there, the line is, or another mount is. */
export type MountState = "unmounted" | "mounted" | "foreign";

/** A line and its mounts. */
export interface SeenLine {
  /** The line. */
  readonly line: AppLine;
  /** The state of the line. */
  readonly state: MountState;
  /** The mount point without symlinks; `null` when its destination does not exist. */
  readonly target: string | null;
  /** The mount points in its rootfs, innermost first. */
  readonly inside: readonly string[];
}

/** The record of a pod and its mounts. */
export interface PodSnapshot {
  /** The pod. */
  readonly pod: PodLayout;
  /** The content of `overlay.fstab`. */
  readonly record: PodRecord;
  /** The lines whose mounts were read. */
  readonly seen: readonly SeenLine[];
  /** The mounts in the pod without a line, in the order of mounting; known if all lines were read. */
  readonly unnamed: readonly Mount[];
}
