/**
 * Packages of Debian, as apt gets them.
 *
 * @module
 */
import type { Needs } from "./_tool_images.ts";

/** The host of the packages. */
export const HOST = "http://deb.debian.org/debian";

const [, release = "stable"] =
  /^VERSION_CODENAME=(\w+)$/m.exec(await Deno.readTextFile("/etc/os-release").catch(() => "")) ??
    [];

/** The release of this machine. */
export const SUITE = release;

/** Tells whether packages can be had. */
function hasDebian(): boolean {
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

/** Adds the packages of Debian to the needs of a test; they are asked for only if the others are met. */
export function alsoDebian(needs: Needs): Needs {
  if (needs.ignore || hasDebian()) return needs;
  return { ignore: true, suffix: ` [skipped: needs ${HOST}]` };
}
