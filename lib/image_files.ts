/**
 * Where the files of an image are: in a directory, or in an archive that is read in place, its headers
 * only.
 *
 * @module
 */
import { ofArchive } from "./archive_error.ts";
import { attempt, look, typeOf } from "./disk.ts";
import { pathInLayer } from "./entry_name.ts";
import { imageError } from "./image.ts";
import type { ImageFiles } from "./image.ts";
import { child } from "./path.ts";
import { quote } from "./quote.ts";
import { BLOCK } from "./tar_entry.ts";
import type { TarEntry } from "./tar_entry.ts";
import { TarReader } from "./tar_reader.ts";

/**
 * The files of a directory. What an image calls a file must be one: a link could lead anywhere.
 *
 * Requires `--allow-read` permission for the directory.
 */
export function filesOfDirectory(path: string): ImageFiles {
  return {
    path,
    has: (name) => look(child(path, name)) !== null,
    locate: (name) => {
      const parts = pathInLayer(name).split("/");
      const found = parts.map((_, at) => parts.slice(0, at + 1).join("/")).map((part, at) => {
        const info = look(child(path, part));
        if (info === null) throw imageError(path, `its ${quote(name)} is not there`);
        const isRight = at === parts.length - 1 ? info.isFile : info.isDirectory;
        if (!isRight) throw imageError(path, `its ${quote(part)} is ${typeOf(info)}`);
        return info;
      });
      return { path: child(path, parts.join("/")), offset: 0, size: found.at(-1)?.size ?? 0 };
    },
  };
}

/** A file of an archive, or a link to one. */
type Found = { readonly offset: number; readonly size: number } | { readonly link: string };

/** How many entries are looked at; an image has a few for each layer, a root file system many. */
const ENTRIES_MAX = 100_000;

/** How many links lead on from one to the next. */
const LINKS_MAX = 8;

/**
 * The files of an archive. Contents are passed over, so that it takes a few reads, however large they are.
 *
 * Requires `--allow-read` permission for the archive.
 *
 * @param called What it is called in messages.
 * @throws {OverlayError} If it is no tar archive.
 */
export function filesOfArchive(path: string, called: string): ImageFiles {
  const found = named(called, () => indexOf(path));
  const resolve = (name: string) => {
    let at = named(called, () => pathInLayer(name));
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

/** Does something of which an error must say where it comes from. */
function named<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw ofArchive(error, { name: path, path });
  }
}

/** A link of one layer to another, as old versions of docker wrote them, within the archive. */
function targetOf({ name, link, type }: TarEntry): string | null {
  if (type === "hardlink") return pathInLayer(link);
  if (link.startsWith("/")) return null;
  const parts = pathInLayer(name).split("/").slice(0, -1);
  for (const part of link.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return null;
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function indexOf(path: string): ReadonlyMap<string, Found> {
  const found = new Map<string, Found>();
  let at = 0;
  let last: TarEntry | null = null;
  const reader = new TarReader({
    entry: (entry) => void (last = entry),
    data: () => {},
    end: () => {},
  });
  using file = attempt("read", path, () => Deno.openSync(path));
  const block = new Uint8Array(BLOCK);
  for (
    let read = file.readSync(block);
    read !== null && !reader.ended && found.size < ENTRIES_MAX;
    read = file.readSync(block)
  ) {
    at += read;
    reader.push(block.subarray(0, read));
    const entry = last as TarEntry | null;
    last = null;
    if (entry !== null) note(found, entry, at);
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
  const target = targetOf(entry);
  if (target !== null) found.set(name, { link: target });
}
