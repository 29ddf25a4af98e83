/**
 * Packages of Debian, as apt gets them.
 *
 * @module
 */

/** The host of the packages. */
export const HOST = "http://deb.debian.org/debian";

const [, release = "stable"] =
  /^VERSION_CODENAME=(\w+)$/m.exec(await Deno.readTextFile("/etc/os-release").catch(() => "")) ??
    [];

/** The release of this machine. */
export const SUITE = release;

/** Tells whether packages can be had. */
export function hasDebian(): boolean {
  const file = Deno.makeTempFileSync();
  try {
    const helper = "/usr/lib/apt/apt-helper";
    const args = ["10", helper, "download-file", `${HOST}/dists/${SUITE}/InRelease`, file];
    return new Deno.Command("timeout", { args, stdout: "null", stderr: "null" }).outputSync()
      .success;
  } finally {
    Deno.removeSync(file);
  }
}
