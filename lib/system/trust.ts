/**
 * Checks who else could change a pod. Deno's permissions are scoped by name and follow links, and every
 * system call resolves its path again; so a user who can rename a directory of the pod, or one above it,
 * could redirect us anywhere. A path is trusted when only root and the current user can do that.
 *
 * @module
 */
import { formatIdentity, ifAny, look, lookForDirectory, readMode } from "./disk.ts";
import type { OverlayError } from "../core/errors.ts";
import { RefusedError } from "../core/errors.ts";
import { isGranted } from "./permissions.ts";
import { formatMode } from "../request/names.ts";
import { isWithin, parent } from "../core/path.ts";
import { PROGRAMS } from "./programs.ts";
import { quote, shellQuote } from "../core/quote.ts";
import { findPrinted } from "./find.ts";
import { programError } from "./run.ts";
import type { ProgramOptions, ProgramResult } from "./run.ts";

const SHARED_WRITE = 0o022;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

/** The kernel follows this many links in one path, see path_resolution(7). */
const MAX_LINKS = 40;

function refuse(path: string, reason: string, hint: string): never {
  throw new RefusedError("shared-pod", `Cannot use ${quote(path)}: ${reason}`, { path, hint });
}

/**
 * Tells whether a user is trusted as an owner: root, or the current user.
 *
 * Requires `--allow-sys=uid` permission for an owner other than root.
 */
export function isTrustedOwner(uid: number | null): boolean {
  // A file made to read its owner back would not do: it can be replaced before it is read.
  return uid === 0 || uid === Deno.uid();
}

/**
 * Checks that only root or the current user can change the content of a directory of a pod.
 *
 * @returns `false` if the directory does not exist.
 * @throws {RefusedError} If another user can.
 */
export function checkGuarded(
  { path, guarded, force }: {
    readonly path: string;
    /** Set if it is refused when other users could change its content. */
    readonly guarded: boolean;
    /** Set if it gets its mode in any case, so that the old one does not matter. */
    readonly force: boolean;
  },
): boolean {
  const info = lookForDirectory(path);
  if (info === null) return false;
  if (!guarded) return true;
  if (!isTrustedOwner(info.uid)) refuseOwner(path, info.uid);
  // If the mode will be set in any case, the old one does not matter.
  if (!force) checkMode(path, info);
  return true;
}

function checkMode(path: string, info: Deno.FileInfo): void {
  const mode = readMode(info);
  if ((mode & SHARED_WRITE) !== 0) {
    const reason = `others than its owner can write to it (mode ${formatMode(mode)})`;
    refuse(path, reason, `take that away: chmod go-w ${shellQuote(path)}`);
  }
}

function refuseOwner(path: string, uid: number | null): never {
  const reason = `it belongs to user ${uid}, who could swap it for a symlink`;
  refuse(path, reason, "use one in a directory that only root and you can write to");
}

/**
 * Checks an existing pod: it must be a directory, no symlink, and only root or the current user may be able
 * to change it. The directories above it are checked by {@linkcode checkAbove}.
 *
 * @returns The identity of the directory, see {@linkcode formatIdentity}; `null` if it does not exist.
 * @throws {RefusedError} If another user could change it, or it is a symlink.
 * @throws {OverlayError} If it is no directory.
 */
export function checkPod(pod: string): string | null {
  const info = lookForDirectory(pod);
  if (info === null) return null;
  checkMode(pod, info);
  if (!isTrustedOwner(info.uid)) refuseOwner(pod, info.uid);
  return formatIdentity(info);
}

/**
 * Checks a state file of a pod: only root or the current user may be able to write to it.
 *
 * @throws {RefusedError} If another user can.
 */
export function checkFile(path: string): void {
  const info = look(path);
  if (!info?.isFile) return;
  checkMode(path, info);
  if (isTrustedOwner(info.uid)) return;
  const reason = `it belongs to user ${info.uid}, who can write to it`;
  refuse(path, reason, `see what is in it, and take it back: chown root ${shellQuote(path)}`);
}

/**
 * Checks that a pod is still the same directory.
 *
 * @param identity As {@linkcode checkPod} returned it.
 * @throws {RefusedError} If the pod was removed or replaced.
 */
export function checkSame(pod: string, identity: string | null): void {
  const info = lookForDirectory(pod);
  if (info !== null && formatIdentity(info) === identity) return;
  refuse(
    pod,
    "it was moved or replaced while it was used",
    "see who changes it, and run this again",
  );
}

/**
 * Checks that no directory on the way from a pod down to a path is a symlink.
 *
 * @throws {RefusedError} If one is.
 * @throws {OverlayError} If something else is there.
 */
export function checkWay(path: string, pod: string): void {
  if (!isWithin(path, pod)) return void lookForDirectory(path);
  for (let at = path; at !== pod; at = parent(at)) lookForDirectory(at);
}

/** A component of a path on the disk. */
interface Component {
  readonly path: string;
  readonly uid: number | null;
  readonly mode: number;
  /** The target, if it is a symlink. */
  readonly link: string | null;
}

/** Reads the metadata of paths without following a final link; missing paths are left out. */
type LookAt = (paths: readonly string[]) => readonly Component[] | Promise<readonly Component[]>;

