/**
 * What an import reads: a directory, an archive or stdin, and the image that it holds.
 *
 * @module
 */
import { compressionOf } from "./compression.ts";
import type { Compression } from "./compression.ts";
import { attempt, deviceAt, ifAny, look, typeOf } from "./disk.ts";
import { OverlayError, RefusedError } from "./errors.ts";
import { checkPermissions } from "./grants.ts";
import { imageError } from "./image.ts";
import type { Image } from "./image.ts";
import { filesOfArchive, filesOfDirectory } from "./image_files.ts";
import type { ParsedImport } from "./import_request.ts";
import { child, isWithin, parent } from "./path.ts";
import { COMPRESSION_PROGRAMS } from "./permissions.ts";
import { quote } from "./quote.ts";
import type { StoreLayout } from "./store.ts";

/** A file or a directory that holds an image. */
export interface Source {
  /** Where it is. */
  readonly path: string;
  /** Whether it is a directory. */
  readonly isDirectory: boolean;
}

/** How a source is read. */
export interface SourceOptions {
  /** What stdin holds, piece by piece. @default {the stdin of this process} */
  readonly input?: () => AsyncIterable<Uint8Array>;
  /** Ends the reading. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Refuses what of a source can be seen to be wrong before anything is made.
 *
 * Requires `--allow-read` permission for the source.
 *
 * @throws {OverlayError} If it does not exist, or is neither a file nor a directory.
 * @throws {RefusedError} If it is a directory that the store lies in.
 * @throws {MissingPermissionError} If it takes a program to decompress it that may not be run.
 */
export function checkSource({ source, store }: ParsedImport): void {
  if (source === "-") return;
  const { path, isDirectory } = sourceAt(source);
  if (!isDirectory) return checkCompression(compressionOf(startOf(path, path)), path);
  if (!isWithin(store.store, path) || deviceAbove(store.store) !== deviceAt(path)) return;
  throw new RefusedError(
    "crossing",
    `Cannot import ${quote(path)}: the tree store ${quote(store.store)} lies in it`,
    { path, hint: "choose a tree store outside of it: --store DIR" },
  );
}

/** The device of what is at a path, or will be. */
function deviceAbove(path: string): number | null {
  return deviceAt(path) ?? (path === "/" ? null : deviceAbove(parent(path)));
}

function sourceAt(path: string): Source {
  const info = ifAny(() => Deno.statSync(path)) ?? look(path);
  if (info?.isFile || info?.isDirectory) return { path, isDirectory: info.isDirectory };
  const hint = "give a directory, a file, or - for stdin";
  if (info !== null) throw imageError(path, `it is ${typeOf(info)}`, hint);
  throw new OverlayError("missing", `Cannot import ${quote(path)}: it does not exist`, {
    path,
    hint,
  });
}

/** Where the image is, once it is a file or a directory. */
export async function sourceOf(
  { source, store }: ParsedImport,
  options: SourceOptions,
): Promise<Source> {
  if (source === "-") return { path: await spool(store, options), isDirectory: false };
  return sourceAt(source);
}

/** What stdin holds; a signal ends the reading, also while nothing comes in. */
async function* stdin(signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  const reader = Deno.stdin.readable.getReader();
  const cancel = () => void reader.cancel();
  signal?.addEventListener("abort", cancel);
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    signal?.removeEventListener("abort", cancel);
    cancel();
  }
}

/** What comes from stdin is written down first: which image it is may stand at its end. */
async function spool({ scratch }: StoreLayout, options: SourceOptions): Promise<string> {
  const path = child(scratch, "stdin");
  using file = attempt("write", path, () => {
    return Deno.openSync(path, { write: true, createNew: true, mode: 0o600 });
  });
  for await (const piece of (options.input ?? (() => stdin(options.signal)))()) {
    options.signal?.throwIfAborted();
    attempt("write", path, () => {
      for (let at = 0; at < piece.length;) at += file.writeSync(piece.subarray(at));
    });
  }
  options.signal?.throwIfAborted();
  return path;
}

function startOf(path: string, name: string): Uint8Array {
  using file = attempt("read", path, () => Deno.openSync(path));
  const start = new Uint8Array(512);
  const read = file.readSync(start);
  if (read === null) throw imageError(name, "it is empty");
  return start.subarray(0, read);
}

function checkCompression(compression: Compression, path: string): void {
  if (compression !== "xz" && compression !== "zstd") return;
  const run = [COMPRESSION_PROGRAMS[compression]];
  checkPermissions(`decompress ${quote(path)}`, { read: [], write: [], run });
}

/** The image that a source is; `null` of a directory that is a root file system. */
export async function imageOf(
  { path, isDirectory }: Source,
  request: ParsedImport,
): Promise<Image | null> {
  const name = request.source === "-" ? "stdin" : path;
  const compression = isDirectory ? "none" : compressionOf(startOf(path, name));
  checkCompression(compression, name);
  if (compression === "none") {
    const files = isDirectory ? filesOfDirectory(path) : filesOfArchive(path, name);
    const { isLayout, readLayout } = await import("./oci_image.ts");
    if (isLayout(files)) return await readLayout(files, request.choice);
    const { isDockerArchive, readDockerArchive } = await import("./docker_archive.ts");
    if (!isDirectory && isDockerArchive(files)) {
      return await readDockerArchive(files, request.choice);
    }
  }
  for (const [flag, value] of Object.entries(request.choice)) {
    throw imageError(name, `it is no image but a root file system`, `leave --${flag} ${value} out`);
  }
  if (isDirectory) return null;
  const { size } = await Deno.stat(path);
  const layer = { name, path, offset: 0, size, digest: null, diffId: null };
  return { name: null, digest: null, config: null, layers: [layer] };
}
