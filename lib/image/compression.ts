/**
 * Telling how an archive is compressed, or what else it is, by the bytes it begins with.
 *
 * Requires no permissions.
 *
 * @module
 */

/** How an archive is compressed. */
export type Compression = "none" | "gzip" | "xz" | "zstd";

/** The bytes that a file of a format begins with; `null` stands for any byte. */
type Magic = readonly (number | null)[];

const MAGIC: readonly (readonly [Compression, Magic])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
];

/** A frame that is to be skipped: pzstd and others begin with one. */
const SKIPPABLE: Magic = [null, 0x2a, 0x4d, 0x18];

function isAt(start: Uint8Array, magic: Magic, at = 0): boolean {
  return magic.every((byte, i) => byte === null || start[at + i] === byte);
}

/** How something is compressed that begins with these bytes. */
export function detectCompression(start: Uint8Array): Compression {
  const [found] = MAGIC.find(([, magic]) => isAt(start, magic)) ?? [];
  if (found !== undefined) return found;
  const [first = 0] = start;
  return first >> 4 === 5 && isAt(start, SKIPPABLE) ? "zstd" : "none";
}

/** A format that is known, and not supported. */
export interface ForeignFormat {
  /** The words for a file of this format, such as `compressed by bzip2`. */
  readonly what: string;
  /** A way to import it all the same. */
  readonly hint: string;
}

function text(word: string): Magic {
  return Array.from(word, (char) => char.charCodeAt(0));
}

/** Compressions, by the program that takes them off. */
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

/** The format of something that begins with these bytes, if it is one that is not supported. */
export function detectForeignFormat(start: Uint8Array): ForeignFormat | null {
  // A tar archive begins with a name, which may be any of these words.
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
