/**
 * Imports an image into the tree store: from an archive or a directory to a tree that can be rendered.
 *
 * @module
 */
import { checkPermissions, TRUST } from "../system/permissions.ts";
import { parseImport } from "./import_request.ts";
import type { ImportedTree, ImportOptions } from "./import_options.ts";
import type { ImportRequest, ParsedImport } from "./import_request.ts";
import { checkSource, locateSource, readImage } from "./import_source.ts";
import { PROGRAMS } from "../system/programs.ts";
import type { RequiredPermissions } from "../system/permissions.ts";
import { clearAway, listScratch, openStore, tidy } from "./open.ts";
import { importImage } from "./import_image.ts";
import { discardBlobs } from "./kept_blobs.ts";
import { chooseAttributes } from "./import_policy.ts";
import { importDirectory } from "./import_directory.ts";

/**
 * Computes the permissions that an import needs. The programs xz and zstd are needed only for archives with
 * that compression.
 *
 * @throws {InvalidValueError} If a part of the request is not usable.
 */
export function importPermissions(request: ImportRequest): RequiredPermissions {
  const { source, store: { store } } = parseImport(request);
  const { tar, sync, rm, ln } = PROGRAMS;
  return {
    read: source === "-" ? [store] : [source, store],
    write: [store],
    run: [ln, tar, sync, rm, ...TRUST.run],
    sys: TRUST.sys,
  };
}

/**
 * Imports an image into the tree store.
 *
 * Every blob is verified by its digest and size, and every layer by its diff id. Images share layers, which
 * are unpacked once. A failed import undoes its changes; the next import removes the remains of one that was
 * killed.
 *
 * Requires the permissions that {@linkcode importPermissions} computes, and root, or a user namespace with all
 * users and groups.
 *
 * @param request The source and the store.
 * @param options Listeners for warnings and progress, and a signal that ends the import.
 * @returns The tree.
 * @throws {InvalidValueError} If a part of the request is invalid.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was touched.
 * @throws {OverlayError} If the image is damaged, hostile or not supported; the store is unchanged.
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { importTree } from "@overlay/render/tree";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the image");
 *
 * const { id } = await importTree({ source: `${dir}/image`, store: `${dir}/store` });
 * assert(Deno.readTextFileSync(`${dir}/store/tree/${id}/rootfs/hello`) === "from the image");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function importTree(
  request: ImportRequest,
  options: ImportOptions = {},
): Promise<ImportedTree> {
  const parsed = parseImport(request);
  checkPermissions("import", importPermissions(request));
  await checkSource(parsed, options);
  return await importInto(request, options, importFrom);
}

/**
 * Runs an import with the store locked; if it fails, all changes are undone.
 *
 * @param act The import. The scratch directory of the store is empty before, and is emptied afterwards.
 */
export async function importInto(
  request: ImportRequest,
  options: ImportOptions,
  act: (parsed: ParsedImport, options: ImportOptions) => Promise<ImportedTree>,
): Promise<ImportedTree> {
  const parsed = parseImport(request);
  const { store } = parsed;
  using lock = await openStore(store, options);
  try {
    const policy = { ...parsed.policy, attributes: chooseAttributes(request, store) };
    const tree = await act({ ...parsed, policy }, options);
    await clearAway(listScratch(store), options);
    return tree;
  } catch (error) {
    tidy(store);
    discardBlobs(store);
    await clearAway(listScratch(store), options);
    lock.takeBack();
    throw error;
  }
}

async function importFrom(parsed: ParsedImport, options: ImportOptions): Promise<ImportedTree> {
  const source = await locateSource(parsed, options);
  const image = await readImage(source, parsed, options);
  options.signal?.throwIfAborted();
  if (image === null) return await importDirectory(source.path, parsed, options);
  return await importImage(image, parsed, options);
}
