/**
 * The errors that this project throws on purpose. Each has a stable `code`, the exit status of the
 * command, the path it is about and, if there is one, a hint for the user.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The kind of an {@linkcode OverlayError}. The names are stable, for programs. */
export type ErrorCode =
  | "usage"
  | "invalid-value"
  | "missing"
  | "not-a-directory"
  | "failed"
  | "mount-failed"
  | "unmount-failed"
  | "busy"
  | "refused"
  | "symlink"
  | "different"
  | "foreign-mount"
  | "shared-pod"
  | "in-use"
  | "kept"
  | "not-due"
  | "volatile"
  | "pod-moved"
  | "locked"
  | "too-long"
  | "too-many-lowers"
  | "unreadable"
  | "lower-twice"
  | "lower-nested"
  | "crossing"
  | "conflicting-options"
  | "different-devices"
  | "upper-on-overlay"
  | "upper-on-network"
  | "upper-on-fuse"
  | "upper-without-xattr"
  | "upper-without-d-type"
  | "upper-read-only"
  | "bad-archive"
  | "bad-digest"
  | "bad-image"
  | "too-large"
  | "bad-store"
  | "bad-record"
  | "unsupported-lower"
  | "unknown-option"
  | "unsupported-mount"
  | "no-overlayfs"
  | "not-permitted"
  | "label-left-out"
  | "invalid-label"
  | "bad-reference"
  | "network"
  | "untrusted-tls"
  | "unauthorized"
  | "denied"
  | "rate-limited"
  | "redirect-refused"
  | "upper-redirected"
  | "unrepresentable"
  | "changed"
  | "no-id-range"
  | "no-namespace"
  | "no-runtime"
  | "permission"
  | "interrupted";

/** The form of an error in `--json` output. */
export interface ErrorJson {
  /** Stable name of the kind of failure. */
  readonly code: ErrorCode;
  /** One sentence: `Cannot <verb> <thing> "<value>": <what is so>`. */
  readonly message: string;
  /** The path the error is about, or `null`. */
  readonly path: string | null;
  /** The hint for the user, or `null`. */
  readonly hint: string | null;
}

/** The optional parts of an error. */
export interface OverlayErrorOptions {
  /** The path the error is about. */
  readonly path?: string | null | undefined;
  /** The hint for the user, in one line. */
  readonly hint?: string | null | undefined;
  /** The error that caused this one. */
  readonly cause?: unknown;
}

/** The parts in which a copy of an error differs, see {@linkcode OverlayError.with}. */
export type ErrorChanges = Partial<Pick<OverlayError, "code" | "message" | "path" | "hint">>;

/**
 * An operation failed; the base of all errors that this project throws on purpose. The command exits
 * with {@linkcode OverlayError.exitStatus}, here 1.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { OverlayError } from "@overlay/render";
 *
 * const error = new OverlayError("missing", 'Cannot render lower "/x": it does not exist', {
 *   path: "/x",
 * });
 * assert(error.toJSON().code === "missing");
 * ```
 */
export class OverlayError extends Error {
  static {
    this.prototype.name = "OverlayError";
  }
  /** Stable name of the kind of failure. */
  readonly code: ErrorCode;
  /** The path the error is about, or `null`. */
  readonly path: string | null;
  /** The hint for the user, or `null`. */
  readonly hint: string | null;

  /** Makes an error of the kind `code`. */
  constructor(code: ErrorCode, message: string, options: OverlayErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.path = options.path ?? null;
    this.hint = options.hint ?? null;
  }

  /** The exit status that the command ends with. */
  get exitStatus(): number {
    return 1;
  }

  /** Returns a copy of the same class with another message or other parts; this error is its cause. */
  with(changes: ErrorChanges): this {
    const copy = new Error(changes.message ?? this.message, { cause: this });
    Object.setPrototypeOf(copy, Object.getPrototypeOf(this));
    Object.assign(copy, this, changes);
    Error.captureStackTrace(copy, this.with);
    return copy as this;
  }

  /** The form used by `--json`; `JSON.stringify` of a plain error loses the message. */
  toJSON(): ErrorJson {
    return { code: this.code, message: this.message, path: this.path, hint: this.hint };
  }
}

