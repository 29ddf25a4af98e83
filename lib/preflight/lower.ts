/**
 * Looking at a lower, and judging whether it can be used at all. Every render does, so it has a file of its own.
 *
 * @module
 */
import { errno, failure, identityOf, isMissing } from "../system/disk.ts";
import { quote } from "../core/quote.ts";
import type { ErrorCode } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";

/** What is at a path. */
export type Kind = "directory" | "file" | "missing" | "unreadable" | "unchecked";

/** What is known of a directory. */
export interface DirectoryFacts {
  /** The path, as it is named. */
  readonly path: string;
  /** What is there. */
  readonly kind: Kind;
  /** The path without symlinks; `null` when nothing is there, or it could not be found out. */
  readonly real: string | null;
  /** Which directory it is, whatever its name; `null` as above. */
  readonly id: string | null;
}

/** Looks at a lower, as far as the permissions go. */
export function lookAtLower(path: string): DirectoryFacts {
  if (!isGranted({ name: "read", path })) return { path, kind: "unchecked", real: null, id: null };
  try {
    const info = Deno.statSync(path);
    const { isDirectory } = info;
    const real = Deno.realPathSync(path);
    // A directory that may not be read mounts all the same, and then shows nothing to anybody but root.
    if (isDirectory) Deno.readDirSync(path)[Symbol.iterator]().next();
    return { path, kind: isDirectory ? "directory" : "file", real, id: identityOf(info) };
  } catch (error) {
    const code = errno(error) ?? "";
    if (error instanceof Deno.errors.NotCapable) {
      return { path, kind: "unchecked", real: null, id: null };
    }
    if (isMissing(error)) {
      return { path, kind: "missing", real: null, id: null };
    }
    if (code !== "EACCES" && code !== "EPERM") throw failure("read", path, error);
    return { path, kind: "unreadable", real: null, id: null };
  }
}

/** Something that is wrong with a render. */
export interface Finding {
  /** Stable name of the rule. */
  readonly code: ErrorCode;
  /** The paths it is about, the one to blame first. */
  readonly paths: readonly [string, ...string[]];
  /** What is so: `Cannot <verb> <thing> "<value>": <what is so>`. */
  readonly sentence: string;
  /** What to do about it. */
  readonly hint: string;
}

/** Judges a lower: it may be missing, no directory, or closed to this user. */
export function judgeLower({ path, kind }: DirectoryFacts): Finding | null {
  const bad = BAD[kind];
  if (bad === undefined) return null;
  const [code, reason, hint] = bad;
  return { code, paths: [path], sentence: `Cannot use lower ${quote(path)}: ${reason}`, hint };
}

const BAD: Partial<Record<Kind, readonly [code: ErrorCode, reason: string, hint: string]>> = {
  missing: ["missing", "it does not exist", "check the path that was given as lower"],
  file: ["not-a-directory", "it is a file", "a lower must be a directory"],
  unreadable: [
    "unreadable",
    "it may not be read",
    "run as a user who may read it, such as root",
  ],
};
