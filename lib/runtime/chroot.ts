/**
 * The start of a command with a changed root alone, by unshare(1).
 *
 * Requires no permissions.
 *
 * @module
 */
import { invalid } from "../core/invalid.ts";
import type { Container, Launch } from "./container.ts";

/**
 * The variables that change how a program of the host starts, or which files it reads. unshare(1) is the last
 * one, and gets the environment of the command. Source: the list that glibc takes from a setuid program
 * (unsecvars.h).
 */
const UNSAFE =
  /^(LD_.*|GLIBC_.*|MALLOC_.*|GCONV_PATH|GETCONF_DIR|HOSTALIASES|LOCALDOMAIN|LOCPATH|NIS_PATH|NLSPATH|RESOLV_HOST_CONF|RES_OPTIONS|TMPDIR|TZDIR)$/;

/** Lists the variables of a container that this runtime leaves out. */
export function listLeftOut({ env }: Pick<Container, "env">): readonly string[] {
  return [...env.keys()].filter((name) => UNSAFE.test(name));
}

/**
 * Describes the start of a command in a PID namespace of its own. There is no /dev, and root in it is root of
 * the host.
 *
 * @throws {InvalidValueError} If something of the host shall be seen in it, or another group.
 */
export function launchChroot(
  container: Container,
  { unshare, env }: { readonly unshare: string; readonly env: string },
): Launch {
  const { rootfs, argv, cwd, user: { uid, gid }, network, binds: [bind] } = container;
  if (bind !== undefined) {
    throw invalid("bind", bind.target, "the runtime chroot cannot show it", {
      hint: "use --runtime bwrap",
    });
  }
  const left = [...container.env].filter(([name]) => !UNSAFE.test(name));
  return {
    argv: [
      env,
      "--ignore-environment",
      ...left.map(([name, value]) => `${name}=${value}`),
      unshare,
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      ...network === "none" ? ["--net"] : [],
      `--root=${rootfs}`,
      `--wd=${cwd}`,
      ...container.points.includes("/proc") ? ["--mount-proc"] : [],
      `--setgid=${gid}`,
      `--setuid=${uid}`,
      "--",
      ...argv,
    ],
    depth: 1,
  };
}