/** A flag or a value is not allowed; nothing was touched. Exit status 2. */
export class InvalidValueError extends OverlayError {
  static {
    this.prototype.name = "InvalidValueError";
  }

  /** The exit status that the command ends with: 2. */
  override get exitStatus(): number {
    return 2;
  }
}

/** A safety check refused the operation; nothing was touched. Exit status 3. */
export class RefusedError extends OverlayError {
  static {
    this.prototype.name = "RefusedError";
  }

  /** The exit status that the command ends with: 3. */
  override get exitStatus(): number {
    return 3;
  }
}

/** Deno permissions are missing; nothing was touched. Exit status 4. */
export class MissingPermissionError extends OverlayError {
  static {
    this.prototype.name = "MissingPermissionError";
  }
  /** The flags to add, for example `--allow-run=/bin/mount`. */
  readonly flags: readonly string[];

  /** Makes an error that names the `flags` to add. */
  constructor(message: string, flags: readonly string[], options: OverlayErrorOptions = {}) {
    super("permission", message, options);
    this.flags = flags;
  }

  /** The exit status that the command ends with: 4. */
  override get exitStatus(): number {
    return 4;
  }
}

/** The result of a program that failed. */
export interface ProgramFailure {
  /** The command line, the program's absolute path first. */
  readonly argv: readonly string[];
  /** Its exit status; mount(8) has a bit mask. */
  readonly status: number;
  /** Its stderr, trimmed. */
  readonly stderr: string;
}

/** `mount` or `umount` failed. Exit status 1. */
export class MountError extends OverlayError {
  static {
    this.prototype.name = "MountError";
  }
  /** The program and its result. */
  readonly failure: ProgramFailure;

  /** Makes an error that carries the result of the program. */
  constructor(
    code: ErrorCode,
    message: string,
    options: OverlayErrorOptions & { readonly failure: ProgramFailure },
  ) {
    super(code, message, options);
    this.failure = options.failure;
  }
}

/** Some apps could not be unmounted; the others were. Exit status 1. */
export class UnmountError extends MountError {
  static {
    this.prototype.name = "UnmountError";
  }
  /** The apps that were unmounted, in the order of unmounting. */
  readonly unmounted: readonly { readonly app: string; readonly rootfs: string }[];

  /** Makes an error that lists the apps that were unmounted. */
  constructor(
    code: ErrorCode,
    message: string,
    options: OverlayErrorOptions & {
      readonly failure: ProgramFailure;
      readonly unmounted: UnmountError["unmounted"];
    },
  ) {
    super(code, message, options);
    this.unmounted = options.unmounted;
  }
}

/** The error of one app of a pod. */
export interface AppFailureJson extends ErrorJson {
  /** The app's name; empty for the pod's own image. */
  readonly app: string;
}

/**
 * Some apps of a call failed, and each is named with its cause. Exit status 3 if a safety check refused
 * all of them, otherwise 1.
 */
export class PodError extends OverlayError {
  static {
    this.prototype.name = "PodError";
  }
  /** The errors, one for each app that failed. */
  readonly failures: readonly AppFailureJson[];
  /** Set if a safety check refused all of them, and nothing was touched. */
  readonly refused: boolean;

  /** Makes an error of several apps. */
  constructor(
    code: ErrorCode,
    message: string,
    options: OverlayErrorOptions & {
      readonly failures: readonly AppFailureJson[];
      readonly refused: boolean;
    },
  ) {
    super(code, message, options);
    this.failures = options.failures;
    this.refused = options.refused;
  }

  /** The exit status that the command ends with: 3 or 1. */
  override get exitStatus(): number {
    return this.refused ? 3 : 1;
  }
}

/**
 * Turns a refusal that came after a change into a failure, with exit status 1. Any other error is returned
 * unchanged.
 */
export function asFailure<T>(error: T): T | OverlayError {
  if (error instanceof PodError) return Object.assign(error.with({}), { refused: false });
  if (!(error instanceof RefusedError)) return error;
  return new OverlayError(error.code, error.message, { ...error, cause: error });
}
