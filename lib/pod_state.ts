/**
 * What a pod holds already: the lines of its `overlay.fstab`, and which of them are mounted.
 *
 * @module
 */
import { configOfLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { attempt, look, readOwnFile } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { appLines, parseFstab } from "./fstab.ts";
import type { FstabEntry } from "./fstab.ts";
import type { PodLayout } from "./layout.ts";
import { child, isWithin, parent } from "./path.ts";
import { parseMountOptions } from "./mount_config.ts";
import type { MountConfig } from "./mount_config.ts";
import type { Mount } from "./mount_table.ts";
import type { RequiredPermissions } from "./permissions.ts";
import { quote } from "./quote.ts";

/** The error for a pod that is not there. */
export function noPodError(pod: string): OverlayError {
  return new OverlayError("missing", `Cannot use pod ${quote(pod)}: it does not exist`, {
    path: pod,
    hint: "check --pod; a pod is made by prepare and render",
  });
}

/** How a line and the kernel agree: nothing is mounted there, the line is, or something else is. */
export type MountState = "unmounted" | "mounted" | "foreign";

/** What `overlay.fstab` says. */
export interface PodRecord {
  /** Every line, in the order of mounting. */
  readonly entries: readonly FstabEntry[];
  /** The lines of apps among them. */
  readonly lines: readonly AppLine[];
}

/**
 * Reads `overlay.fstab`; a pod without one has no lines.
 *
 * Requires `--allow-read` permission for the file.
 */
export function readRecord(fstab: string): PodRecord {
  const content = readOwnFile(fstab);
  const entries = content === null ? [] : parseFstab(decode(fstab, content));
  return { entries, lines: appLines(entries) };
}

/** Reads UTF-8 byte for byte: what is not would be lost when the file is written again. */
function decode(fstab: string, content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new RefusedError("failed", `Cannot read ${quote(fstab)}: it is not valid UTF-8`, {
      path: fstab,
      cause: error,
      hint: "write what is not in octal escapes, such as \\344, see fstab(5)",
    });
  }
}

/**
 * The mount point without symlinks, as the kernel names it; `null` when its destination is not there.
 *
 * Requires `--allow-read` permission for the pod, and for a destination outside it.
 */
export function realRootfs(rootfs: string, pod: PodLayout): string | null {
  // A pod is used only while nothing below it is a symlink, so one look serves all its apps.
  const top = isWithin(rootfs, pod.pod) ? pod.pod : parent(rootfs);
  if (look(top) === null) return null;
  const real = attempt("find", top, () => Deno.realPathSync(top));
  return child(real, rootfs.slice(top.length).replace(/^\//, ""));
}

/**
 * The Deno permissions that looking at the lines of a pod takes, beside the pod: destinations outside
 * it, and the lowers of bind mounts, which are told by what they show.
 */
export function linePermissions(lines: readonly AppLine[], pod: PodLayout): RequiredPermissions {
  const outside = lines.map((line) => parent(line.rootfs)).filter((dest) => {
    return !isWithin(dest, pod.pod);
  });
  const sources = lines.map((line) => line.source).filter((source) => source !== "overlay");
  return { read: [...new Set([...outside, ...sources])], write: [], run: [] };
}

/** Whether two configurations mount the same directories. */
export function samePaths(a: MountConfig, b: MountConfig): boolean {
  return a.upper === b.upper && a.work === b.work && a.lower.join("\0") === b.lower.join("\0");
}

/** Whether a path shows the very same directory as another; bind mounts do. */
export function sameDirectory(a: string, b: string): boolean {
  const [one, other] = [look(a), look(b)];
  return one !== null && one.dev === other?.dev && one.ino === other.ino;
}

/**
 * Compares a line with the mount table. Only the topmost mount at the rootfs counts, since it is the
 * one that anybody sees.
 *
 * @param table The mount table, in the order of mounting.
 */
export function mountState(line: AppLine, pod: PodLayout, table: readonly Mount[]): MountState {
  const target = realRootfs(line.rootfs, pod);
  const mount = table.findLast((mount) => mount.target === target);
  if (mount === undefined) return "unmounted";
  if (line.source !== "overlay") {
    // A bind mount that can be written through would let an app write into the lower.
    return mount.readOnly && sameDirectory(line.rootfs, line.source) ? "mounted" : "foreign";
  }
  // Both are compared as they were written: relative paths of the one are relative in the other.
  const same = samePaths(parseMountOptions(line.options), parseMountOptions(mount.options));
  return mount.fstype === "overlay" && same ? "mounted" : "foreign";
}

/** Whether two lines of a pod would write into the same directories. */
export function sharesWritable(a: AppLine, b: AppLine, pod: PodLayout): boolean {
  const writable = (line: AppLine) => {
    const { upper, work } = configOfLine(line, pod.pod);
    return [upper, work].filter((path) => path !== null);
  };
  return writable(a).some((one) => {
    return writable(b).some((other) => isWithin(one, other) || isWithin(other, one));
  });
}
