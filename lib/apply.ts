/**
 * The one interpreter of operations. Each is idempotent, and what it changed is noted so that it can be
 * undone; a run that fails takes back what it made, and only that.
 *
 * @module
 */
import type { AppLine } from "./app_line.ts";
import { Application } from "./application.ts";
import type { ApplyOptions } from "./application.ts";
import {
  applyDirectory,
  applyGroup,
  applyManifest,
  applyReal,
  applyRecord,
  applyRequire,
} from "./apply_disk.ts";
import { applyLock } from "./apply_lock.ts";
import { applyLabel, applyMount } from "./apply_mount.ts";
import { OverlayError } from "./errors.ts";
import type { Operation } from "./operation.ts";
import type { Plan } from "./plan.ts";

/** What applying a plan came to. */
export interface Applied {
  /** The line as it is recorded. */
  readonly line: AppLine;
  /** Whether the app is mounted now. */
  readonly mounted: boolean;
  /** Whether anything was changed. */
  readonly changed: boolean;
}

/**
 * Applies a plan.
 *
 * Requires the permissions that `requiredPermissions` computes of the plan.
 *
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If an operation fails; what was made is taken back.
 * @throws The signal's reason, if it is aborted; what was made is taken back.
 */
export async function applyPlan(plan: Plan, options: ApplyOptions = {}): Promise<Applied> {
  const run = new Application(plan, options);
  try {
    for (const operation of plan.operations) {
      options.signal?.throwIfAborted();
      if (isDone(operation, run)) continue;
      await tell(operation, options);
      await apply(operation, run);
    }
    await run.onDisk;
  } catch (error) {
    await Promise.allSettled([run.onDisk]);
    throw withProblems(error, await run.journal.rollBack());
  } finally {
    run.lock?.[Symbol.dispose]();
  }
  return { line: run.line, mounted: run.live || run.mounts, changed: run.changed };
}

/** An app that is mounted as asked for needs nothing but its manifest and its line. */
function isDone(operation: Operation, run: Application): boolean {
  return run.live && operation.kind !== "manifest" && operation.kind !== "record";
}

async function tell(operation: Operation, options: ApplyOptions): Promise<void> {
  if (options.trace === undefined) return;
  const { describeOperation } = await import("./describe.ts");
  options.trace(describeOperation(operation));
}

function apply(operation: Operation, run: Application): void | Promise<void> {
  switch (operation.kind) {
    case "require":
      return applyRequire(operation);
    case "real":
      return applyReal(operation);
    case "directory":
      return applyDirectory(operation, run);
    case "lock":
      return applyLock(operation, run);
    case "group":
      return applyGroup(operation, run);
    case "label":
      return applyLabel(operation, run);
    case "manifest":
      return applyManifest(operation, run);
    case "record":
      return applyRecord(operation, run);
    case "mount":
      return applyMount(run);
    default:
      return operation satisfies never;
  }
}

/** The error, and what could not be taken back after it. */
function withProblems(error: unknown, problems: readonly string[]): unknown {
  if (problems.length === 0) return error;
  const message = error instanceof Error ? error.message : String(error);
  const { code, path, hint } = error instanceof OverlayError
    ? error
    : { code: "failed" as const, path: null, hint: null };
  return new OverlayError(code, `${message}; and then ${problems.join("; ")}`, {
    ...(path === null ? {} : { path }),
    hint: hint ?? undefined,
    cause: error,
  });
}