/** A lookup of the directories above a path that was started before the check. */
export interface Asked {
  /** The directories. */
  readonly paths: readonly string[];
  /** The components that exist. */
  readonly found: ReturnType<LookAt>;
  /** Settles when the lookup has ended, even if it failed. */
  readonly done: Promise<unknown>;
}

/**
 * Starts the lookup of the directories above a path if it takes a program. The program runs while the plan
 * is made and its permissions are checked.
 *
 * @returns The lookup, for {@linkcode checkAbove}; `null` if no program is needed or may be run.
 */
export function askAbove(path: string, options: ProgramOptions): Asked | null {
  if (isGranted({ name: "read", path: "/" })) return null;
  if (!isGranted({ name: "run", command: PROGRAMS.find })) return null;
  const paths = prefixesOf(parent(path));
  const found = lookByFind(options)(paths);
  return { paths, found, done: Promise.allSettled([found]) };
}

/**
 * Checks the directories above paths, and the links on the way, component by component as the kernel
 * walks it: only root and the current user may be able to rename their entries. A sticky directory that
 * others can write to, such as /tmp, is accepted: there, users can rename only their own entries.
 *
 * Requires `--allow-read` permission for `/`, or `--allow-run` for find(1), which is not limited by
 * path-scoped permissions; and `--allow-sys=uid`.
 *
 * @param asked A lookup that was started before, if any.
 * @returns `false` if one of them is missing. Any user may make it, so the caller must check again when it
 * exists.
 * @throws {RefusedError} If another user could swap one of them.
 */
export async function checkAbove(
  paths: readonly string[],
  options: ProgramOptions,
  asked?: Asked | null,
): Promise<boolean> {
  const look = isGranted({ name: "read", path: "/" }) ? lookHere : lookByFind(options);
  const lookAt: LookAt = (wanted) =>
    wanted.join("\0") === asked?.paths.join("\0") ? asked.found : look(wanted);
  let rests = paths.map(parent);
  let whole = true;
  for (let links = 0; rests.length > 0 && links <= MAX_LINKS; links++) {
    const found = await lookAt([...new Set(rests.flatMap(prefixesOf))]);
    const byPath = new Map(found.map((component) => [component.path, component]));
    const behind = rests.flatMap((path) => checkComponents(path, byPath));
    whole &&= rests.every((path) => isSeen(path, byPath));
    rests = behind;
  }
  return whole;
}

/** Tells whether a path exists, or leads through a link that must be followed. */
function isSeen(path: string, found: ReadonlyMap<string, Component>): boolean {
  const all = prefixesOf(path).map((at) => found.get(at));
  return !all.includes(undefined) || all.some((component) => typeof component?.link === "string");
}

/** Checks the components of a path up to the first link; returns the path behind that link, if any. */
function checkComponents(path: string, found: ReadonlyMap<string, Component>): string[] {
  // In a user namespace that does not map root, root's directories have the owner of "/".
  const root = found.get("/")?.uid ?? 0;
  for (const at of prefixesOf(path)) {
    const component = found.get(at);
    if (component === undefined) return [];
    const { uid, link } = component;
    if (uid !== root && !isTrustedOwner(uid)) refuseOwner(at, uid);
    if (link !== null) {
      const behind = link.startsWith("/") ? link : `${parent(at)}/${link}`;
      return [behind + path.slice(at.length)];
    }
    checkShared(component);
  }
  return [];
}

function checkShared({ path, mode }: Component): void {
  if ((mode & SHARED_WRITE) === 0 || (mode & STICKY) !== 0) return;
  const who = (mode & OTHERS_WRITE) === 0 ? "its group" : "everybody";
  const reason = `${who} can write to it (mode ${formatMode(mode)}), and swap what is in it`;
  refuse(
    path,
    reason,
    `take that away, chmod go-w ${shellQuote(path)}, or set its sticky bit: chmod +t`,
  );
}

/** Lists the components of a path: `/`, `/a`, `/a/b` for `/a/b`. */
function prefixesOf(path: string): string[] {
  const names = path.split("/").filter((name) => name !== "");
  return ["/", ...names.map((_, at) => `/${names.slice(0, at + 1).join("/")}`)];
}

function lookHere(paths: readonly string[]): readonly Component[] {
  return paths.flatMap((path) => {
    const info = look(path);
    if (info === null) return [];
    const link = info.isSymlink ? ifAny(() => Deno.readLinkSync(path)) ?? "" : null;
    return [{ path, uid: info.uid, mode: readMode(info), link }];
  });
}

function lookByFind(options: ProgramOptions): LookAt {
  return async (paths) => {
    const fields = ["%y", "%m", "%U", "%p", "%l"];
    const { records, result } = await findPrinted([...paths, "-maxdepth", "0"], fields, options);
    const found = records.map(([type = "", mode = "", uid = "", path = "", link = ""]) => {
      if (!paths.includes(path) || !/^\d+ \d+$/.test(`${mode} ${uid}`)) throw findError(result);
      const isLink = type === "l";
      return { path, uid: Number(uid), mode: parseInt(mode, 8), link: isLink ? link : null };
    });
    // "/" always exists.
    if (found.length === 0) throw findError(result);
    return found;
  };
}

function findError(result: ProgramResult): OverlayError {
  return programError(result, "look at the directories above", null);
}
