/**
 * The pod's `overlay.fstab`: one line per app in the order of mounting. Comments and lines of other file
 * systems that an administrator added are kept unchanged; any other line is an error, since it may be the
 * damaged line of a mounted app.
 *
 * Requires no permissions.
 *
 * @module
 */
import { formatAppLine, isForeignLine, parseAppLine } from "./app_line.ts";
import type { AppLine } from "./app_line.ts";
import { RefusedError } from "../core/errors.ts";
import { parent } from "../core/path.ts";
import { quote, shellQuote } from "../core/quote.ts";

/** A line of the file: the line of an app, or the text of any other line. */
export type FstabEntry = AppLine | string;

/** Mode of the file: no secret, and every administrator may read it. */
export const FSTAB_MODE = 0o644;

const HEADER = [
  "# The apps of this pod, in the order of mounting; written by overlay-render. See fstab(5).",
  "# To mount them all, in this directory: mount --all --fstab overlay.fstab",
];

/**
 * Reads the text of an `overlay.fstab`.
 *
 * @param path The file, for messages.
 * @throws {RefusedError} If a line is not understood; the message has its number.
 */
export function parseFstab(text: string, path: string): readonly FstabEntry[] {
  const lines = text.split("\n");
  const rest = lines.pop() ?? "";
  const entries = lines.map((line, at) => {
    return entryOf(line) ?? damaged(path, at + 1, `is not understood: ${quote(startOf(line))}`);
  });
  if (rest !== "") {
    const reason = `has no end, as if the file had been cut off: ${quote(startOf(rest))}`;
    damaged(path, lines.length + 1, reason);
  }
  return entries;
}

function entryOf(line: string): FstabEntry | null {
  if (line.includes("\0")) return null;
  // Some editors put a byte order mark in front.
  if (/^\ufeff?[ \t\r]*(#|$)/.test(line)) return line;
  return parseAppLine(line) ?? (isForeignLine(line) ? line : null);
}

function damaged(path: string, number: number, reason: string): never {
  const pod = shellQuote(parent(path));
  throw new RefusedError("bad-record", `Cannot read ${quote(path)}: line ${number} ${reason}`, {
    path,
    hint: "mend the line, see fstab(5); or take it out, and unmount what it named: " +
      `overlay-render unmount --foreign --pod ${pod}`,
  });
}

/** Shortens a line for a message. */
function startOf(line: string): string {
  const signs = [...line];
  return signs.length > 60 ? `${signs.slice(0, 60).join("")}...` : line;
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
 * Inserts lines of apps: each replaces the old line of its app, or is appended. Further lines of the same app
 * are removed, since `mount --all` would mount them one on the other.
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
