/**
 * A place where mounts are private: nothing that is mounted there is seen outside, and all of it goes
 * with the last process, however that one ends.
 *
 * @module
 */
import { run } from "./run.ts";

/** A way into a private mount namespace in which overlays can be mounted. */
export interface Namespace {
  /** A description. */
  readonly name: string;
  /** Mount options that an overlay needs there. */
  readonly options: readonly string[];
  /** Returns the prefix of a command line. Overlays must lie in the scratch directory. */
  enter(scratch: string): string[];
}

const KINDS = [
  {
    name: "a mount namespace",
    unshare: ["unshare", "--mount", "--propagation", "private"],
    options: [],
    needs: "root with CAP_SYS_ADMIN",
  },
  {
    name: "a user namespace",
    unshare: ["unshare", "--user", "--map-root-user", "--mount", "--propagation", "private"],
    options: ["userxattr"],
    needs: "user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, " +
      "kernel.apparmor_restrict_unprivileged_userns)",
  },
];

/**
 * mount(8) keeps its notes in /run/mount, which is no part of a mount namespace: another user can not write
 * them, and they would outlive the mounts. Where there is no such directory, it keeps none or makes it.
 */
const OWN_NOTES = "mount -t tmpfs tmpfs /run/mount 2>/dev/null; ";

/** An upper can not lie on an overlay, which is what the root of most containers is. */
const SCRATCH_IN_MEMORY = 'mount -t tmpfs -o mode=1777 tmpfs "$0" && ';

/** A mount is not proof enough: without `userxattr` one works in which no directory can be replaced. */
const PROBE = `
  probe="$1/probe" && mkdir -p "$probe/lower/d" "$probe/upper" "$probe/work" "$probe/root" &&
  cd "$probe" && : > lower/d/f &&
  mount -t overlay -o "lowerdir=lower,upperdir=upper,workdir=work$2" overlay root &&
  rm -r root/d && mkdir root/d && umount root
  status=$?; cd / && rm -rf "$probe"; exit $status`;

/**
 * Finds a way into a private mount namespace by mounting an overlay in it.
 *
 * @param scratch An empty directory to try it in.
 * @returns The way, or what is missing on this machine.
 */
export async function findNamespace(scratch: string): Promise<Namespace | { missing: string }> {
  const failures: string[] = [];
  for (const kind of Deno.uid() === 0 ? KINDS : KINDS.slice(1)) {
    for (const memory of ["", SCRATCH_IN_MEMORY]) {
      const prepare = `${OWN_NOTES}${memory}exec "$@"`;
      const enter = (scratch: string) => [...kind.unshare, "sh", "-c", prepare, scratch];
      const reason = await tryOut(enter(scratch), scratch, kind.options);
      if (reason === null) return { name: kind.name, options: kind.options, enter };
      const where = memory === "" ? scratch : "a tmpfs";
      failures.push(`  in ${kind.name}, on ${where}: ${reason}`);
    }
    failures.push(`    this needs ${kind.needs}`);
  }
  const tried = `Tried, with unshare(1) and mount(8) of Debian's packages util-linux and mount:`;
  return { missing: ["Cannot mount an overlay here.", tried, ...failures, ""].join("\n") };
}

/** Mounts an overlay and changes something in it. Returns why that does not work, or `null`. */
async function tryOut(
  enter: readonly string[],
  scratch: string,
  options: readonly string[],
): Promise<string | null> {
  const suffix = options.map((option) => `,${option}`).join("");
  const argv = [...enter, "sh", "-c", PROBE, "probe", scratch, suffix];
  const { status, stderr } = await run(argv, { env: { LC_ALL: "C" } });
  if (status === 0) return null;
  return stderr.trim().replaceAll(/\s*\n\s*/g, "; ") || `exit status ${status}`;
}
