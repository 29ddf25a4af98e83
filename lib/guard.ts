/**
 * Who could change a pod under us. Deno's permissions are scoped by name and follow links, so whoever
 * can swap a directory of the pod for a link could lead us anywhere.
 *
 * @module
 */
import { attempt, ifAny, look, lookForDirectory, modeOf } from "./disk.ts";
import { RefusedError } from "./errors.ts";
import { isGranted } from "./grants.ts";
import { formatMode } from "./names.ts";
import type { DirectoryOperation } from "./operation.ts";
import { child, isWithin, parent, upwards } from "./path.ts";
import { quote, shellQuote } from "./quote.ts";

const SHARED_WRITE = 0o022;
const OTHERS_WRITE = 0o002;
const STICKY = 0o1000;

function refuse(path: string, reason: string, hint: string): never {
  throw new RefusedError("shared-pod", `Cannot use ${quote(path)}: ${reason}`, { path, hint });
}

/**
 * Checks that only root or `owner` can change what is in a directory of a pod.
 *
 * @returns Whether the directory is there.
 * @throws {RefusedError} If somebody else can.
 */
export function checkGuarded(
  operation: Pick<DirectoryOperation, "path" | "guarded" | "force">,
  owner: number | null,
): boolean {
  const { path, guarded, force } = operation;
  const info = lookForDirectory(path);
  if (info === null) return false;
  if (!guarded) return true;
  if (info.uid !== 0 && info.uid !== owner) refuseOwner(path, info);
  // Where the mode will be set anyway, the old one does not matter.
  if (!force) checkMode(path, info);
  return true;
}

function checkMode(path: string, info: Deno.FileInfo): void {
  const mode = modeOf(info);
  if ((mode & SHARED_WRITE) !== 0) {
    const reason = `others than its owner can write to it (mode ${formatMode(mode)})`;
    refuse(path, reason, `take that away: chmod go-w ${shellQuote(path)}`);
  }
}

function refuseOwner(path: string, info: Deno.FileInfo): never {
  const reason = `it belongs to user ${info.uid}, who could swap it for a symlink`;
  refuse(path, reason, "use one in a directory that only root and you can write to");
}

/** The user we are, as the file system sees it: the owner of a file that we make. */
function ownUid(directory: string): number | null {
  const probe = child(directory, `overlay.probe-${crypto.randomUUID()}`);
  return attempt("write to", directory, () => {
    using _file = Deno.openSync(probe, { write: true, createNew: true, mode: 0o600 });
    try {
      return Deno.lstatSync(probe).uid;
    } finally {
      Deno.removeSync(probe);
    }
  });
}

/**
 * Checks a pod that is there: a directory, no symlink, which only root or we can change, below
 * directories of which the same is true.
 *
 * The directories above it are looked at only when all of `/` may be read; under path-scoped
 * permissions Deno does not let us.
 *
 * @returns The pod's owner: root, or the user we are.
 * @throws {RefusedError} If somebody else could change or swap it.
 */
export function checkPod(pod: string): number | null {
  const info = lookForDirectory(pod);
  if (info === null) return null;
  checkMode(pod, info);
  // Who we are needs a permission of its own to ask (--allow-sys=uid), and root's pods need no asking.
  if (info.uid !== 0 && info.uid !== ownUid(pod)) refuseOwner(pod, info);
  checkAbove(pod, info.uid);
  return info.uid;
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

/** Checks the directories above a pod, by the names as given and by the real ones. */
export function checkAbove(pod: string, owner: number | null): void {
  if (!isGranted({ name: "read", path: "/" }) || look(parent(pod)) === null) return;
  // In a user namespace that does not map root, root's directories belong to whoever "/" belongs to.
  const trusted = [0, owner, Deno.lstatSync("/").uid];
  // Another process may have removed what the pod lies in, as gc does with an empty garbage.
  const real = ifAny(() => Deno.realPathSync(parent(pod)));
  const above = new Set([...upwards(parent(pod)), ...upwards(real ?? "/"), "/"]);
  for (const path of above) {
    const info = look(path);
    if (info === null) continue;
    if (!trusted.includes(info.uid)) refuseOwner(path, info);
    const mode = info.isSymlink ? 0 : modeOf(info);
    if ((mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0) {
      const reason = `everybody can write to it (mode ${formatMode(mode)}), and swap what is in it`;
      refuse(path, reason, `set its sticky bit: chmod +t ${shellQuote(path)}`);
    }
  }
}
