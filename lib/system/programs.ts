/**
 * The programs that are run, and the files of the system that are read.
 *
 * @module
 */

/**
 * The programs that are run, by absolute path: `--allow-run=mount` would trust whatever `PATH` finds. They
 * are named in /bin, which is /usr/bin itself on today's systems: the kernel reads 255 bytes of the first
 * line of a script, which has to name them all.
 */
export const PROGRAMS = {
  mount: "/bin/mount",
  umount: "/bin/umount",
  findmnt: "/bin/findmnt",
  chcon: "/bin/chcon",
  cp: "/bin/cp",
  ln: "/bin/ln",
  tar: "/bin/tar",
  sync: "/bin/sync",
  rm: "/bin/rm",
  find: "/bin/find",
  fuser: "/bin/fuser",
} as const;

/** The programs for compressions that are not built in, by absolute path. */
export const COMPRESSION_PROGRAMS = { xz: "/bin/xz", zstd: "/bin/zstd" } as const;

/**
 * The programs that begin what a user runs, by absolute path: `unshare` enters a namespace, and `setpriv` starts
 * the rest of the way to the command, so that it ends with this process. Each can start any program.
 */
export const STARTERS = { unshare: "/bin/unshare", setpriv: "/bin/setpriv" } as const;

/** The file with the names of groups. */
export const GROUP_FILE = "/etc/group";
