/**
 * The values of a request. Each parser turns text from outside into a value that needs no further check,
 * or throws an {@linkcode InvalidValueError} that quotes the text.
 *
 * Requires no permissions.
 *
 * @module
 */
import { normalize } from "../core/deps.ts";
import { InvalidValueError } from "../core/errors.ts";
import { isPlain } from "../core/quote.ts";
import { PROFILE_NAMES, PROFILES } from "./profile.ts";
import type { Profile } from "./profile.ts";
import { invalid, ValueError } from "../core/invalid.ts";

/** The name of an app: one path segment, or empty for the pod's own image. */
export type AppName = string & { readonly __brand: "AppName" };

/** The name of a tree: one path segment. */
export type TreeId = string & { readonly __brand: "TreeId" };

/** An absolute path without `.`, `..`, double or trailing slashes. */
export type AbsolutePath = string & { readonly __brand: "AbsolutePath" };

/** The longest name of a directory entry, in bytes (Linux NAME_MAX). */
const NAME_MAX = 255;

/** The longest path, in bytes and without the closing NUL (Linux PATH_MAX). */
const PATH_MAX = 4095;

/** Counts the bytes of a text that is too long; `null` for any other text. */
function excessOf(text: string, most: number): number | null {
  // A UTF-16 unit has at most three bytes; most texts are far too short to be counted.
  if (text.length * 3 <= most) return null;
  const { length } = new TextEncoder().encode(text);
  return length > most ? length : null;
}

/** Callers without types can give anything. */
function checkText(what: string, value: unknown): void {
  if (typeof value === "string") return;
  throw new ValueError(what, JSON.stringify(value) ?? String(value), "it must be a string", {});
}

function parseSegment(what: string, value: string): string {
  checkText(what, value);
  if (value === "." || value === "..") throw invalid(what, value, "it would leave its directory");
  if (value.includes("/")) throw invalid(what, value, 'a name must not hold "/"');
  // deno-lint-ignore no-control-regex
  if (!isPlain(value) && /[\u0000-\u001f\u007f-\u009f]/.test(value)) {
    throw invalid(what, value, "a name must not hold control characters");
  }
  if (!value.isWellFormed()) throw invalid(what, value, "a name must be valid Unicode");
  const length = excessOf(value, NAME_MAX);
  if (length !== null) {
    throw invalid(what, value, `a name has at most ${NAME_MAX} bytes and this one has ${length}`);
  }
  return value;
}

/**
 * Parses the name of an app. The empty name is the pod's own image.
 *
 * @throws {InvalidValueError} If the name is `.` or `..`, holds a slash, NUL or another control
 * character, or is longer than 255 bytes.
 */
export function parseAppName(value: string): AppName {
  return parseSegment("app", value) as AppName;
}

/**
 * Parses a tree id.
 *
 * @throws {InvalidValueError} If it is empty, or could not be the name of a directory.
 */
export function parseTreeId(value: string): TreeId {
  if (value === "") throw invalid("tree", value, "a tree id must not be empty");
  return parseSegment("tree", value) as TreeId;
}

/**
 * Names the tree of a lower after its path: the last part, or the one before a last part `rootfs`.
 * Control characters, which a tree id must not hold, become `%XX`.
 */
export function deriveTreeId(lower: AbsolutePath): TreeId {
  const names = lower.split("/").filter((name) => name !== "");
  const last = names.at(-1) === "rootfs" ? names.at(-2) ?? "rootfs" : names.at(-1) ?? "root";
  // deno-lint-ignore no-control-regex
  const name = isPlain(last) ? last : last.replace(/[\u0000-\u001f\u007f-\u009f]/g, (char) => {
    return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  });
  try {
    return parseTreeId(name);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    throw error.with({ hint: "name the tree with --tree" });
  }
}

/**
 * Parses a path. Double and trailing slashes and `.` are dropped; `..` is refused, because what it
 * means depends on symlinks.
 *
 * @param what The word for the path in an error, such as `lower`.
 * @throws {InvalidValueError} If it is empty, relative, holds `..` or NUL, or is too long for the kernel.
 */
export function parsePath(what: string, value: string): AbsolutePath {
  const refuse = (reason: string) => {
    throw invalid(what, value, reason, { path: value });
  };
  checkText(what, value);
  if (value === "") refuse("a path must not be empty");
  if (value.includes("\0")) refuse("a path must not hold NUL");
  if (!value.startsWith("/")) refuse('it is relative, and must start with "/"');
  if (value.split("/").includes("..")) {
    refuse('it holds "..", which means another place where a link is followed');
  }
  if (!value.isWellFormed()) refuse("a path must be valid Unicode");
  const length = excessOf(value, PATH_MAX);
  if (length !== null) refuse(`a path has at most ${PATH_MAX} bytes and this one has ${length}`);
  // Most are as they should be, and are not read from their first character again.
  const ends = value.endsWith("/.") || (value.length > 1 && value.endsWith("/"));
  if (!ends && !value.includes("//") && !value.includes("/./")) return value as AbsolutePath;
  const path = normalize(value);
  return (path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path) as AbsolutePath;
}

/**
 * Parses the path of a pod, see {@linkcode parsePath}.
 *
 * @throws {InvalidValueError} If it is no path, or the root directory, which cannot be removed or set aside.
 */
