/**
 * The user namespace of a user who is not root: as root in it, he has all ids of his range, and may mount.
 *
 * @module
 */
import { findFreeRange, findRange, findUserName } from "./id_ranges.ts";
import { runForeground } from "./run_process.ts";
import type { Ended, ForegroundOptions } from "./run_process.ts";
import { look } from "../system/disk.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { STARTERS } from "../system/programs.ts";
import { readRegular } from "../system/regular_file.ts";

const RANGE_FILES = ["/etc/subuid", "/etc/subgid"] as const;
const USERS = "/etc/passwd";

/** The places of newuidmap, which unshare(1) finds by `PATH`. */
const NEWUIDMAP = ["/bin/newuidmap", "/usr/local/bin/newuidmap", "/run/wrappers/bin/newuidmap"];

/** The permissions to enter a namespace. */
export const NAMESPACE_PERMISSIONS: RequiredPermissions = {
  read: [...RANGE_FILES, USERS, ...NEWUIDMAP],
  write: [],
  run: [STARTERS.unshare],
  sys: ["uid"],
};

/** The reason why only one id can be mapped. */
export interface OneId {
  readonly reason: string;
  /** The command line that mends it. */
  readonly hint: string;
}

/** How a user enters a namespace. */
export interface Entry {
  /** The flags of unshare(1). */
  readonly flags: readonly string[];
  /** The number of ids in the namespace. */
  readonly ids: number;
  /** Set if the user alone is mapped. */
  readonly oneId: OneId | null;
}

/** The flags of unshare(1) that make a user root, with his own id alone. */
export const ROOT_FLAGS: readonly string[] = ["--user", "--map-root-user", "--mount"];

/** The most bytes of a file with users or ranges. */
const FILE_MAX = 16 << 20;

async function readText(path: string): Promise<string> {
  if (look(path) === null) return "";
  return new TextDecoder().decode(await readRegular(path, FILE_MAX, { verb: "read" }));
}

/**
 * Finds out how a user enters a namespace: with the ranges of ids that he has, or with his own id alone.
 *
 * Requires the permissions {@linkcode NAMESPACE_PERMISSIONS}.
 */
export async function findEntry(uid: number): Promise<Entry> {
  const [subuid = "", subgid = "", passwd = ""] = await Promise.all(
    [...RANGE_FILES, USERS].map(readText),
  );
  const name = findUserName(passwd, uid);
  const owners = name === null ? [String(uid)] : [name, String(uid)];
  const ranges = [subuid, subgid].map((text) => findRange(text, owners));
  const counts = ranges.map((range) => range?.count ?? 0);
  const user = name ?? String(uid);
  const oneId = counts.includes(0)
    ? missingRange(user, counts, findFreeRange([subuid, subgid]))
    : NEWUIDMAP.every((path) => look(path) === null)
    ? { reason: "newuidmap is not there", hint: "sudo apt install uidmap" }
    : null;
  if (oneId !== null) return { flags: ROOT_FLAGS, ids: 1, oneId };
  return { flags: [...ROOT_FLAGS, "--map-auto"], ids: Math.min(...counts), oneId };
}

function missingRange(
  user: string,
  counts: readonly number[],
  { start, count }: ReturnType<typeof findFreeRange>,
): OneId {
  const files = RANGE_FILES.filter((_, at) => counts[at] === 0);
  const range = `${start}-${start + count - 1}`;
  return {
    reason: `user ${user} has no range of ids in ${files.join(" and ")}`,
    hint: `sudo usermod --add-subuids ${range} --add-subgids ${range} ${user}`,
  };
}

/** Puts the limits of a namespace with one id into words. */
export function describeOneId({ reason, hint }: OneId): string {
  return `only your own id is mapped, so nothing can belong to another user or group: ${reason} ` +
    `(mend it: ${hint})`;
}

/**
 * Describes the command line that runs a command in a namespace. It ends when this process ends, however that
 * happens.
 */
export function enterArgv({ flags }: Entry, command: readonly string[]): readonly string[] {
  const { unshare, setpriv } = STARTERS;
  return [unshare, ...flags, "--", setpriv, "--pdeathsig=KILL", "--", ...command];
}

/**
 * Runs a command in a namespace, in the foreground.
 *
 * Requires `--allow-run` permission for unshare.
 *
 * @returns Its end; 127 if there is no such command, 126 if it cannot be executed.
 * @throws {OverlayError} If the namespace cannot be made.
 */
export async function runInNamespace(
  entry: Entry,
  command: readonly string[],
  options: ForegroundOptions = {},
): Promise<Ended> {
  const end = await runForeground(enterArgv(entry, command), options);
  if (end.code !== 1) return end;
  // unshare(1) fails with 1, as many a command does.
  const { checkNamespace } = await import("./namespace_trial.ts");
  await checkNamespace(entry.flags);
  return end;
}
