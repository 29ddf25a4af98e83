/**
 * Paths in a rootfs. Its symlinks are resolved inside it, as a process does whose root it is: what the image
 * says must never lead to a file of the host.
 *
 * @module
 */
import { look } from "../system/disk.ts";
import { OverlayError } from "../core/errors.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";

/** The most symlinks in one path, as in the kernel (path_resolution(7)). */
const LINKS_MAX = 40;

/** An entry of a rootfs. */
export interface RootEntry {
  /** Its path in the rootfs, without symlinks. */
  readonly inside: string;
  /** Its path on the host. */
  readonly path: string;
  /** Its metadata; `null` if it does not exist. */
  readonly info: Deno.FileInfo | null;
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

/** Reads a link; one that is not UTF-8 leads nowhere that a request could name. */
function readTarget(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch (error) {
    throw new OverlayError("symlink", `Cannot follow ${quote(path)}: its target cannot be read`, {
      path,
      cause: error,
    });
  }
}

/**
 * Resolves a path in a rootfs.
 *
 * Requires `--allow-read` permission for the rootfs.
 *
 * @param rootfs The rootfs, an absolute path on the host without symlinks.
 * @param path The path in it. A relative one begins at its root.
 * @throws {OverlayError} If there are too many symlinks, or an entry cannot be read.
 */
export function resolveInRoot(rootfs: string, path: string): RootEntry {
  const rest = split(path);
  const at: string[] = [];
  let info: Deno.FileInfo | null = look(rootfs);
  for (let links = 0; rest.length > 0;) {
    const name = rest.shift() ?? "";
    if (name === "..") {
      at.pop();
      info = look(child(rootfs, ...at));
      continue;
    }
    // Below what does not exist, nothing is looked up.
    info = info?.isDirectory ? look(child(rootfs, ...at, name)) : null;
    if (!info?.isSymlink) {
      at.push(name);
      continue;
    }
    if (++links > LINKS_MAX) {
      throw new OverlayError("symlink", `Cannot follow ${quote(path)}: too many symlinks`, {
        path,
      });
    }
    const target = readTarget(child(rootfs, ...at, name));
    if (target.startsWith("/")) at.length = 0;
    rest.unshift(...split(target));
    info = look(child(rootfs, ...at));
  }
  return { inside: child("/", ...at), path: child(rootfs, ...at), info };
}
