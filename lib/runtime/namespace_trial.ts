/**
 * Tries to make a user namespace, and finds out why it fails.
 *
 * @module
 */
import { OverlayError } from "../core/errors.ts";
import { printable } from "../core/quote.ts";
import { STARTERS } from "../system/programs.ts";
import { run } from "../system/run.ts";
import type { ProgramOptions } from "../system/run.ts";

/** A setting of the kernel that forbids namespaces, with its value that allows them. */
interface Setting {
  readonly name: string;
  readonly path: string;
  readonly forbids: string;
  readonly allows: string;
}

const SETTINGS: readonly Setting[] = [
  ["user.max_user_namespaces", "0", "15000"],
  ["kernel.unprivileged_userns_clone", "0", "1"],
  ["kernel.apparmor_restrict_unprivileged_userns", "1", "0"],
].map(([name = "", forbids = "", allows = ""]) => {
  return { name, path: `/proc/sys/${name.replaceAll(".", "/")}`, forbids, allows };
});

/** The result of a trial that failed. */
export interface NoNamespace {
  /** The message of unshare(1), or the setting that forbids it. */
  readonly reason: string;
  readonly hint: string;
}

/** Finds the first setting that forbids namespaces. Deno reads nothing in /proc, so a program does. */
async function findSetting(options: ProgramOptions): Promise<Setting | undefined> {
  const paths = SETTINGS.map(({ path }) => path);
  const args = ["--", "/bin/grep", "--no-messages", "--with-filename", "", ...paths];
  const { stdout } = await run(STARTERS.unshare, args, { ...options, cwd: "/" });
  const lines = stdout.split("\n");
  return SETTINGS.find(({ path, forbids }) => lines.includes(`${path}:${forbids}`));
}

function explain(said: string, setting: Setting | undefined): NoNamespace {
  if (setting !== undefined) {
    const { name, forbids, allows } = setting;
    return { reason: `${name} is ${forbids}`, hint: `sudo sysctl ${name}=${allows}` };
  }
  if (/new[ug]idmap/.test(said)) {
    const hint = "sudo chmod u+s /bin/newuidmap /bin/newgidmap; and see /etc/subuid, /etc/subgid";
    return { reason: said, hint };
  }
  const hint = "allow user namespaces, in a container by --security-opt seccomp=unconfined; " +
    "or run as root";
  return { reason: said, hint };
}

/**
 * Tries to make a namespace.
 *
 * @param flags The flags of unshare(1).
 *
 * Requires `--allow-run` permission for unshare.
 *
 * @returns The reason why it fails; `null` if it works.
 */
export async function tryNamespace(
  flags: readonly string[],
  options: ProgramOptions = {},
): Promise<NoNamespace | null> {
  const args = [...flags, "--", "/bin/true"];
  const { status, stderr } = await run(STARTERS.unshare, args, { ...options, cwd: "/" });
  return status === 0 ? null : explain(printable(stderr), await findSetting(options));
}

/**
 * Checks that a namespace can be made.
 *
 * @throws {OverlayError} If it cannot.
 */
export async function checkNamespace(flags: readonly string[]): Promise<void> {
  const failed = await tryNamespace(flags);
  if (failed === null) return;
  const { reason, hint } = failed;
  throw new OverlayError("no-namespace", `Cannot make a user namespace: ${reason}`, { hint });
}
