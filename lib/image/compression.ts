/**
 * Detects the compression or another format of an archive by its first bytes.
 *
 * Requires no permissions.
 *
 * @module
 */

/** The compression of an archive. */
export type Compression = "none" | "gzip" | "xz" | "zstd";

/** The first bytes of a file of a format; `null` stands for any byte. */
type Magic = readonly (number | null)[];

const MAGIC: readonly (readonly [Compression, Magic])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
];

/** A skippable frame, with which the files of pzstd and other programs begin. */
const SKIPPABLE: Magic = [null, 0x2a, 0x4d, 0x18];

function isAt(start: Uint8Array, magic: Magic, at = 0): boolean {
  return magic.every((byte, i) => byte === null || start[at + i] === byte);
}

/** Detects the compression of a file by its first bytes. */
export function detectCompression(start: Uint8Array): Compression {
  const [found] = MAGIC.find(([, magic]) => isAt(start, magic)) ?? [];
  if (found !== undefined) return found;
  const [first = 0] = start;
  return first >> 4 === 5 && isAt(start, SKIPPABLE) ? "zstd" : "none";
}

/** A known format that is not supported. */
export interface ForeignFormat {
  /** A description of a file of this format, such as `compressed by bzip2`. */
  readonly what: string;
  /** A hint how to import it. */
  readonly hint: string;
}

function text(word: string): Magic {
  return Array.from(word, (char) => char.charCodeAt(0));
}

/** The unsupported compressions, by the program that decompresses them. */
const PROGRAMS: readonly (readonly [string, Magic])[] = [
  ["bzip2", text("BZh")],
  ["lz4", [0x04, 0x22, 0x4d, 0x18]],
  ["lzip", text("LZIP")],
  ["lzop", [0x89, ...text("LZO")]],
  ["lzma", [0x5d, 0x00, 0x00, null, null, 0xff, 0xff]],
  ["uncompress", [0x1f, 0x9d]],
];

const OTHERS: readonly (readonly [what: string, magic: Magic, at?: number])[] = [
  ["a zip archive", text("PK\x03\x04")],
  ["a 7z archive", text("7z\xbc\xaf\x27\x1c")],
  ["a cpio archive", text("07070")],
  ["an ar archive, such as a Debian package", text("!<arch>\n")],
  ["a squashfs file system", text("hsqs")],
  ["an EROFS file system", [0xe2, 0xe1, 0xf5, 0xe0], 1024],
  ["an ext4 file system", [0x53, 0xef], 1080],
  ["a disk image of QEMU", text("QFI\xfb")],
  ["a Singularity image", text("SIF_MAGIC"), 32],
];

/** Detects an unsupported format by the first bytes of a file; `null` for any other. */
export function detectForeignFormat(start: Uint8Array): ForeignFormat | null {
  // A tar archive begins with a name, which may look like any of these.
  if (isAt(start, text("ustar"), 257)) return null;
  const [program] = PROGRAMS.find(([, magic]) => isAt(start, magic)) ?? [];
  if (program !== undefined) {
    const unpack = program === "uncompress" ? "-c" : "-dc";
    const hint = `decompress it first: ${program} ${unpack} FILE | overlay-render tree import -`;
    return { what: `compressed by ${program.replace("uncompress", "compress")}`, hint };
  }
  const [what] = OTHERS.find(([, magic, at]) => isAt(start, magic, at)) ?? [];
  const hint = "unpack or mount it, and import the directory";
  return what === undefined ? null : { what, hint };
}
