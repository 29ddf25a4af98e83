/**
 * Removal of a pod that is set aside, of a copy, and of what an import left. rm(1) does it: it goes down by
 * open directories, so that nobody leads it elsewhere by a link, and takes every name and every depth.
 *
 * @module
 */
import { programOptions } from "./change_options.ts";
import type { ChangeOptions, Reporter } from "./change_options.ts";
import { attempt, entriesIn, look, modeOf } from "./disk.ts";
import { errno, OverlayError } from "../core/errors.ts";
import { podLayout } from "../request/layout.ts";
import type { PodLayout } from "../request/layout.ts";
import { child, parent } from "../core/path.ts";
import { PROGRAMS } from "./permissions.ts";
import { freeName } from "../pod/list.ts";
import { printable, quote, shellQuote } from "../core/quote.ts";
import { run } from "./run.ts";
import type { ProgramResult } from "./run.ts";

/** Who is told of a removal, and what ends it. */
export type RemovalOptions = Pick<ChangeOptions, "trace" | "signal" | "checkpoint">;

/** The longest argument list that one rm gets. */
const AT_ONCE = 500;

/** The time in which this process hears of a signal that has ended rm already. */
const SIGNAL_MS = 50;

/** The mode of `overlay.fstab` in a pod whose removal has begun. Unlike a file, a mode takes no space. */
const BEGUN_MODE = 0o400;

/**
 * Removes paths with all that is in them. Links are not followed, and no other file system is entered.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If something cannot be removed; the rest is gone.
 * @throws The signal's reason, if it is aborted.
 */
export async function removeAll(
  paths: readonly string[],
  options: RemovalOptions = {},
): Promise<void> {
  check(await rm(paths, options), paths);
}

/** Runs rm; the result is that of the first run that failed. */
async function rm(
  paths: readonly string[],
  options: RemovalOptions,
): Promise<ProgramResult | null> {
  const { signal } = options;
  for (let at = 0; at < paths.length; at += AT_ONCE) {
    signal?.throwIfAborted();
    // `all`: a path that is a mount point itself is another file system, too.
    const how = ["--recursive", "--force", "--one-file-system", "--preserve-root=all", "--"];
    const result = await run(PROGRAMS.rm, [...how, ...paths.slice(at, at + AT_ONCE)], {
      ...programOptions(options),
      cwd: "/",
      signal,
    });
    if (result.status === 0) continue;
    // A terminal sends its signal to rm as well, which may be the first to hear of it.
    if (result.status > 128) await new Promise((resolve) => setTimeout(resolve, SIGNAL_MS));
    signal?.throwIfAborted();
    return result;
  }
  return null;
}

function check(result: ProgramResult | null, paths: readonly string[]): void {
  if (result === null) return;
  const [first = ""] = paths;
  const said = result.stderr === ""
    ? `ended with exit status ${result.status}`
    : `said ${quote(printable(result.stderr.split("\n").slice(0, 3).join("\n")))}`;
  const isForeign = result.stderr.includes("on a different device");
  const code = isForeign ? "foreign-mount" : "failed";
  throw new OverlayError(code, `Cannot remove ${quote(first)}: rm ${said}`, {
    path: first,
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
 * Removes a pod that is set aside, in which nothing is mounted and which is locked. `overlay.fstab` and the
 * lock go last, so that an interrupted removal can be taken up again.
 *
 * Requires `--allow-read` and `--allow-write` permissions for the pod, and `--allow-run` for rm.
 *
 * @returns `false` if another process removes it.
 * @throws {OverlayError} If something cannot be removed; the rest is gone.
 * @throws The signal's reason, if it is aborted.
 */
export async function removePod(pod: PodLayout, options: RemovalOptions = {}): Promise<boolean> {
  if (look(pod.fstab)?.isFile) {
    attempt("change", pod.fstab, () => Deno.chmodSync(pod.fstab, BEGUN_MODE));
  }
  const paths = othersIn(pod);
  let result = await rm(paths, options);
  if (result?.stderr.includes("Permission denied") && openWorks(pod)) {
    result = await rm(paths, options);
  }
  check(result, paths);
  options.checkpoint?.("removed");
  // A name that is not UTF-8 can be handed to no program.
  const whole = othersIn(pod).length === 0 ? pod : await removeWithin(pod, options);
  for (const path of [whole.fstab, whole.lock]) {
    attempt("remove", path, () => unlessGone(() => Deno.removeSync(path)));
    options.checkpoint?.("removed");
  }
  return attempt("remove", whole.pod, () => removeLast(whole));
}

/** Tells whether the removal of a pod has begun, so that a part of it may be gone. */
export function isBegun(pod: PodLayout): boolean {
  const info = look(pod.fstab);
  return info !== null && modeOf(info) === BEGUN_MODE;
}

/** The entries of a pod, without the two files by which it is known as one. */
function othersIn(pod: PodLayout): string[] {
  return entriesIn(pod.pod).map(({ name }) => child(pod.pod, name))
    .filter((path) => path !== pod.fstab && path !== pod.lock);
}

/**
 * Gives its owner access to what the kernel makes in a work with mode 000: not even he may read it. Nobody
 * else can write in a work.
 *
 * @returns `true` if anything was changed.
 */
function openWorks({ overlay }: PodLayout): boolean {
  const images = look(overlay)?.isDirectory ? entriesIn(overlay) : [];
  return images.map(({ name }) => openWork(child(overlay, name, "work"))).includes(true);
}

function openWork(path: string): boolean {
  const info = look(path);
  if (info === null || !info.isDirectory) return false;
  const closed = (modeOf(info) & 0o700) !== 0o700;
  if (closed) attempt("open", path, () => Deno.chmodSync(path, 0o700));
  const inside = entriesIn(path).map(({ name }) => openWork(child(path, name)));
  return closed || inside.includes(true);
}

/**
 * Removes a pod as the one entry of a new one, which has its lines and its lock: so what tells that there
 * is something to remove is the last to go, whatever the names in it are.
 *
 * @returns The new one.
 */
async function removeWithin(pod: PodLayout, options: RemovalOptions): Promise<PodLayout> {
  const around = podLayout(freeName(parent(pod.pod), pod.pod));
  attempt("make directory", around.pod, () => Deno.mkdirSync(around.pod, { mode: 0o700 }));
  for (const [from, to] of [[pod.fstab, around.fstab], [pod.lock, around.lock]] as const) {
    attempt("link", from, () => unlessGone(() => Deno.linkSync(from, to)));
  }
  attempt("move", pod.pod, () => Deno.renameSync(pod.pod, around.overlay));
  await removeAll([around.overlay], options);
  return around;
}

function unlessGone(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (errno(error) !== "ENOENT") throw error;
  }
}

/** Between the lock file's end and its own, another process can have locked the pod, to remove it too. */
function removeLast(pod: PodLayout): boolean {
  try {
    Deno.removeSync(pod.pod);
    return true;
  } catch (error) {
    if (errno(error) === "ENOENT") return false;
    const locked = errno(error) === "ENOTEMPTY" && othersIn(pod).length === 0;
    if (locked) return false;
    throw error;
  }
}

/**
 * Removes what this project made, with all that is in it; nothing if it is not there. It is a part of
 * taking back, and no signal ends it.
 *
 * Requires `--allow-run` permission for rm.
 *
 * @throws {OverlayError} If something cannot be removed.
 */
export async function removeTree(path: string, { trace }: Reporter = {}): Promise<void> {
  if (look(path) !== null) await removeAll([path], trace === undefined ? {} : { trace });
}
