/**
 * A small root file system that commands can run in: the tools of busybox.
 *
 * @module
 */
import type { RuntimeName } from "../mod.ts";
import { tempDir } from "./_temp.ts";
import type { TempDir } from "./_temp.ts";
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

/** The runtimes of this machine that take root; chroot(2) is always there. */
export const RUNTIMES: readonly RuntimeName[] = [
  ...await isThere("/bin/bwrap") ? ["bwrap" as const] : [],
  ...await isThere("/sbin/runc") ? ["runc" as const] : [],
  "chroot",
];

/** The reason why no command can be run in a rootfs; `null` if one can. */
const NO_RUN = Deno.uid() !== 0
  ? "needs root"
  : NO_BUSYBOX ?? (RUNTIMES.includes("bwrap") ? null : "bubblewrap is not installed");

/** Tells whether a path exists. */
export async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Declares a test with a rootfs in the directory `root`; it is skipped where no command can be run in one. */
export function testRun(name: string, fn: (dir: TempDir) => Promise<void>): void {
  Deno.test({
    name: NO_RUN === null ? name : `${name} [skipped: ${NO_RUN}]`,
    ignore: NO_RUN !== null,
    async fn(): Promise<void> {
      await using dir = await tempDir();
      await makeRootfs((name) => dir.join("root", name));
      await fn(dir);
    },
  });
}

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
