/**
 * The pod's `overlay.fstab`: one line per app in the order of mounting. Comments and lines that an
 * administrator added are kept as they are.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatAppLine, parseAppLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";

/** A line of the file: the line of an app, or any other as it stands. */
export type FstabEntry = AppLine | string;

/** Mode of the file: no secret, and every administrator may read it. */
export const FSTAB_MODE = 0o644;

const HEADER = [
  "# The apps of this pod, in the order of mounting; written by overlay-render. See fstab(5).",
  "# To mount them all, in this directory: mount --all --fstab overlay.fstab",
];

/** Reads the text of an `overlay.fstab`. */
export function parseFstab(text: string): readonly FstabEntry[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines.map((line) => parseAppLine(line) ?? line);
}

/** Writes the text of an `overlay.fstab`. */
export function formatFstab(entries: readonly FstabEntry[]): string {
  const lines = entries.map((entry) => typeof entry === "string" ? entry : formatAppLine(entry));
  return lines.map((line) => `${line}\n`).join("");
}

/** The lines of apps among the entries. */
export function appLines(entries: readonly FstabEntry[]): readonly AppLine[] {
  return entries.filter((entry) => typeof entry !== "string");
}

/**
 * Puts lines of apps in: each in the place of its old one, or at the end. Further lines of the same app
 * go, since `mount --all` would mount them one on the other.
 */
export function withLines(
  entries: readonly FstabEntry[],
  lines: readonly AppLine[],
): readonly FstabEntry[] {
  const open = new Map(lines.map((line) => [line.app, line]));
  const names = new Set(open.keys());
  const kept = entries.flatMap((entry) => {
    if (typeof entry === "string" || !names.has(entry.app)) return [entry];
    const line = open.get(entry.app);
    open.delete(entry.app);
    return line === undefined ? [] : [line];
  });
  return [...(entries.length === 0 ? HEADER : kept), ...open.values()];
}
