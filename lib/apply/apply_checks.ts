/**
 * The operations that only check: what must be there, and who could change it.
 *
 * @module
 */
import { operationsOf } from "./apply_run.ts";
import type { ApplyRun } from "./apply_run.ts";
import { attempt, errno, typeOf } from "../system/disk.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import type { RealOperation, RequireOperation, TrustOperation } from "../plan/operation.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { checkAbove } from "../system/trust.ts";

/** Something must be there; a lower may be named through a symlink. */
export async function applyRequires(
  operations: readonly RequireOperation[],
  run: ApplyRun,
): Promise<void> {
  if (run.apps.length === 1) return operations.forEach(applyRequire);
  const { forEachApp } = await import("../core/pod_error.ts");
  const byPath = Map.groupBy(operations, ({ path }) => path);
  const manifests = new Map(
    operationsOf(run.plan, "manifest").map(({ path, from }) => [path, from]),
  );
  // Apps have lowers in common: each is looked at once, and fails every app that has it.
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

/** What an action throws; `null` when it does not. */
function failureOf(action: () => void): unknown {
  try {
    action();
    return null;
  } catch (error) {
    return error;
  }
}

function applyRequire(operation: RequireOperation): void {
  const { path, type } = operation;
  const word = type === "directory" ? "lower" : "manifest";
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
    // The kernel takes what may not be read, and then shows nothing.
    if (type === "directory" && info.isDirectory) openDirectory(path);
  } catch (error) {
    const code = errno(error) ?? "";
    if (type === "directory" && ["EACCES", "EPERM"].includes(code)) throw unreadable(path, error);
    if (code !== "ENOENT" && code !== "ENOTDIR") {
      return void attempt("read", path, () => Deno.statSync(path));
    }
    throw new OverlayError("missing", `Cannot use ${word} ${quote(path)}: it does not exist`, {
      path,
      cause: error,
      hint: `check the path that was given as ${word}`,
    });
  }
  if (type === "directory" ? info.isDirectory : info.isFile) return;
  const code = type === "directory" ? "not-a-directory" : "missing";
  throw new OverlayError(code, `Cannot use ${word} ${quote(path)}: it is ${typeOf(info)}`, {
    path,
    hint: `a ${word} must be a ${type}`,
  });
}

/** Unlike a file, a directory is opened as nothing else: a FIFO that takes its place is not waited for. */
function openDirectory(path: string): void {
  Deno.readDirSync(path)[Symbol.iterator]().next();
}

/** In the words of `preflight.ts`, which is not loaded where there is one lower. */
function unreadable(path: string, cause: unknown): RefusedError {
  return new RefusedError("unreadable", `Cannot use lower ${quote(path)}: it may not be read`, {
    path,
    cause,
    hint: "run as a user who may read it, such as root",
  });
}

/** No part of the path may be a symlink. */
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

/** Nobody else may be able to swap a path, or a directory above it. */
export async function applyTrust(
  operations: readonly TrustOperation[],
  run: ApplyRun,
): Promise<void> {
  const paths = operations.map(({ path }) => path);
  if (!await checkAbove(paths, run.programs, run.options.asked)) run.unseen = new Set(paths);
}