export function parsePod(value: string): AbsolutePath {
  const path = parsePath("pod", value);
  if (path !== "/") return path;
  const hint = "give a directory of its own: --pod DIR";
  throw invalid("pod", path, "it is the root directory", { path, hint });
}

/**
 * Parses a dir mode: three or four octal digits, or a number.
 *
 * @throws {InvalidValueError} If it is not octal, lets others write, or sets more than the nine
 * permission bits: setuid, setgid and sticky on the pod's directories would leak into every rootfs.
 */
export function parseDirMode(value: string | number): number {
  const text = typeof value === "number" ? formatMode(value) : value;
  if (!/^0?[0-7]{3,4}$/.test(text)) {
    throw invalid("dir mode", text, "it must be three or four octal digits, such as 0750");
  }
  const mode = Number.parseInt(text, 8);
  if (mode > 0o777) {
    throw invalid("dir mode", text, "it may set permission bits only, at most 0777");
  }
  if ((mode & 0o022) !== 0) {
    throw invalid(
      "dir mode",
      text,
      "it lets others write, and a pod that others can change is refused",
    );
  }
  return mode;
}

/**
 * Checks a mode of the library's callers, which chmod(2) would cut to its twelve bits.
 *
 * @throws {InvalidValueError} If it is not a whole number from 0 to 0o7777.
 */
export function checkMode(mode: number): void {
  if (Number.isInteger(mode) && mode >= 0 && mode <= 0o7777) return;
  throw invalid("mode", String(mode), "a mode is a whole number from 0 to 0o7777");
}

/** Writes a mode the way every tool does: four octal digits. */
export function formatMode(mode: number): string {
  return mode.toString(8).padStart(4, "0");
}

/**
 * Parses a group: a number from 0 to 4294967294, or a name.
 *
 * @throws {InvalidValueError} If it is neither.
 */
export function parseGroup(value: string | number): number | string {
  const text = String(value);
  const neither = "it must be a group id or a group's name";
  // Without this, NaN and Infinity would pass for names.
  if (typeof value === "number" && !Number.isInteger(value)) throw invalid("group", text, neither);
  if (/^[0-9]+$/.test(text)) {
    const gid = Number(text);
    // 2^32 - 1 is chown(2)'s "leave it", and larger ones wrap around: 2^32 would be root.
    if (gid > 4294967294) throw invalid("group", text, "a group id is at most 4294967294");
    return gid;
  }
  if (!/^[A-Za-z_][\w.-]*\$?$/.test(text)) {
    throw invalid("group", text, neither);
  }
  return text;
}

/**
 * Parses a mount label, an SELinux context `user:role:type` or `user:role:type:level`.
 *
 * @throws {InvalidValueError} If it is not one.
 */
export function parseLabel(value: string): string {
  if (!/^[\w.-]+:[\w.-]+:[\w.-]+(:[\w.,:-]+)?$/.test(value)) {
    throw invalid(
      "label",
      value,
      "it must be an SELinux context",
      {
        hint: "write user:role:type or user:role:type:level, such as " +
          '"system_u:object_r:container_file_t:s0:c1,c2"',
      },
    );
  }
  return value;
}

/**
 * Parses one of a few words.
 *
 * @throws {InvalidValueError} If it is none of them; the message lists them.
 */
export function parseChoice<T extends string>(
  what: string,
  value: string,
  choices: readonly T[],
): T {
  const found = choices.find((choice) => choice === value);
  if (found !== undefined) return found;
  const words = `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
  throw invalid(what, value, `it must be ${words}`);
}

/** The form of a rootfs: an overlay always, never (a copy), or a copy only where it cannot be one. */
export type OverlayMode = "always" | "auto" | "never";

/** The overlay modes. */
export const OVERLAY_MODES: readonly OverlayMode[] = ["always", "auto", "never"];

/** The condition on which a render pulls its image: if it is not in the store, or in any case. */
export type PullMode = "missing" | "always" | "never";

/** The conditions on which a render pulls its image. */
export const PULL_MODES: readonly PullMode[] = ["missing", "always", "never"];

/**
 * The place of destinations in a pod. `default`: `<pod>/apps/<app>`, and the pod itself for the empty app.
 * `rkt`: `<pod>/stage1/rootfs/opt/stage2/<app>`, inside the rootfs of the empty app, which is `<pod>/stage1`.
 */
export type LayoutName = "default" | "rkt";

/** The names of the layouts. */
export const LAYOUTS: readonly LayoutName[] = ["default", "rkt"];

/**
 * Finds a profile by its name.
 *
 * @throws {InvalidValueError} If there is none of that name.
 */
export function parseProfile(value: string): Profile {
  return PROFILES[parseChoice("profile", value, PROFILE_NAMES)];
}

/** Hashes a text to eight hexadecimal digits (FNV-1a). Collisions are easy to make on purpose. */
export function hashName(text: string): string {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** A compression of an archive that is written. */
export type WrittenCompression = "none" | "gzip" | "zstd";

/** The compressions of an archive that is written. */
export const COMPRESSIONS: readonly WrittenCompression[] = ["none", "gzip", "zstd"];
