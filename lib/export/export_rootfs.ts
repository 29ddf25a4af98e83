/**
 * Exports the root of a mounted app as an archive without whiteouts, or as a disk image.
 *
 * @module
 */
import type { ChangeOptions } from "../system/change_options.ts";
import { OverlayError, RefusedError } from "../core/errors.ts";
import { appWords, quote, shellQuote } from "../core/quote.ts";
import { programOptions } from "../system/change_options.ts";
import { checkAbove } from "../system/trust.ts";
import { hashFileLike } from "../system/hash_file.ts";
import { exportPieces } from "./export_layer.ts";
import type { ArchiveRequest, Exported, ExportSource } from "./export_layer.ts";
import { imageFormat, makeDiskImage } from "./disk_image.ts";
import type { ImageFormat } from "./disk_image.ts";
import type { FoundApp } from "./find_app.ts";
import { checkUnchanged, listDirectory } from "./listing.ts";
import { writeOutput } from "./output_file.ts";
import { openExport } from "./permissions.ts";
import { sendTo } from "./send_to.ts";
import type { Output } from "./send_to.ts";

/** The lowers of a root that has no whiteouts. */
const NO_LOWER = { has: () => false, hasEntries: () => false };

/**
 * Lists the root of an app, which must be mounted, or a copy.
 *
 * Requires `--allow-run` permission for findmnt and find.
 *
 * @throws {OverlayError} If it is not mounted.
 */
export async function openRootfs(
  { open, line }: FoundApp,
  request: ArchiveRequest,
  options: ChangeOptions,
): Promise<ExportSource & { readonly inside: readonly string[] }> {
  const { seen: [seen] } = await open.snapshot("export", [line]);
  if (!line.copy && seen?.state !== "mounted") {
    const { pod } = open.layout;
    throw new OverlayError("failed", `Cannot export ${appWords(line.app)}: it is not mounted`, {
      path: line.rootfs,
      hint: `mount it first: overlay-render restore --pod ${shellQuote(pod)}, or render it`,
    });
  }
  return {
    root: line.rootfs,
    listed: await listDirectory(line.rootfs, options),
    policy: {
      attributes: null,
      lower: NO_LOWER,
      latest: request.sourceDateEpoch ?? null,
      skip: false,
    },
    compression: request.compression ?? "none",
    inside: seen?.inside ?? [],
  };
}

/**
 * Exports the root of a mounted app as a tar archive without whiteouts. A path that ends in `.erofs`,
 * `.squashfs` or `.ext4` gets a disk image, made by mkfs.erofs, mksquashfs or mke2fs.
 *
 * Requires the permissions of `exportLayer`, with the root in the place of the lowers, and `--allow-run` for
 * findmnt; for a disk image `--allow-run` for its program, in the place of tar.
 *
 * @param request The app, and the form of the archive.
 * @param output A stream, or the path of a file, which appears when it is complete.
 * @param options Listeners for warnings and programs, and a signal that ends the export.
 * @returns The digests and the size of the archive.
 * @throws {MissingPermissionError} If a Deno permission is missing; nothing was written.
 * @throws {OverlayError} If the app is not mounted, or writes meanwhile (`changed`).
 *
 * @example
 * ```ts
 * import { assert } from "@std/assert";
 * import { exportRootfs, renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the image");
 * {
 *   const request = { lower: `${dir}/image`, pod: `${dir}/pod`, options: ["userxattr"] };
 *   await using _app = await renderOverlay(request);
 *   const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
 *   const archive = new Response(readable).bytes();
 *   const { size } = await exportRootfs({ pod: `${dir}/pod` }, writable);
 *   assert((await archive).length === size);
 * }
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * @tags allow-read, allow-write, allow-run, allow-sys
 */
export async function exportRootfs(
  request: ArchiveRequest,
  output: Output,
  options: ChangeOptions = {},
): Promise<Exported> {
  const file = typeof output === "string" ? output : "-";
  const app = await openExport(request, { what: "rootfs", file }, options);
  const source = await openRootfs(app, request, options);
  const format = imageFormat(file);
  if (format !== null) return await exportDiskImage(file, format, source, options);
  return await sendTo(output, exportPieces(source, options));
}

/** Writes a disk image. The programs would also read what is mounted in the root. */
async function exportDiskImage(
  path: string,
  format: ImageFormat,
  { root, listed, inside: [mount] }: ExportSource & { readonly inside: readonly string[] },
  options: ChangeOptions,
): Promise<Exported> {
  if (mount !== undefined) {
    throw new RefusedError(
      "busy",
      `Cannot export ${quote(root)}: ${quote(mount)} is mounted in it`,
      {
        path: mount,
        hint: `unmount that one first: umount ${shellQuote(mount)}`,
      },
    );
  }
  // The program opens the file by its name.
  await checkAbove([path], programOptions(options));
  return await writeOutput(path, async (_, beside) => {
    await makeDiskImage(format, { root, file: beside, listed }, options);
    await checkUnchanged(root, listed, options);
    const digest = await hashFileLike(beside);
    const { size } = await Deno.stat(beside);
    return { digest, diffId: digest, size, compression: "none", entries: listed.entries.count };
  });
}
