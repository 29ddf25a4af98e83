/**
 * The user namespace that this process is in: whether the command made it, and whether it ends with this process.
 *
 * @module
 */
import { STARTERS } from "../system/programs.ts";
import { run } from "../system/run.ts";

/** A namespace of the command, and whose it is. */
export interface OwnNamespace {
  /** Set if it ends with this process, and every mount in it. */
  readonly isMine: boolean;
}

/** Describes a namespace that this process makes, for what runs in it. */
export function describeNamespace(uid: number): string {
  return `${uid}:${Deno.pid}`;
}

/**
 * Reads a file of /proc, which Deno does not.
 *
 * Requires `--allow-run` permission for unshare.
 */
export async function readProc(name: string): Promise<string> {
  const args = ["--", "/bin/cat", `/proc/${Deno.pid}/${name}`];
  return (await run(STARTERS.unshare, args, { cwd: "/" })).stdout;
}

/**
 * Finds out whether this process runs as root in the namespace that a description names. The description alone
 * proves nothing: the map of ids must have the same user.
 *
 * Requires `--allow-run` permission for unshare.
 */
export async function findOwnNamespace(description: string): Promise<OwnNamespace | null> {
  const [uid, maker] = description.split(":");
  const [first = ""] = (await readProc("uid_map")).split("\n");
  const [inside, outside] = first.trim().split(/ +/);
  // Root makes no namespace for itself.
  return inside === "0" && outside !== "0" && outside === uid
    ? { isMine: maker === String(Deno.ppid) }
    : null;
}
