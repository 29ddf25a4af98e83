/**
 * The start of runc or crun, with the config.json that they read (OCI runtime specification 1.0).
 *
 * Requires no permissions.
 *
 * @module
 */
import { CAPABILITIES, PROC_READ_ONLY } from "./container.ts";
import { STATE } from "./scratch.ts";
import { child } from "../core/path.ts";
import type { Bind, Container, Launch } from "./container.ts";

/** A mount of the specification. */
interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

function toMount({ source, target, readOnly }: Bind): Mount {
  const options = ["rbind", "nosuid", "nodev", readOnly ? "ro" : "rw"];
  return { destination: target, type: "bind", source, options };
}

const PROC: Mount = {
  destination: "/proc",
  type: "proc",
  source: "proc",
  options: ["nosuid", "noexec", "nodev"],
};

const DEV: readonly Mount[] = [
  {
    destination: "/dev",
    type: "tmpfs",
    source: "tmpfs",
    options: ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
  },
  {
    destination: "/dev/pts",
    type: "devpts",
    source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
  },
  {
    destination: "/dev/shm",
    type: "tmpfs",
    source: "shm",
    options: ["nosuid", "noexec", "nodev", "mode=1777"],
  },
];

/** Writes config.json. */
function formatConfig(container: Container): string {
  const { rootfs, readOnly, argv, env, cwd, user, network, binds, points } = container;
  const { uid, gid, groups } = user;
  const namespaces = ["pid", "ipc", "uts", "mount", ...network === "none" ? ["network"] : []];
  // Another user than root has no capability unless a program gives it one, which no_new_privs forbids.
  const effective = uid === 0 ? CAPABILITIES : [];
  return JSON.stringify({
    ociVersion: "1.0.2",
    root: { path: rootfs, readonly: readOnly },
    process: {
      terminal: false,
      user: { uid, gid, additionalGids: groups },
      args: argv,
      env: [...env].map(([name, value]) => `${name}=${value}`),
      cwd,
      capabilities: { bounding: CAPABILITIES, permitted: effective, effective },
      noNewPrivileges: true,
    },
    mounts: [
      ...points.includes("/proc") ? [PROC] : [],
      ...points.includes("/dev") ? DEV : [],
      ...binds.map(toMount),
    ],
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      resources: { devices: [{ allow: false, access: "rwm" }] },
      ...points.includes("/proc") ? { readonlyPaths: PROC_READ_ONLY } : {},
    },
  });
}

/**
 * Describes the start of runc or crun. It runs as the first process of a PID namespace that ends with its
 * parent: by itself, the runtime would leave the process behind when it is killed.
 *
 * @param directory The directory that is made for its files.
 * @param id The id of the container.
 */
export function launchOci(
  program: string,
  container: Container,
  { unshare, directory, id }: {
    readonly unshare: string;
    readonly directory: string;
    readonly id: string;
  },
): Launch {
  const namespace = [unshare, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"];
  const run = ["--root", child(directory, STATE), "run", "--bundle", directory, id];
  return {
    argv: [...namespace, program, ...run],
    files: { "config.json": formatConfig(container) },
    depth: 1,
  };
}
