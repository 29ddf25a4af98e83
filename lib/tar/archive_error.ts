/**
 * The error of an archive that is damaged, hostile, or not understood.
 *
 * Requires no permissions.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { quote } from "../core/quote.ts";

/** The error of an archive that has no name yet; its parts are kept for it. */
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

  /** A copy that names the archive. */
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

/** The error of an archive that is not one, or not one that can be trusted. */
export function archiveError(reason: string): ArchiveError {
  const hint = "make the image again, or get it again from where it came from";
  return new ArchiveError("bad-archive", "read archive", reason, hint);
}

/** Adds its name to the error of an archive that has none; any other error stays as it is. */
export function nameArchive(error: unknown, archive: ArchiveName): unknown {
  return error instanceof ArchiveError ? error.rename(archive) : error;
}
