/**
 * The source of an import: a directory, an archive or stdin, and the image that it holds.
 *
 * @module
 */
import { detectCompression, detectForeignFormat } from "../image/compression.ts";
import type { Compression } from "../image/compression.ts";
import { attempt, describeType, deviceAt, ifAny, look } from "../system/disk.ts";
import { openRegular } from "../system/regular_file.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { checkPermissions } from "../system/permissions.ts";
import { imageError } from "../image/image.ts";
import type { Image, ImageChoice, ImageFiles } from "../image/image.ts";
import { openArchive, openDirectory } from "../image/image_files.ts";
import { createNew, writeAll } from "../system/own_file.ts";
import type { ParsedImport } from "./import_request.ts";
import { child, isWithin, parent } from "../core/path.ts";
import { COMPRESSION_PROGRAMS } from "../system/programs.ts";
import { quote } from "../core/quote.ts";
import type { StoreLayout } from "./layout.ts";

/** A file or a directory that holds an image. */
export interface Source {
  /** Its path. */
  readonly path: string;
  /** Set if it is a directory. */
  readonly isDirectory: boolean;
}

/** The options for reading a source. */
export interface SourceOptions {
  /** Reads stdin, piece by piece. @default {the stdin of this process} */
  readonly input?: () => AsyncIterable<Uint8Array>;
  /** Ends the reading. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks a source before anything is made.
 *
 * Requires `--allow-read` permission for the source.
 *
 * @throws {OverlayError} If it does not exist, or is neither a file nor a directory.
 * @throws {RefusedError} If it is a directory that the store lies in.
 * @throws {MissingPermissionError} If the program that decompresses it may not be run.
 */
export async function checkSource(
  { source, store }: ParsedImport,
  options: SourceOptions,
): Promise<void> {
  if (source === "-") return;
  const { path, isDirectory } = lookAtSource(source);
  if (!isDirectory) return void await detectFileCompression(path, path, options);
  if (!isWithin(store.store, path) || findDevice(store.store) !== deviceAt(path)) return;
  throw new RefusedError(
    "crossing",
    `Cannot import ${quote(path)}: the tree store ${quote(store.store)} lies in it`,
    { path, hint: "choose a tree store outside of it: --store DIR" },
  );
}

/** Finds the device of a path, or of the nearest directory above it. */
function findDevice(path: string): number | null {
  return deviceAt(path) ?? (path === "/" ? null : findDevice(parent(path)));
}

function lookAtSource(path: string): Source {
  const info = ifAny(() => Deno.statSync(path)) ?? look(path);
  if (info?.isFile || info?.isDirectory) return { path, isDirectory: info.isDirectory };
  const hint = "give a directory, a file, or - for stdin";
  if (info !== null) throw imageError(path, `it is ${describeType(info)}`, hint);
  throw new OverlayError("missing", `Cannot import ${quote(path)}: it does not exist`, {
    path,
    hint,
  });
}

/** Returns the file or the directory of the image; stdin is copied to a file. */
export async function locateSource(
  { source, store }: ParsedImport,
  options: SourceOptions,
): Promise<Source> {
  if (source === "-") return { path: await spool(store, options), isDirectory: false };
  return lookAtSource(source);
}

/** Reads stdin; a signal ends the reading, also while it blocks. */
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

/** Copies stdin to a file, since the index of an image may be at the end of its archive. */
async function spool({ scratch }: StoreLayout, options: SourceOptions): Promise<string> {
  const path = child(scratch, "stdin");
  using file = attempt("write", path, () => createNew(path));
  for await (const piece of (options.input ?? (() => stdin(options.signal)))()) {
    options.signal?.throwIfAborted();
    attempt("write", path, () => writeAll(file, piece));
  }
  options.signal?.throwIfAborted();
  return path;
}

/**
 * Detects the compression of a file, and checks that its program may be run.
 *
 * @throws {OverlayError} If it is empty, or of an unsupported format.
 * @throws {MissingPermissionError} If its program may not be run.
 */
async function detectFileCompression(
  path: string,
  name: string,
  { signal }: SourceOptions,
): Promise<Compression> {
  using file = await openRegular(path, { signal });
  const start = new Uint8Array(4096);
  const read = attempt("read", path, () => file.readSync(start));
  if (read === null) throw imageError(name, "it is empty");
  const compression = detectCompression(start.subarray(0, read));
  if (compression === "none") refuseForeign(name, start.subarray(0, read));
  if (compression !== "xz" && compression !== "zstd") return compression;
  const run = [COMPRESSION_PROGRAMS[compression]];
  checkPermissions(`decompress ${quote(name)}`, { read: [], write: [], run });
  return compression;
}

function refuseForeign(name: string, start: Uint8Array): void {
  const format = detectForeignFormat(start);
  if (format === null) return;
  throw imageError(name, `it is ${format.what}, which is not supported`, format.hint);
}

/** Reads the image of a source; `null` for a directory that is a root file system. */
export async function readImage(
  { path, isDirectory }: Source,
  request: ParsedImport,
  options: SourceOptions,
): Promise<Image | null> {
  const name = request.source === "-" ? "stdin" : path;
  const compression = isDirectory ? "none" : await detectFileCompression(path, name, options);
  if (compression === "none") {
    const files = isDirectory ? openDirectory(path) : await openArchive(path, name, options.signal);
    const image = await findImage(files, request.choice, !isDirectory);
    if (image !== null) return image;
    refuseChoice(name, request.choice);
  }
  if (isDirectory) return null;
  const { size } = await Deno.stat(path);
  const layer = { name, path, offset: 0, size, digest: null, diffId: null };
  return { name: null, digest: null, config: null, layers: [layer] };
}

/** Refuses a choice among images if the source holds none. */
export function refuseChoice(name: string, choice: ImageChoice): void {
  for (const [flag, value] of Object.entries(choice)) {
    throw imageError(name, `it is no image but a root file system`, `leave --${flag} ${value} out`);
  }
}

/**
 * Finds the image in files, in any supported format; `null` for a root file system.
 *
 * @param isArchive Set if an invalid `manifest.json` is an error, rather than a file of a root file
 * system.
 */
export async function findImage(
  files: ImageFiles,
  choice: ImageChoice,
  isArchive: boolean,
): Promise<Image | null> {
  const { isCopy, isLayout, readCopy, readLayout } = await import("../image/oci_image.ts");
  const isOci = await isLayout(files);
  const image = isOci ? await readLayout(files, choice) : null;
  if (image !== null) return image;
  const { hasManifest, namesImages, readDockerArchive, refuseOld } = await import(
    "../image/docker_archive.ts"
  );
  // Some versions of docker wrote an empty OCI layout beside a valid manifest.
  if (await namesImages(files)) return await readDockerArchive(files, choice);
  const copied = await isCopy(files);
  const copy = copied ? await readCopy(files, choice) : null;
  if (copy !== null) return copy;
  if (isOci || copied) throw imageError(files.path, "it has no image");
  if (isArchive && hasManifest(files)) return await readDockerArchive(files, choice);
  await refuseOld(files);
  return null;
}
