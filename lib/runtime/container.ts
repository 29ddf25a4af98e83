/**
 * A process in a rootfs, with what it sees: the description that each runtime is started from.
 *
 * Requires no permissions.
 *
 * @module
 */
import type { ProcessUser } from "./user.ts";

/** The name of a runtime; `auto` chooses one. */
export type RuntimeName = "auto" | "bwrap" | "runc" | "crun" | "chroot";

/** The names of the runtimes. */
export const RUNTIME_NAMES: readonly RuntimeName[] = ["auto", "bwrap", "runc", "crun", "chroot"];

/** The network of a process: that of the host, or none but a loopback device of its own. */
export type NetworkName = "host" | "none";

/** The networks of a process. */
export const NETWORKS: readonly NetworkName[] = ["host", "none"];

/** A directory or file of the host that the process sees. */
export interface Bind {
  /** The path on the host. */
  readonly source: string;
  /** The path in the rootfs, without symlinks. */
  readonly target: string;
  /** Set if it cannot be written. */
  readonly readOnly: boolean;
}

/** The process, and what it sees. */
export interface Container {
  /** The rootfs, a path on the host. */
  readonly rootfs: string;
  /** Set if the rootfs is a view. */
  readonly readOnly: boolean;
  /** The command, at least one word. */
  readonly argv: readonly string[];
  /** The whole environment. */
  readonly env: ReadonlyMap<string, string>;
  /** The working directory, a path in the rootfs. */
  readonly cwd: string;
  readonly user: ProcessUser;
  readonly network: NetworkName;
  readonly binds: readonly Bind[];
  /** The directories `/proc` and `/dev` of the rootfs that there are; others would have to be made in it. */
  readonly points: readonly ("/proc" | "/dev")[];
  /** Set if the process keeps the terminal, and with it job control. */
  readonly terminal: boolean;
}

/** How a runtime is started. */
export interface Launch {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** The files that it reads, by their names in the directory that is made for it. @default {none} */
  readonly files?: Readonly<Record<string, string>>;
  /** The name of the file that the runtime reads as file descriptor 3. @default {none} */
  readonly input?: string;
  /** Tells from the report of the runtime, file descriptor 4, whether the command began. @default {not known} */
  readonly hasBegun?: (report: string) => boolean;
  /** How many processes lie between it and the command: a signal is for the command. */
  readonly depth: number;
}

/**
 * The capabilities of root in a rootfs: those that docker gives, which a package manager needs, without the one
 * to make devices. Source: moby, "Default capabilities".
 */
export const CAPABILITIES = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
] as const;

/**
 * The parts of /proc that root may write whatever its capabilities, and with them change the host, such as
 * `/proc/sys/kernel/core_pattern`.
 */
export const PROC_READ_ONLY = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/bus",
  "/proc/driver",
  "/proc/dynamic_debug",
  "/proc/fs",
  "/proc/irq",
  "/proc/mtrr",
  "/proc/scsi",
  "/proc/sys",
  "/proc/sysrq-trigger",
  "/proc/tty",
] as const;
