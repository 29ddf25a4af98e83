/**
 * The operations that only check: that paths exist, and that no other user could change them.
 *
 * @module
 */
import { selectOperations } from "../plan/plan.ts";
import type { ApplyRun } from "./apply_run.ts";
import { attempt, describeType, failure, isMissing } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import type { RealOperation, RequireOperation, TrustOperation } from "../plan/operation.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { checkAbove } from "../system/trust.ts";
import { judgeLower, lookAtLower } from "../preflight/lower.ts";

/** Checks that a path exists; a lower may be named through a symlink. */
export async function applyRequires(
  operations: readonly RequireOperation[],
  run: ApplyRun,
): Promise<void> {
  if (run.apps.length === 1) return operations.forEach(applyRequire);
  const { forEachApp } = await import("../core/pod_error.ts");
  const byPath = Map.groupBy(operations, ({ path }) => path);
  const manifests = new Map(
    selectOperations(run.plan, "manifest").map(({ path, from }) => [path, from]),
  );
  // Apps share lowers: each is checked once, and its failure is that of every app that has it.
  const outcomes = new Map<string, unknown>();
  const requireOnce = (path: string) => {
    if (!outcomes.has(path)) {
      outcomes.set(
        path,
        failureOf(() => byPath.get(path)?.forEach(applyRequire)),
      );
    }
    const failure = outcomes.get(path);
    if (failure !== null) throw failure;
  };
  forEachApp(run.apps, ({ mount }) => {
    const manifest = manifests.get(child(mount.dest, "manifest"));
    mount.lower.forEach(requireOnce);
    if (manifest !== undefined) requireOnce(manifest);
  });
}

/** Returns the error that an action throws; `null` if it throws none. */
function failureOf(action: () => void): unknown {
  try {
    action();
    return null;
  } catch (error) {
    return error;
  }
}

function applyRequire({ path, type }: RequireOperation): void {
  if (type === "directory") requireLower(path);
  else requireManifest(path);
}

function requireLower(path: string): void {
  const facts = lookAtLower(path);
  // The error of Deno names the permission for a path that it protects.
  if (facts.kind === "unchecked") attempt("read", path, () => Deno.statSync(path));
  const finding = judgeLower(facts);
  if (finding === null) return;
  const { code, sentence, hint } = finding;
  const how = { path, hint };
  throw code === "unreadable"
    ? new RefusedError(code, sentence, how)
    : new OverlayError(code, sentence, how);
}

function requireManifest(path: string): void {
  const info = statIfThere(path);
  if (info?.isFile) return;
  const reason = info === null ? "it does not exist" : `it is ${describeType(info)}`;
  throw new OverlayError("missing", `Cannot use manifest ${quote(path)}: ${reason}`, {
    path,
    hint: info === null ? "check the path that was given as manifest" : "a manifest must be a file",
  });
}

function statIfThere(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw failure("read", path, error);
  }
}

/** Checks that no part of the path is a symlink. */
export function applyReal(operation: RealOperation): void {
  const { path } = operation;
  const real = attempt("find", path, () => Deno.realPathSync(path));
  if (real === path) return;
  const reason = "it leads through a symlink, which an option string with this name cannot";
  throw new RefusedError("symlink", `Cannot use ${quote(path)}: ${reason}`, {
    path,
    hint: `give the real path: ${quote(real)}`,
  });
}

/** Checks that no other user can replace a path, or a directory above it. */
export async function applyTrust(
  operations: readonly TrustOperation[],
  run: ApplyRun,
): Promise<void> {
  // Checked when the pod was opened.
  if (run.options.open !== undefined) return;
  const paths = operations.map(({ path }) => path);
  if (!await checkAbove(paths, run.programs, run.options.asked)) run.unseen = new Set(paths);
}
