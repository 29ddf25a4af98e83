/**
 * The user namespace that this process is in: whether the command made it, and whether it ends with this process.
 *
 * @module
 */
import { STARTERS } from "../system/programs.ts";
import { run } from "../system/run.ts";

/** The variable for what runs in a namespace of the command: `<user>:<process that made it>`. */
const VARIABLE = "OVERLAY_RENDER_NAMESPACE";

/** Makes the variable for what this process starts in a namespace. */
export function markNamespace(uid: number): Readonly<Record<string, string>> {
  return { [VARIABLE]: `${uid}:${Deno.pid}` };
}

/** The namespace that this process is in. */
export interface OwnNamespace {
  /** Set if it ends with this process, and every mount in it. */
  readonly isMine: boolean;
}

/** Returns the variable, if the environment may be read. */
function readVariable(): string | undefined {
  const variable = VARIABLE;
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) : undefined;
}

/**
 * Finds the namespace that the command made for a user, and that this process runs in as root. The variable alone
 * proves nothing: the map of ids must have the same user. Deno reads nothing in /proc, so a program does.
 *
 * Requires `--allow-run` permission for unshare, if the variable is set.
 *
 * @returns The namespace; `null` for root of the machine or of a container.
 */
export async function findOwnNamespace(): Promise<OwnNamespace | null> {
  const [uid, maker] = readVariable()?.split(":") ?? [];
  if (uid === undefined) return null;
  const args = ["--", "/bin/cat", "/proc/self/uid_map"];
  const { stdout } = await run(STARTERS.unshare, args, { cwd: "/" });
  const [[inside, outside] = []] = stdout.trim().split("\n").map((row) => row.trim().split(/ +/));
  if (inside !== "0" || outside !== uid) return null;
  return { isMine: maker === String(Deno.ppid) };
}
