/**
 * Exports what an app wrote, its upper, as a layer of an image.
 *
 * @module
 */
import type { ChangeOptions, Reporter } from "../system/change_options.ts";
import { InvalidValueError } from "../core/errors.ts";
import { appWords, quoteBytes } from "../core/quote.ts";
import { compressPieces } from "../image/compress.ts";
import type { WrittenCompression } from "../request/names.ts";
import { withParents } from "../layer/upper_changes.ts";
import { listChanges } from "../store/app_changes.ts";
import type { ComparedApp } from "../store/app_changes.ts";
import { findMarks } from "../store/upper_marks.ts";
import type { Piece } from "../image/worker.ts";
import { archiveDirectory } from "../layer/archive.ts";
import type { AppChoice, FoundApp } from "./find_app.ts";
import { openExport } from "./permissions.ts";
import { gather } from "./gather.ts";
import { checkUnchanged, listDirectory } from "./listing.ts";
import type { Listing } from "./listing.ts";
import type { Listed } from "./sorted_entries.ts";
import { readLowers } from "./lowers.ts";
import { sendTo } from "./send_to.ts";
import type { Output } from "./send_to.ts";
import { isNamedLikeWhiteout, UpperFilter } from "./upper_filter.ts";
import type { UpperPolicy } from "./upper_filter.ts";

/** How an archive is exported. */
export interface ArchiveRequest extends AppChoice {
  /** The compression. @default {"gzip" for a layer, "none" for a root} */
  readonly compression?: WrittenCompression;
  /** Set if entries that a layer cannot hold are left out; otherwise they are an error. @default {false} */
  readonly skipUnrepresentable?: boolean;
  /** Set if entries of a layer are left out that are as in the lowers, apart from their times. @default {false} */
  readonly prune?: boolean;
  /** The latest time of an entry, in seconds since 1970, see reproducible-builds.org. @default {no limit} */
  readonly sourceDateEpoch?: number;
}

/** An archive that was exported. */
export interface Exported {
  /** The digest of the compressed bytes. */
  readonly digest: string;
  /** The digest of the archive without compression. */
  readonly diffId: string;
  /** The number of compressed bytes. */
  readonly size: number;
  /** The compression. */
  readonly compression: WrittenCompression;
  /** The number of entries. */
  readonly entries: number;
}

/** A directory that is exported, and how. */
export interface ExportSource {
  /** The directory. */
  readonly root: string;
  /** Its entries. */
  readonly listed: Listing;
  /** The paths of those that are exported. @default {all} */
  readonly paths?: ReadonlySet<string>;
  /** The policy, without its listener. */
  readonly policy: Omit<UpperPolicy, "leftOut">;
  /** The compression. */
  readonly compression: WrittenCompression;
}

/**
 * Makes an archive of a directory, piece by piece.
 *
 * Requires `--allow-run` permission for tar and find.
 *
 * @throws {OverlayError} If it was changed meanwhile, or holds what an archive cannot.
 */
export async function* exportPieces(
  { root, listed, paths, policy, compression }: ExportSource,
  options: ChangeOptions,
): AsyncGenerator<Piece, Exported> {
  const leftOut = (path: string, reason: string) => {
    options.warn?.(`left out ${quoteBytes(`/${path}`)}: ${reason}`);
  };
  const filter = new UpperFilter({ ...policy, leftOut });
  const chosen = function* (): Generator<Listed> {
    for (const entry of listed.entries) if (paths?.has(entry.path) !== false) yield entry;
  };
  const wanted = function* (): Generator<string> {
    for (const entry of chosen()) if (isWanted(entry, { ...policy, leftOut })) yield entry.path;
  };
  const archive = async function* (): AsyncGenerator<readonly Uint8Array[]> {
    const how = { ...options, only: wanted(), sparse: true };
    for await (const piece of archiveDirectory(root, how)) {
      options.signal?.throwIfAborted();
      yield* filter.push(piece);
    }
    yield [filter.end()];
    await checkUnchanged(root, listed, options);
  };
  const size = chosen().reduce((sum, entry) => sum + entry.size, 0);
  const how = { compression, size, signal: options.signal };
  const { blob, content, size: written } = yield* compressPieces(gather(archive()), how);
  return {
    digest: `sha256:${blob}`,
    diffId: `sha256:${content}`,
    size: written,
    compression,
    entries: filter.entries,
  };
}

