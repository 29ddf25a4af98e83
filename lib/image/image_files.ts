/**
 * Locates the files of an image in a directory, or in an archive of which only the headers are read.
 *
 * @module
 */
import { nameArchive } from "../tar/archive_error.ts";
import { describeType, look } from "../system/disk.ts";
import { openRegular } from "../system/regular_file.ts";
import { pathInLayer } from "../tar/entry_name.ts";
import { imageError } from "./image.ts";
import type { ImageFiles } from "./image.ts";
import { child } from "../core/path.ts";
import { quote } from "../core/quote.ts";
import { BLOCK } from "../tar/tar_entry.ts";
import type { TarEntry } from "../tar/tar_entry.ts";
import { TarReader } from "../tar/tar_reader.ts";

/**
 * Opens a directory as the files of an image. Symlinks are followed only within it.
 *
 * Requires `--allow-read` permission for the directory.
 */
export function openDirectory(path: string, called: string = path): ImageFiles {
  const resolve = (name: string) => withName(called, () => resolveIn(path, name));
  return {
    path: called,
    has: (name) => resolve(name) !== null,
    locate: (name) => {
      const found = resolve(name) ?? { fault: `its ${quote(name)} is not there` };
      if ("fault" in found) throw imageError(called, found.fault);
      return { path: found.path, offset: 0, size: found.info.size, like: found.info };
    },
  };
}

/** The largest number of symlinks in a chain. */
const LINKS_MAX = 8;

/** A regular file, or the reason why an entry is none. */
type Resolved =
  | { readonly path: string; readonly info: Deno.FileInfo }
  | { readonly fault: string };

/** Resolves a name in a directory, symlink by symlink; `null` if it does not exist. */
function resolveIn(path: string, name: string): Resolved | null {
  const left = pathInLayer(name).split("/");
  const parts: string[] = [];
  for (let links = 0; left.length > 0;) {
    parts.push(left.shift() ?? "");
    const at = parts.join("/");
    const info = look(child(path, at));
    if (info === null) return null;
    if (info.isSymlink) {
      const to = within(at, Deno.readLinkSync(child(path, at)));
      if (to === null) return { fault: `its ${quote(at)} is a symlink that leads out of it` };
      if (++links > LINKS_MAX) return { fault: `its ${quote(at)} is a symlink to itself` };
      left.unshift(...to.split("/").filter((part) => part !== ""));
      parts.length = 0;
      continue;
    }
    const isLast = left.length === 0;
    if (isLast ? info.isFile : info.isDirectory) {
      if (isLast) return { path: child(path, at), info };
    } else return { fault: `its ${quote(at)} is ${describeType(info)}` };
  }
  return null;
}

/** Resolves a symlink; `null` if it leads out of its directory. */
function within(name: string, link: string): string | null {
  if (link.startsWith("/")) return null;
  const parts = name.split("/").slice(0, -1);
  for (const part of link.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return null;
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** A file of an archive, or a link to one. */
type Found = { readonly offset: number; readonly size: number } | { readonly link: string };

/** The largest number of entries that are read; an image has a few for each layer, a root file system many. */
const ENTRIES_MAX = 100_000;

/**
 * Opens an archive as the files of an image. Contents are skipped, so that it needs few reads.
 *
 * Requires `--allow-read` permission for the archive.
 *
 * @param called Its name in messages.
 * @throws {OverlayError} If it is not a tar archive.
 */
export async function openArchive(
  path: string,
  called: string,
  signal?: AbortSignal,
): Promise<ImageFiles> {
  using file = await openRegular(path, { signal });
  const found = withName(called, () => indexArchive(file));
  const resolve = (name: string) => {
    let at = withName(called, () => pathInLayer(name));
    for (let links = 0; links < LINKS_MAX; links++) {
      const one = found.get(at);
      if (one === undefined || "offset" in one) return one;
      at = one.link;
    }
    return undefined;
  };
  return {
    path: called,
    has: (name) => resolve(name) !== undefined,
    locate: (name) => {
      const one = resolve(name);
      if (one === undefined) throw imageError(called, `its ${quote(name)} is not there`);
      return { path, ...one };
    },
  };
}

/** Runs an action, and adds the name of the archive to its error. */
function withName<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw nameArchive(error, { name: path, path });
  }
}

function indexArchive(file: Deno.FsFile): ReadonlyMap<string, Found> {
  const found = new Map<string, Found>();
  let [at, entries] = [0, 0];
  let last: TarEntry | null = null;
  const reader = new TarReader({
    // A sparse file cannot be a blob, but a root file system may have some.
    entry: (entry, isPassed) => void (last = isPassed ? null : entry),
    data: () => {},
    end: () => {},
  }, { sparse: "pass" });
  const block = new Uint8Array(BLOCK);
  for (
    let read = file.readSync(block);
    read !== null && !reader.ended && entries < ENTRIES_MAX;
    read = file.readSync(block)
  ) {
    at += read;
    reader.push(block.subarray(0, read));
    const entry = last as TarEntry | null;
    last = null;
    if (entry !== null) {
      entries++;
      note(found, entry, at);
    }
    const skipped = reader.remaining;
    if (skipped === 0) continue;
    at = file.seekSync(skipped, Deno.SeekMode.Current);
    reader.skip(skipped);
  }
  return found;
}

function note(found: Map<string, Found>, entry: TarEntry, offset: number): void {
  const name = pathInLayer(entry.name);
  if (entry.type === "file") found.set(name, { offset, size: entry.size });
  if (entry.type !== "symlink" && entry.type !== "hardlink") return;
  // Old versions of docker wrote links from a layer to the same layer of another image.
  const target = entry.type === "hardlink" ? pathInLayer(entry.link) : within(name, entry.link);
  if (target !== null) found.set(name, { link: target });
}
