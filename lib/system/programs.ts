/**
 * The programs that are run, and the files of the system that are read.
 *
 * @module
 */

/**
 * The programs that are run, by absolute path: `--allow-run=mount` would trust whatever `PATH` finds.
 */
export const PROGRAMS = {
  mount: "/usr/bin/mount",
  umount: "/usr/bin/umount",
  findmnt: "/usr/bin/findmnt",
  chcon: "/usr/bin/chcon",
  cp: "/usr/bin/cp",
  ln: "/usr/bin/ln",
  tar: "/usr/bin/tar",
  sync: "/usr/bin/sync",
  rm: "/usr/bin/rm",
  find: "/usr/bin/find",
  fuser: "/usr/bin/fuser",
} as const;

/** The programs for compressions that are not built in, by absolute path. */
export const COMPRESSION_PROGRAMS = { xz: "/usr/bin/xz", zstd: "/usr/bin/zstd" } as const;

/** The file with the names of groups. */
export const GROUP_FILE = "/etc/group";
