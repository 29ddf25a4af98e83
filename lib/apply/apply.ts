/**
 * The interpreter of operations. Each is idempotent, and each change is noted in a journal: a run that
 * fails undoes its own changes, and no others.
 *
 * @module
 */
import { ApplyRun } from "./apply_run.ts";
import type { ApplyOptions, AppRun, Outcome } from "./apply_run.ts";
import { asFailure, OverlayError } from "../core/errors.ts";
import { errnoOfCause } from "../system/disk.ts";
import { HANDLERS } from "./handlers.ts";
import type { Handler } from "./handlers.ts";
import type { Operation } from "../plan/operation.ts";
import type { Plan } from "../plan/plan.ts";

/** The result of applying a plan. */
export interface Applied {
  /** Each app, in the order of the plan. */
  readonly apps: readonly AppRun[];
  /** Set if the plan mounts the apps; those that were live are mounted in any case. */
  readonly mounts: boolean;
  /** Set if anything was changed. */
  readonly changed: boolean;
  /** The outcome of unmounts and restores. */
  readonly outcome: Outcome;
  /** The path of the pod, which may have been moved. */
  readonly place: string;
}

/**
 * Applies a plan.
 *
 * Requires the permissions that `requiredPermissions` computes of the plan.
 *
 * @throws {RefusedError} If a safety check refuses; nothing was touched.
 * @throws {OverlayError} If an operation fails; all changes are undone.
 * @throws The signal's reason, if it is aborted; all changes are undone.
 */
export async function applyPlan(plan: Plan, options: ApplyOptions = {}): Promise<Applied> {
  const run = new ApplyRun(plan, options);
  try {
    for (const batch of batches(plan.operations)) await applyBatch(batch, run);
    await run.onDisk;
    if (run.outcome.error !== null) throw await run.outcome.error();
    // The signal may have come while the last operation was applied.
    options.signal?.throwIfAborted();
  } catch (error) {
    await Promise.allSettled([run.onDisk]);
    const reason = await findReason(error, run);
    const problems = await run.journal.rollBack();
    throw withProblems(run.isLasting ? asFailure(reason) : reason, problems);
  } finally {
    run.lock?.[Symbol.dispose]();
  }
  const { apps, mounts, changed, outcome, place } = run;
  return { apps, mounts, changed, outcome, place };
}

async function applyBatch(batch: readonly Operation[], run: ApplyRun): Promise<void> {
  const { options } = run;
  options.signal?.throwIfAborted();
  const open = batch.filter((operation) => !isDone(operation, run));
  const [first] = open;
  if (first === undefined) return;
  if (options.trace !== undefined) await tell(open, options.trace);
  const { apply, ownSteps = false } = handlerOf(first);
  await apply(open, run);
  if (!ownSteps) options.checkpoint?.(first.kind);
}

/** Replaces the error of the first failed write by a read-only file system, if the pod lies on one. */
async function findReason(error: unknown, run: ApplyRun): Promise<unknown> {
  if (run.lock !== null || errnoOfCause(error) !== "EROFS") return error;
  const { runPreflight } = await import("../preflight/run_preflight.ts");
  return await runPreflight(run.plan.mounts, run.options).then(() => error, (refusal) => refusal);
}

/** Groups consecutive operations that are applied together. */
function batches(operations: readonly Operation[]): Operation[][] {
  const found: Operation[][] = [];
  for (const operation of operations) {
    const last = found.at(-1);
    const joins = handlerOf(operation).together && last?.[0]?.kind === operation.kind;
    if (joins) last.push(operation);
    else found.push([operation]);
  }
  return found;
}

/** Finds the handler of an operation; each gets operations of its own kind only. */
function handlerOf({ kind }: Operation): Handler<Operation["kind"]> {
  return HANDLERS[kind] as Handler<Operation["kind"]>;
}

/** A mounted app needs only the operations for its manifest, its line, and the files put into it. */
function isDone(operation: Operation, run: ApplyRun): boolean {
  if (handlerOf(operation).always) return false;
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

/** Adds to an error the changes that could not be undone after it. */
function withProblems(error: unknown, problems: readonly string[]): unknown {
  if (problems.length === 0) return error;
  const failure = error instanceof OverlayError
    // The pod was changed, so the error is a failure rather than a refusal.
    ? asFailure(error)
    : new OverlayError("failed", error instanceof Error ? error.message : String(error));
  return failure.with({ message: `${failure.message}; and then ${problems.join("; ")}` });
}
