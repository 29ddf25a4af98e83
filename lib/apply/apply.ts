/**
 * The one interpreter of operations. Each is idempotent, and what it changed is noted so that it can be
 * undone; a run that fails takes back what it made, and only that.
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

/** What applying a plan came to. */
export interface Applied {
  /** Each app, in the order of the plan. */
  readonly apps: readonly AppRun[];
  /** Whether the plan mounts the apps; those that were live are mounted in any case. */
  readonly mounts: boolean;
  /** Whether anything was changed. */
  readonly changed: boolean;
  /** What became of mounts that were there, or are put back. */
  readonly outcome: Outcome;
  /** Where the pod is now. */
  readonly place: string;
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
  const run = new ApplyRun(plan, options);
  try {
    for (const batch of batches(plan.operations)) await applyBatch(batch, run);
    await run.onDisk;
    if (run.outcome.error !== null) throw await run.outcome.error();
    // It may have come while the last operation was applied.
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

/** A pod on a file system that is read-only is told as such, whatever could not be made on it first. */
async function findReason(error: unknown, run: ApplyRun): Promise<unknown> {
  if (run.lock !== null || errnoOfCause(error) !== "EROFS") return error;
  const { runPreflight } = await import("../preflight/run_preflight.ts");
  return await runPreflight(run.plan.mounts, run.options).then(() => error, (refusal) => refusal);
}

/** The operations, with those that follow one another and are done at once put together. */
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

/** Each handler takes operations of its own kind, and gets no others. */
function handlerOf({ kind }: Operation): Handler<Operation["kind"]> {
  return HANDLERS[kind] as Handler<Operation["kind"]>;
}

/** An app that is mounted as asked for needs nothing but its manifest, its line, and what is put into it. */
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

/** The error, and what could not be taken back after it. */
function withProblems(error: unknown, problems: readonly string[]): unknown {
  if (problems.length === 0) return error;
  const failure = error instanceof OverlayError
    // Something was touched, so nothing was only refused.
    ? asFailure(error)
    : new OverlayError("failed", error instanceof Error ? error.message : String(error));
  return failure.with({ message: `${failure.message}; and then ${problems.join("; ")}` });
}
