/**
 * The arguments of bubblewrap, bwrap(1).
 *
 * Requires no permissions.
 *
 * @module
 */
import { CAPABILITIES, PROC_READ_ONLY } from "./container.ts";
import type { Container, Launch } from "./container.ts";

/** The name of the file with the arguments. */
const ARGUMENTS = "arguments";

/**
 * Describes the start of bubblewrap. Its arguments are in a file that only its owner can read: those of a
 * process can be read by every user, and there may be secrets in the environment.
 *
 * A process of another user than root would need a user namespace, which maps one id only.
 */
export function launchBwrap(program: string, container: Container): Launch {
  const { rootfs, readOnly, env, cwd, network, binds, points, argv } = container;
  const hasProc = points.includes("/proc");
  const args = [
    readOnly ? "--ro-bind" : "--bind",
    rootfs,
    "/",
    ...hasProc ? ["--proc", "/proc"] : [],
    ...hasProc ? PROC_READ_ONLY.flatMap((path) => ["--ro-bind-try", path, path]) : [],
    ...points.includes("/dev") ? ["--dev", "/dev"] : [],
    ...binds.flatMap(({ source, target, readOnly }) => [
      readOnly ? "--ro-bind" : "--bind",
      source,
      target,
    ]),
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    ...network === "none" ? ["--unshare-net"] : [],
    "--die-with-parent",
    "--cap-drop",
    "ALL",
    ...CAPABILITIES.flatMap((name) => ["--cap-add", name]),
    "--clearenv",
    ...[...env].flatMap(([name, value]) => ["--setenv", name, value]),
    "--chdir",
    cwd,
  ];
  return {
    argv: [program, "--json-status-fd", "4", "--args", "3", "--", ...argv],
    files: { [ARGUMENTS]: args.map((argument) => `${argument}\0`).join("") },
    input: ARGUMENTS,
    // There is an exit status of a command that began, and of no other.
    hasBegun: (report) => report.includes('"exit-code"'),
    depth: 2,
  };
}
