/**
 * Removal of a pod that is set aside, of a copy, and of what an import left. rm(1) does it: it goes down by
 * open directories, so that no link can redirect it, and handles every name and every depth.
 *
 * @module
 */
import { programOptions } from "./change_options.ts";
import type { ChangeOptions, Reporter } from "./change_options.ts";
import { look } from "./disk.ts";
import { parent } from "../core/path.ts";
import { PROGRAMS } from "./programs.ts";
import { shellQuote } from "../core/quote.ts";
import { programError, run } from "./run.ts";
import type { ProgramResult } from "./run.ts";

/** The callbacks and the signal of a removal. */
export type RemovalOptions = Pick<ChangeOptions, "trace" | "signal" | "checkpoint">;

/** The longest argument list of one rm. */
const AT_ONCE = 500;

/** The time in which this process receives a signal that has already ended rm. */
const SIGNAL_MS = 50;

/**
 * Removes paths with their content. Links are not followed, and no other file system is entered.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If something cannot be removed; the rest is removed.
 * @throws The signal's reason, if it is aborted.
 */
export async function removeAll(
  paths: readonly string[],
  options: RemovalOptions = {},
): Promise<void> {
  checkRemoved(await runRm(paths, options), paths);
}

/** Runs rm; returns the result of the first run that failed. */
export async function runRm(
  paths: readonly string[],
  options: RemovalOptions,
): Promise<ProgramResult | null> {
  const { signal } = options;
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    const result = await rmUntilEmpty(paths.slice(at, at + AT_ONCE), options);
    if (result.status === 0) continue;
    // A terminal sends its signal to rm as well, which may receive it first.
    if (result.status > 128) await new Promise((resolve) => setTimeout(resolve, SIGNAL_MS));
    signal?.throwIfAborted();
    return result;
  }
  return null;
}

/**
 * The number of times that rm runs again while entries appear in what it removes, and the time between. They are
 * of a tar whose command was killed; it ends by itself, since nothing writes to it any more.
 */
const AGAIN = { times: 100, ms: 50 };

async function rmUntilEmpty(
  paths: readonly string[],
  options: RemovalOptions,
): Promise<ProgramResult> {
  // `all`: a path that is a mount point itself is another file system, too.
  const how = ["--recursive", "--force", "--one-file-system", "--preserve-root=all", "--"];
  const { signal } = options;
  for (let left = AGAIN.times;; left--) {
    signal?.throwIfAborted();
    const more = { ...programOptions(options), cwd: "/", signal };
    const result = await run(PROGRAMS.rm, [...how, ...paths], more);
    if (left === 0 || !result.stderr.includes("Directory not empty")) return result;
    await new Promise((resolve) => setTimeout(resolve, AGAIN.ms));
  }
}

export function checkRemoved(result: ProgramResult | null, paths: readonly string[]): void {
  if (result === null) return;
  const [first = ""] = paths;
  const isForeign = result.stderr.includes("on a different device");
  throw programError(result, "remove", first, {
    code: isForeign ? "foreign-mount" : "failed",
    hint: hintFor(result.stderr, paths.length === 1 ? first : parent(first)),
  });
}

function hintFor(said: string, path: string): string {
  if (said.includes("Operation not permitted")) {
    return `if a file is immutable, type as root: chattr -R -i ${shellQuote(path)}`;
  }
  if (said.includes("Permission denied")) {
    return `run as root, or type as the owner: chmod -R u+rwX ${shellQuote(path)}`;
  }
  return "see whether something is mounted there: findmnt";
}

/**
 * Removes a path that this project made, with its content, if it exists. It is part of the undo, and no
 * signal ends it.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If something cannot be removed.
 */
export async function removeTree(path: string, { trace }: Reporter = {}): Promise<void> {
  if (look(path) !== null) await removeAll([path], trace === undefined ? {} : { trace });
}
