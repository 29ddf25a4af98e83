/**
 * The checks of the doctor about user namespaces: the ids of the user, and a trial of an overlay.
 *
 * @module
 */
import { check } from "./doctor_checks.ts";
import type { Bench, Check } from "./doctor_checks.ts";
import { printable } from "../core/quote.ts";
import { tryNamespace } from "../runtime/namespace_trial.ts";
import { findEntry, NAMESPACE_PERMISSIONS, ROOT_FLAGS } from "../runtime/user_namespace.ts";
import { isGranted } from "../system/permissions.ts";
import { STARTERS } from "../system/programs.ts";
import { run } from "../system/run.ts";

const UNSHARE = STARTERS.unshare;

const NAMES = ["user namespaces", "overlayfs in a user namespace"] as const;

/** The script for a user namespace: an overlay in a tmpfs, in which a directory is made again. */
const INSIDE = 'mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir -p l/d u w m && : > l/d/f && ' +
  "mount -t overlay -o lowerdir=l,upperdir=u,workdir=w,userxattr overlay m && rm -r m/d && mkdir m/d";

/** Tells whether these checks found that a user who is not root can render. */
export function canEnter(checks: readonly Check[]): boolean {
  return NAMES.every((name) => checks.some((check) => check.name === name && check.ok === true));
}

/** Finds the ids of a user who is not root. */
async function checkIds(uid: number): Promise<readonly [flags: readonly string[], ...Check[]]> {
  const { flags, ids, oneId } = await findEntry(uid);
  const how = "/etc/subuid, /etc/subgid, newuidmap";
  if (oneId === null) return [flags, check("ids", true, { how, found: `a range of ${ids}` })];
  const { reason: found, hint } = oneId;
  return [flags, check("ids", false, { how, found: `only your own: ${found}`, hint })];
}

/** Tries a user namespace, and an overlay in it. */
export async function checkUserNamespace(bench: Bench): Promise<readonly Check[]> {
  if (!isGranted({ name: "run", command: UNSHARE })) {
    const how = `not tried without --allow-run=${UNSHARE}`;
    return NAMES.map((name) => check(name, null, { how, found: "not known" }));
  }
  const uid = Deno.uid() ?? 0;
  const mayLook = NAMESPACE_PERMISSIONS.read.every((path) => isGranted({ name: "read", path }));
  const [flags, ...ids] = uid === 0 || !mayLook ? [ROOT_FLAGS] : await checkIds(uid);
  return [...ids, ...await tryEntry(flags, bench)];
}

async function tryEntry(
  flags: readonly string[],
  { directory, programs }: Bench,
): Promise<readonly Check[]> {
  const line = `unshare ${flags.join(" ")} --`;
  const [entered, mounted] = NAMES;
  const failed = await tryNamespace(flags, programs);
  if (failed !== null) {
    const { reason: found, hint } = failed;
    return NAMES.map((name) => check(name, false, { how: `${line} true`, found, hint }));
  }
  const inside = ["sh", "-c", INSIDE, "sh", directory];
  const { status, stderr } = await run(UNSHARE, [...flags, "--", ...inside], {
    ...programs,
    cwd: "/",
  });
  return [
    check(entered, true, { how: `${line} true`, found: "works" }),
    check(mounted, status === 0, {
      how: `${line} mount -t overlay …`,
      found: status === 0 ? "works" : printable(stderr),
      hint: status === 0 ? null : "use Linux 5.11 or newer, or --overlay never",
    }),
  ];
}
