/**
 * The facts about a lower, and the check that it can be used. Every render needs it, so it has its own file.
 *
 * @module
 */
import { errno, failure, formatIdentity, isMissing } from "../system/disk.ts";
import { quote } from "../core/quote.ts";
import type { ErrorCode } from "../core/errors.ts";
import { isGranted } from "../system/permissions.ts";

/** The kind of a path. */
export type Kind = "directory" | "file" | "missing" | "unreadable" | "unchecked";

/** The facts about a directory. */
export interface DirectoryFacts {
  /** The path as named. */
  readonly path: string;
  /** The kind of the path. */
  readonly kind: Kind;
  /** The path without symlinks; `null` when it does not exist, or is unknown. */
  readonly real: string | null;
  /** The identity of the directory, whatever its name; `null` as above. */
  readonly id: string | null;
}

/** Collects the facts about a lower, as far as the permissions allow. */
export function lookAtLower(path: string): DirectoryFacts {
  if (!isGranted({ name: "read", path })) return { path, kind: "unchecked", real: null, id: null };
  try {
    const info = Deno.statSync(path);
    const { isDirectory } = info;
    const real = Deno.realPathSync(path);
    // A directory that may not be read can still be mounted, but then only root can read it.
    if (isDirectory) Deno.readDirSync(path)[Symbol.iterator]().next();
    return { path, kind: isDirectory ? "directory" : "file", real, id: formatIdentity(info) };
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

/** A problem of a render. */
export interface Finding {
  /** Stable name of the rule. */
  readonly code: ErrorCode;
  /** The paths it is about, the cause first. */
  readonly paths: readonly [string, ...string[]];
  /** The message: `Cannot <verb> <thing> "<value>": <fact>`. */
  readonly sentence: string;
  /** The hint for the user. */
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