/** Tells whether an entry is read: sockets have no place in an archive, nor do names that are left out. */
function isWanted({ path, type }: Listed, { attributes, skip, leftOut }: UpperPolicy): boolean {
  if (type === "s") {
    leftOut(path, "it is a socket");
    return false;
  }
  if (!skip || attributes === null || type === "c" || !isNamedLikeWhiteout(path)) return true;
  // Left out before tar reads it, so that no hard link leads to it. A mark of fuse-overlayfs is for the filter.
  if (path.endsWith(".wh..wh..opq") && type === "f") return true;
  leftOut(path, "its name is that of a whiteout");
  return false;
}

/** Lists an upper and reads what its marks depend on. */
export async function openUpper(
  { line, config }: FoundApp,
  request: ArchiveRequest,
  options: Reporter,
): Promise<ExportSource> {
  const { upper, lower: lowers } = config;
  if (upper === null || line.copy) {
    const what = line.copy ? "a copy of its lower" : "a read-only view";
    const message = `Cannot export ${
      appWords(line.app)
    } as a layer: it is ${what}, without an upper`;
    throw new InvalidValueError("usage", message, { hint: "export its root: --rootfs FILE" });
  }
  const attributes = findMarks(line.app, config.options);
  const listed = await listDirectory(upper, options);
  const lower = await readLowers(lowers, listed.entries, { attributes, options });
  const policy = {
    attributes,
    lower,
    latest: request.sourceDateEpoch ?? null,
    skip: request.skipUnrepresentable ?? false,
  };
  const compared = { tree: line.tree, lower: lowers, upper, attributes, findRootfs };
  const paths = request.prune ? { paths: await listChanged(compared, options) } : {};
  return { root: upper, listed, ...paths, policy, compression: request.compression ?? "gzip" };
}

/** A layer is made of the upper alone, so that content elsewhere is refused. */
function findRootfs(): Promise<null> {
  return Promise.resolve(null);
}

/** Lists the paths of an upper that differ from the lowers, and the directories above them. */
async function listChanged(app: ComparedApp, options: Reporter): Promise<ReadonlySet<string>> {
  const { changes, upper } = await listChanges(app, options);
  return new Set(["", ...withParents(changes, upper).map(({ path }) => path)]);
}

/**
 * Exports what an app wrote as a layer of an image: a tar archive with whiteouts (OCI image specification,
 * "Image Layer Filesystem Changeset"). The same upper gives the same bytes.
 *
 * Requires `--allow-read` permission for the pod and the lowers, `--allow-run` for tar and find, and
 * `--allow-sys=uid`; with a path also `--allow-read` and `--allow-write` for it.
 *
 * @param request The app, and the form of the layer.
 * @param output A stream, or the path of a file, which appears when it is complete.
 * @param options Listeners for warnings and programs, and a signal that ends the export.
 * @returns The digests and the size of the layer.
 * @throws {InvalidValueError} If the app has no upper, or the pod has several apps and none is chosen.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was written.
 * @throws {OverlayError} If the app writes meanwhile (`changed`), if a layer cannot hold an entry
 * (`unrepresentable`), or if the content is elsewhere (`upper-redirected`).
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { exportLayer, renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * const request = { lower: `${dir}/image`, pod: `${dir}/pod`, options: ["userxattr"] };
 * const app = await renderOverlay(request);
 * await Deno.writeTextFile(`${app.rootfs}/hello`, "from the app");
 * await app[Symbol.asyncDispose]();
 * const { entries } = await exportLayer({ pod: `${dir}/pod` }, `${dir}/layer.tar.gz`);
 * assert(entries === 2); // the root directory, and the file
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function exportLayer(
  request: ArchiveRequest,
  output: Output,
  options: ChangeOptions = {},
): Promise<Exported> {
  const file = typeof output === "string" ? output : "-";
  const app = await openExport(request, { what: "layer", file }, options);
  return await sendTo(output, exportPieces(await openUpper(app, request, options), options));
}
