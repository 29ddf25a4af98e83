/**
 * The entries of a tree as lines of an mtree(5) file, with which BSD and OCI tools record a tree for later
 * checks.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { formatMode } from "../request/names.ts";
import { quote } from "../core/quote.ts";
import type { Directory, TarEntry } from "./tar_entry.ts";

/** The record of an entry: keywords of mtree(5) with their values, in written form. */
export type Keywords = ReadonlyMap<string, string>;

/** The keyword of a path that a later entry removed, which mtree(5) does not have. */
const REMOVED = "removed";

/** The keyword of a hard link, which mtree(5) does not have; its value is the target. */
const HARDLINK = "hardlink";

/** The types with other names in mtree(5). */
const NAMES: Partial<Record<TarEntry["type"], string>> = { directory: "dir", symlink: "link" };

/** Encodes bytes as vis(3) does: unsafe ones become octal. */
function encode(text: string): string {
  return text.replace(/[^!-~]|[\\#=]/g, (char) => {
    return `\\${char.charCodeAt(0).toString(8).padStart(3, "0")}`;
  });
}

function decode(text: string): string {
  return text.replace(
    /\\([0-7]{3})/g,
    (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function formatName(path: string): string {
  return path === "" ? "." : `./${encode(path)}`;
}

/** Formats a time with nine digits of the fraction, as in mtree(5). */
function formatTime(mtime: string): string {
  const [seconds = "0", fraction = ""] = mtime.split(".");
  return `${seconds}.${fraction.slice(0, 9).padEnd(9, "0")}`;
}

const ATTRIBUTE = "xattr.";

/** Parses the metadata of a directory in its record; `null` for another type. */
export function parseDirectory(keywords: Keywords | undefined): Directory | null {
  if (keywords?.get("type") !== "dir") return null;
  const number = (key: string, radix: number) => Number.parseInt(keywords.get(key) ?? "0", radix);
  const attributes = [...keywords].filter(([key]) => key.startsWith(ATTRIBUTE));
  return {
    mode: number("mode", 8),
    uid: number("uid", 10),
    gid: number("gid", 10),
    mtime: (keywords.get("time") ?? "0").replace(/\.?0+$/, ""),
    attributes: new Map(attributes.map(([key, value]) => {
      return [decode(key.slice(ATTRIBUTE.length)), atob(value)];
    })),
  };
}

/**
 * Formats the line of an entry other than a hard link.
 *
 * @param path The path, as bytes; empty for the root.
 * @param digest The SHA-256 of a file's content, in hexadecimal.
 */
export function formatEntryLine(
  path: string,
  entry: Omit<TarEntry, "name">,
  digest?: string,
): string {
  const { type, mode, uid, gid, size, mtime, link, device, attributes } = entry;
  let line = `${formatName(path)} type=${NAMES[type] ?? type} uid=${uid} gid=${gid}`;
  // The mode of a symlink has no meaning, and tar writes any value.
  if (type !== "symlink") line += ` mode=${formatMode(mode)}`;
  line += ` time=${formatTime(mtime)}`;
  if (type === "file") line += ` size=${size}`;
  if (digest !== undefined) line += ` sha256digest=${digest}`;
  if (type === "symlink") line += ` link=${encode(link)}`;
  if (type === "char" || type === "block") line += ` device=${device.join(",")}`;
  if (attributes.size === 0) return `${line}\n`;
  for (const [name, value] of [...attributes].sort(([a], [b]) => a < b ? -1 : 1)) {
    line += ` ${ATTRIBUTE}${encode(name)}=${btoa(value)}`;
  }
  return `${line}\n`;
}

/** Formats the line of a hard link to an earlier path. */
export function formatHardlinkLine(path: string, target: string): string {
  return `${formatName(path)} ${HARDLINK}=./${encode(target)}\n`;
}

/** Formats the line of a record. */
export function formatKeywordsLine(path: string, keywords: Keywords): string {
  const words = [...keywords].map(([key, value]) => ` ${key}=${value}`);
  return `${formatName(path)}${words.join("")}\n`;
}

/** Formats the line of a path that was removed, since another entry replaced a directory above it. */
export function formatRemovedLine(path: string): string {
  return `${formatName(path)} ${REMOVED}=yes\n`;
}

/**
 * Parses the lines of a tree. Later lines of a path replace earlier ones; a hard link has the record of its
 * target.
 *
 * @returns The records, by path.
 * @throws {OverlayError} If the text is damaged.
 */
export function parseLines(text: string): Map<string, Keywords> {
  const found = new Map<string, Keywords>();
  for (const one of text.split("\n")) {
    if (one === "" || one.startsWith("#")) continue;
    const [name = "", ...words] = one.split(" ");
    if (name !== "." && !name.startsWith("./")) throw linesError(one);
    const path = name === "." ? "" : decode(name.slice(2));
    const keywords = new Map(words.map((word) => {
      const equals = word.indexOf("=");
      if (equals <= 0) throw linesError(one);
      return [word.slice(0, equals), word.slice(equals + 1)];
    }));
    const target = keywords.get(HARDLINK);
    if (keywords.has(REMOVED)) found.delete(path);
    else found.set(path, target === undefined ? keywords : findTarget(found, target, one));
  }
  return found;
}

/** The lines of a record that are asked for, by paths as bytes. */
export interface WantedLines {
  /** The paths. */
  readonly paths: ReadonlySet<string>;
  /** Directories whose entries are asked for. @default {none} */
  readonly parents?: ReadonlySet<string>;
}

/**
 * Parses the lines of some paths, see {@linkcode parseLines}. The others are passed over as text, since a tree
 * may have many.
 *
 * @throws {OverlayError} If a line that is asked for is damaged.
 */
export function parseSomeLines(text: string, wanted: WantedLines): Map<string, Keywords> {
  const names = new Set([...wanted.paths].map(formatName));
  const parents = new Set([...wanted.parents ?? []].map(formatName));
  const targets = new Set<string>();
  for (;;) {
    const all = new Set([...names, ...targets]);
    const chosen = parents.size === 0
      ? chooseLines(text, (name) => all.has(name), new Set([...all].map(({ length }) => length)))
      : chooseLines(text, (name) => all.has(name) || parents.has(parentOf(name)));
    const more = findTargets(chosen).filter((name) => !targets.has(name));
    for (const name of more) targets.add(name);
    if (more.some((name) => !names.has(name))) continue;
    const found = parseLines(chosen.join("\n"));
    const isWanted = (name: string) => names.has(name) || parents.has(parentOf(name));
    return new Map([...found].filter(([path]) => isWanted(formatName(path))));
  }
}

/** Returns the written name of the directory above a written name; empty for the root. */
function parentOf(name: string): string {
  return name.slice(0, Math.max(name.lastIndexOf("/"), 0));
}

/**
 * Chooses the lines with wanted names.
 *
 * @param lengths The lengths of these names, which spare most other names from being cut out: 15 of 110 ms for
 * 100,000 lines are left. @default {any}
 */
function chooseLines(
  text: string,
  isWanted: (name: string) => boolean,
  lengths?: ReadonlySet<number>,
): string[] {
  const chosen: string[] = [];
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const space = text.indexOf(" ", at);
    const mayBe = space > at && space < end && (lengths?.has(space - at) ?? true);
    if (mayBe && isWanted(text.slice(at, space))) {
      chosen.push(text.slice(at, end));
    }
    at = end + 1;
  }
  return chosen;
}

/** Lists the written names of the targets of hard links. */
function findTargets(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const [, target] = line.split(" ", 2);
    return target?.startsWith(`${HARDLINK}=`) ? [target.slice(HARDLINK.length + 1)] : [];
  });
}

function findTarget(found: ReadonlyMap<string, Keywords>, target: string, one: string): Keywords {
  const keywords = found.get(decode(target.slice(2)));
  if (keywords === undefined) throw linesError(one);
  return keywords;
}

function linesError(one: string): OverlayError {
  return new OverlayError("bad-store", `Cannot read the record of a tree: ${quote(one)}`, {
    hint: "import the image again",
  });
}

/** Formats a path for messages, as in the lines. */
export function showPath(path: string): string {
  return `/${encode(path)}`;
}
