/**
 * The record of a pod, which is the lines of its `overlay.fstab`, and the directories those lines need.
 *
 * @module
 */
import { readLineConfig } from "../overlay/app_line.ts";
import { freshDirectories } from "./finish_reset.ts";
import type { AppLine } from "../overlay/app_line.ts";
import { isMissing } from "../system/disk.ts";
import { readOwnFile } from "../system/own_file.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { appLines, parseFstab } from "../overlay/fstab.ts";
import type { PodRecord } from "../plan/snapshot.ts";
import { isGranted } from "../system/permissions.ts";
import type { PodLayout } from "../request/layout.ts";
import { isWithin, parent } from "../core/path.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { quote } from "../core/quote.ts";

/** The error for a pod that is not there. */
export function noPodError(pod: string): OverlayError {
  return new OverlayError("missing", `Cannot use pod ${quote(pod)}: it does not exist`, {
    path: pod,
    hint: "check --pod; a pod is made by prepare and render",
  });
}

/**
 * Reads `overlay.fstab`; a pod without one has no lines.
 *
 * Requires `--allow-read` permission for the file.
 *
 * @throws {RefusedError} If it is damaged: an app without a line must not be taken for unmounted.
 */
export function readRecord(fstab: string): PodRecord {
  const content = readOwnFile(fstab);
  const entries = content === null ? [] : parseFstab(decode(fstab, content), fstab);
  return { entries, lines: appLines(entries) };
}

/** Decodes UTF-8 strictly: invalid bytes would be lost when the file is written again. */
function decode(fstab: string, content: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new RefusedError("bad-record", `Cannot read ${quote(fstab)}: it is not valid UTF-8`, {
      path: fstab,
      cause: error,
      hint: "write what is not in octal escapes, such as \\344, see fstab(5)",
    });
  }
}

/**
 * Computes the Deno permissions to look at the lines of a pod, beside the pod: destinations outside it, and
 * the lowers of bind mounts, with which the mounts are compared.
 */
export function linePermissions(lines: readonly AppLine[], pod: PodLayout): RequiredPermissions {
  const outside = lines.map((line) => parent(line.rootfs)).filter((dest) => {
    return !isWithin(dest, pod.pod);
  });
  const sources = lines.map((line) => line.source).filter((source) => source !== "overlay");
  return { read: [...new Set([...outside, ...sources])], write: [], run: [] };
}

/**
 * Finds the first directory that the mount of a line needs and that does not exist. The rootfs of an app that
 * lies in the rootfs of another one is there only while that one is mounted.
 *
 * @param idle The lines of the pod that are not mounted.
 */
export function findMissing(
  line: AppLine,
  pod: PodLayout,
  idle: readonly AppLine[],
): string | null {
  const { lower, upper, work } = readLineConfig(line, pod.pod);
  const nested = idle.some(({ rootfs }) => line.rootfs.startsWith(`${rootfs}/`));
  const needed = [...lower, upper, work, nested ? null : line.rootfs];
  const missing = needed.find((path) => path !== null && !isDirectory(path)) ?? null;
  if (missing === null) return null;
  const isFresh = freshDirectories(line, pod).some(({ path, fresh }) => {
    return path === missing && isDirectory(fresh);
  });
  return isFresh ? null : missing;
}

function isDirectory(path: string): boolean {
  // A path that may not be read is not known to be missing, and Deno must not prompt for it.
  if (!isGranted({ name: "read", path })) return true;
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
