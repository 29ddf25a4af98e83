/**
 * Makes a disk image of a mounted root, by the program of its format.
 *
 * @module
 */
import { programOptions } from "../system/change_options.ts";
import type { ChangeOptions } from "../system/change_options.ts";
import { programError, run } from "../system/run.ts";
import type { Listing } from "./listing.ts";

/** The formats of disk images, by the extension of the file. */
export type ImageFormat = "erofs" | "squashfs" | "ext4";

/** The program of each format, by absolute path. They are not among the programs that the script may run. */
export const IMAGE_PROGRAMS: Readonly<Record<ImageFormat, string>> = {
  erofs: "/usr/bin/mkfs.erofs",
  squashfs: "/usr/bin/mksquashfs",
  ext4: "/usr/sbin/mke2fs",
};

/** Returns the format that the name of a file asks for; `null` for an archive. */
export function imageFormat(file: string): ImageFormat | null {
  const [, extension] = /\.(erofs|squashfs|ext4)$/.exec(file) ?? [];
  return (extension as ImageFormat | undefined) ?? null;
}

/** The size of a block of ext4, and what each entry and the journal need beside the contents, in bytes. */
const EXT4 = { block: 4096, entry: 1024, all: 32 << 20 };

/** Computes a size in KiB that an ext4 file system with these entries fits into. */
function sizeOf({ entries }: Listing): number {
  let bytes = 0;
  for (const { size } of entries) bytes += Math.ceil(size / EXT4.block) * EXT4.block + EXT4.entry;
  return Math.ceil((bytes * 1.05 + EXT4.all) / 1024);
}

function argumentsOf(
  format: ImageFormat,
  { root, file, listed }: DiskImage,
): readonly string[] {
  switch (format) {
    case "erofs":
      return [file, root];
    case "squashfs":
      return [root, file, "-noappend", "-no-progress", "-quiet"];
    case "ext4":
      return [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-N",
        String(listed.entries.count + 64),
        "-d",
        root,
        file,
        `${sizeOf(listed)}k`,
      ];
  }
}

/** The content of a disk image, and its file. */
export interface DiskImage {
  /** The directory. */
  readonly root: string;
  /** The file, which exists. */
  readonly file: string;
  /** The entries of the directory. */
  readonly listed: Listing;
}

/**
 * Makes a disk image of a directory.
 *
 * Requires `--allow-run` permission for the program.
 *
 * @throws {OverlayError} If the program is not installed, or fails.
 */
export async function makeDiskImage(
  format: ImageFormat,
  image: DiskImage,
  options: ChangeOptions,
): Promise<void> {
  const how = { ...programOptions(options), cwd: "/", signal: options.signal };
  const result = await run(IMAGE_PROGRAMS[format], argumentsOf(format, image), how);
  options.signal?.throwIfAborted();
  if (result.status !== 0) throw programError(result, "write", image.file);
}
