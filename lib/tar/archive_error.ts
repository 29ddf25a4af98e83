/**
 * The error for an archive that is damaged, hostile or not supported.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** The error for an archive without a name; its parts are kept until the name is added. */
export class ArchiveError extends OverlayError {
  /** The action that failed, such as `read archive`. */
  readonly action: string;
  /** The reason. */
  readonly reason: string;

  /** Makes an error of an action. */
  constructor(code: ErrorCode, action: string, reason: string, hint?: string) {
    super(code, `Cannot ${action}: ${reason}`, { hint });
    this.action = action;
    this.reason = reason;
  }

  /** Makes a copy with the name of the archive. */
  rename({ name, path }: ArchiveName): OverlayError {
    const message = `Cannot ${this.action} ${quote(name)}: ${this.reason}`;
    return new OverlayError(this.code, message, { ...this, path, cause: this });
  }
}

/** The name of an archive in messages, and the path that it is read from. */
export interface ArchiveName {
  /** The name. */
  readonly name: string;
  /** The path. */
  readonly path: string;
}

/** Makes the error for an archive that is invalid or cannot be trusted. */
export function archiveError(reason: string): ArchiveError {
  const hint = "make the image again, or get it again from where it came from";
  return new ArchiveError("bad-archive", "read archive", reason, hint);
}

/** Adds the name of the archive to an error without it; other errors are returned unchanged. */
export function nameArchive(error: unknown, archive: ArchiveName): unknown {
  return error instanceof ArchiveError ? error.rename(archive) : error;
}
