/**
 * A small root file system that commands can run in: the tools of busybox.
 *
 * @module
 */
/** The static busybox of Debian's package busybox-static. */
const BUSYBOX = "/bin/busybox";

/** The reason why no rootfs can be made; `null` if one can. */
export const NO_BUSYBOX = await isStatic() ? null : "busybox-static is not installed";

async function isStatic(): Promise<boolean> {
  try {
    const { success } = await new Deno.Command("chroot", { args: ["/", BUSYBOX, "true"] }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

const TOOLS = [
  ...["sh", "cat", "ls", "sleep", "id", "ps", "mknod", "chroot", "kill", "env", "true", "false"],
  ...["mount", "mkdir", "head", "hostname", "ip", "rm", "chown", "touch", "tty", "pwd", "readlink"],
];

/** The users of the rootfs. */
export const PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:www:/var/www:/bin/sh\n";

/** The groups of the rootfs. */
export const GROUP = "root:x:0:\nwww:x:34:\nextra:x:44:www,other\n";

/**
 * Makes a root file system with a shell.
 *
 * @param path Returns the path of an entry of it.
 */
export async function makeRootfs(path: (name: string) => string): Promise<void> {
  for (const directory of ["bin", "proc", "dev", "etc", "tmp", "root", "var/www"]) {
    await Deno.mkdir(path(directory), { recursive: true });
  }
  await Deno.copyFile(BUSYBOX, path("bin/busybox"));
  await Deno.chmod(path("bin/busybox"), 0o755);
  for (const tool of TOOLS) await Deno.symlink("busybox", path(`bin/${tool}`));
  await Deno.writeTextFile(path("etc/passwd"), PASSWD);
  await Deno.writeTextFile(path("etc/group"), GROUP);
  await Deno.writeTextFile(path("etc/resolv.conf"), "");
  await Deno.chmod(path("tmp"), 0o1777);
}
