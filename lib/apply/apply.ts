/**
 * The one interpreter of operations. Each is idempotent, and what it changed is noted so that it can be
 * undone; a run that fails takes back what it made, and only that.
 *
 * @module
 */
import { ApplyRun } from "./apply_run.ts";
import type { ApplyOptions, AppRun } from "./apply_run.ts";
import {
  applyDirectory,
  applyGroup,
  applyManifest,
  applyReal,
  applyRecords,
  applyRequires,
} from "./apply_disk.ts";
import { applyLock } from "./apply_lock.ts";
import { applyLabel, applyMounts } from "./apply_mount.ts";
import { OverlayError, PodError } from "../core/errors.ts";
import { checkAbove, checkGuarded } from "../system/trust.ts";
import type {
  CopyOperation,
  DirectoryOperation,
  LinkOperation,
  MountOperation,
  MtabOperation,
  Operation,
  RecordOperation,
  RequireOperation,
  TouchOperation,
  UseOperation,
} from "../plan/operation.ts";
import type { PodPlan } from "../plan/plan.ts";

/** What applying a plan came to. */
export interface Applied {
  /** Each app, in the order of the plan. */
  readonly apps: readonly AppRun[];
  /** Whether the plan mounts the apps; those that were live are mounted in any case. */
  readonly mounts: boolean;
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
export async function applyPlan(plan: PodPlan, options: ApplyOptions = {}): Promise<Applied> {
  const run = new ApplyRun(plan, options);
  try {
    for (const batch of batches(plan.operations)) {
      options.signal?.throwIfAborted();
      const open = batch.filter((operation) => !isDone(operation, run));
      if (open.length === 0) continue;
      if (options.trace !== undefined) await tell(open, options.trace);
      await apply(open, run);
      options.checkpoint?.(open[0]?.kind ?? "");
    }
    await run.onDisk;
    // It may have come while the last operation was applied.
    options.signal?.throwIfAborted();
  } catch (error) {
    await Promise.allSettled([run.onDisk]);
    throw withProblems(error, await run.journal.rollBack());
  } finally {
    run.lock?.[Symbol.dispose]();
  }
  return { apps: run.apps, mounts: run.mounts, changed: run.changed };
}

/** What is done for many apps at once: one look, one write, one mount process. */
const TOGETHER: readonly Operation["kind"][] = ["require", "trust", "record", "mount"];

/** The operations, with those that follow one another and are done at once put together. */
function batches(operations: readonly Operation[]): Operation[][] {
  const found: Operation[][] = [];
  for (const operation of operations) {
    const last = found.at(-1);
    const joins = TOGETHER.includes(operation.kind) && last?.[0]?.kind === operation.kind;
    if (joins) last.push(operation);
    else found.push([operation]);
  }
  return found;
}

/** What is done whether or not the app is mounted: each looks by itself whether there is anything to do. */
const ALWAYS: readonly Operation["kind"][] = ["manifest", "use", "record", "touch", "mtab"];

/** An app that is mounted as asked for needs nothing but its manifest, its line, and what is put into it. */
function isDone(operation: Operation, run: ApplyRun): boolean {
  if (ALWAYS.includes(operation.kind)) return false;
  const path = "rootfs" in operation ? operation.rootfs : operation.path;
  return run.live || run.appOf(path)?.live === true;
}

async function tell(
  operations: readonly Operation[],
  trace: (text: string) => void,
): Promise<void> {
  const { describeOperation } = await import("../plan/describe.ts");
  for (const operation of operations) trace(describeOperation(operation));
}

function apply(batch: readonly Operation[], run: ApplyRun): void | Promise<void> {
  const [operation] = batch;
  if (operation === undefined) return;
  switch (operation.kind) {
    case "require":
      return applyRequires(batch as readonly RequireOperation[], run);
    case "real":
      return applyReal(operation);
    case "trust":
      return applyTrust(batch.map(({ path }) => path), run);
    case "directory":
      applyDirectory(operation, run);
      return run.unseen.has(operation.path) ? trustMade(operation, run) : undefined;
    case "lock":
      return applyLock(operation, run);
    case "group":
      return applyGroup(operation, run);
    case "label":
      return applyLabel(operation, run);
    case "manifest":
      return applyManifest(operation, run);
    case "record":
      return applyRecords(batch as readonly RecordOperation[], run);
    case "link":
      return applyLink(operation, run);
    case "use":
      return applyUse(operation, run);
    case "copy":
    case "touch":
    case "mtab":
      return applyToRootfs(operation, run);
    case "mount":
      return applyMounts(batch as readonly MountOperation[], run);
    default:
      return operation satisfies never;
  }
}

async function applyTrust(paths: readonly string[], run: ApplyRun): Promise<void> {
  if (!await checkAbove(paths, run.programs, run.options.asked)) run.unseen = new Set(paths);
}

/** Somebody else may have made a directory above meanwhile, where one was missing. */
async function trustMade(operation: DirectoryOperation, run: ApplyRun): Promise<void> {
  await checkAbove([operation.path], run.programs);
  checkGuarded(operation);
}

/** Loaded when they are needed: most renders have none of these. */
async function applyLink(operation: LinkOperation, run: ApplyRun): Promise<void> {
  const store = await import("./apply_store.ts");
  await store.applyLink(operation, run);
}

async function applyUse(operation: UseOperation, run: ApplyRun): Promise<void> {
  const store = await import("./apply_store.ts");
  await store.applyUse(operation, run);
}

async function applyToRootfs(
  operation: CopyOperation | TouchOperation | MtabOperation,
  run: ApplyRun,
): Promise<void> {
  const { applyCopy, applyMtab, applyTouch } = await import("./apply_rootfs.ts");
  if (operation.kind === "copy") return await applyCopy(operation, run);
  if (operation.kind === "mtab") return await applyMtab(operation, run);
  await applyTouch(operation, run);
}

/** The error, and what could not be taken back after it. */
function withProblems(error: unknown, problems: readonly string[]): unknown {
  if (problems.length === 0) return error;
  const message = error instanceof Error ? error.message : String(error);
  const { code, path, hint } = error instanceof OverlayError
    ? error
    : { code: "failed" as const, path: null, hint: null };
  const text = `${message}; and then ${problems.join("; ")}`;
  const how = { ...(path === null ? {} : { path }), hint: hint ?? undefined, cause: error };
  // Something was touched, so nothing was only refused.
  return error instanceof PodError
    ? new PodError(code, text, { ...how, failures: error.failures, refused: false })
    : new OverlayError(code, text, how);
}
