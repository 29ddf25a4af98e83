/**
 * Archives that somebody made to get out of the layer, to be read in two ways, to fill the disk or the
 * memory, or that are simply damaged.
 *
 * @module
 */
import { assertNotEquals } from "@std/assert";
import {
  archive,
  base256,
  concat,
  directory,
  END,
  entry,
  file,
  gnuLong,
  gzip,
  hardlink,
  header,
  pax,
  symlink,
} from "../_archive.ts";
import type { Bytes, RawEntry } from "../_archive.ts";
import { makePlace, testCase, watch } from "../_hostile.ts";
import type { Case, Ending, Place } from "../_hostile.ts";
import { tempDir } from "../_temp.ts";

/** From the root of a layer that is being unpacked, and of one that is in its place. */
const OUT = "../../../../canary";

function refused(says: string, code = "bad-archive"): Ending {
  return { code, says };
}

function harmless(...tree: readonly string[]): Ending {
  return { tree: ["d 755 0:0 .", ...tree] };
}

/** The directories above a path that no entry tells of, outermost first. */
function directoriesTo(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return parts.map((_, at) => `d 755 0:0 ${parts.slice(0, at + 1).join("/")}`);
}

type Parts = Bytes[] | ((place: Place) => Bytes[]);

/** A case of an archive that ends as it must. */
function of(what: string, parts: Parts, ends: Ending, ...flags: readonly string[]): Case {
  const source = (place: Place) => archive(...typeof parts === "function" ? parts(place) : parts);
  return { what, source, ends, flags };
}

/** A case of bytes that need not be an archive. */
function whole(what: string, source: () => Uint8Array, ends: Ending, ...flags: string[]): Case {
  return { what, source, ends, flags };
}

const LEAVES = 'holds "..", which leads out of the layer';
const LONG = "too long for the kernel";
const NO_DIRECTORY = "which is no directory";

const NAMES: Case[] = [
  of("a name that begins with ..", [file("../canary/new")], refused(`"../canary/new" ${LEAVES}`)),
  of("a name with .. inside", [file(`a/../${OUT}/new`)], refused(LEAVES)),
  of("a name with .. behind ./", [file(`./${OUT}/new`)], refused(LEAVES)),
  of("a name that is ..", [directory("..")], refused(`".." ${LEAVES}`)),
  of("a name that ends with ..", [directory("a/..")], refused(`"a/.." ${LEAVES}`)),
  of("an absolute name with ..", [file(`/${OUT}/file`)], refused(LEAVES)),
  of("an absolute name", [file("/etc/passwd"), file("//etc//./shadow")], {
    tree: [
      "d 755 0:0 .",
      "d 755 0:0 etc",
      "f 644 0:0 etc/passwd = content",
      "f 644 0:0 etc/shadow = content",
    ],
  }),
  of(
    "the absolute name of the canary",
    ({ canary }) => [pax({ path: `${canary}/file` }), file("x")],
    {
      tree: ({ canary }) => {
        const parts = canary.slice(1).split("/");
        const above = parts.map((_, at) => `d 755 0:0 ${parts.slice(0, at + 1).join("/")}`);
        return ["d 755 0:0 .", ...above, `f 644 0:0 ${canary.slice(1)}/file = content`];
      },
    },
  ),
  of(
    "names that only look like ..",
    [file("..."), file("..a"), file("a.."), file(". ."), file("~"), file("-rf"), file("a\\b")],
    harmless(
      "f 644 0:0 -rf = content",
      "f 644 0:0 . . = content",
      "f 644 0:0 ... = content",
      "f 644 0:0 ..a = content",
      "f 644 0:0 a.. = content",
      "f 644 0:0 a\\b = content",
      "f 644 0:0 ~ = content",
    ),
  ),
  of("names with line breaks and control bytes", [file("a\nb"), file("\x1b[2J"), file("\x7f\t")], {
    tree: [
      "d 755 0:0 .",
      "f 644 0:0 \x1b[2J = content",
      "f 644 0:0 a\nb = content",
      "f 644 0:0 \x7f\t = content",
    ],
  }),
  of(
    "names that are not UTF-8, short and long",
    [file("\xff\xfe"), pax({ path: `${"\xe9/".repeat(60)}\xc3` }), file("x")],
    {
      tree: [
        "d 755 0:0 .",
        ...Array.from({ length: 60 }, (_, at) => `d 755 0:0 ${"/\xe9".repeat(at + 1).slice(1)}`),
        `f 644 0:0 ${"\xe9/".repeat(60)}\xc3 = content`,
        "f 644 0:0 \xff\xfe = content",
      ],
    },
  ),
  of(
    "a name that would act on a terminal in the error",
    [file("../\x1b[2J\nerror: all is well")],
    refused('the name "../\\u001b[2J\\nerror: all is well"'),
  ),
  of(
    "a name of UTF-8 in the error",
    [file("../\xc3\xa4\xe2\x82\xac")],
    refused('the name "../ä€"'),
  ),
  of("a name of 256 bytes", [pax({ path: "a".repeat(256) }), file("x")], refused(LONG)),
  of(
    "a path of 513 parts",
    [pax({ path: "a/".repeat(512) + "b" }), file("x")],
    refused("too deep"),
  ),
  of(
    "a path of 4096 bytes",
    [pax({ path: `${"abcdefg/".repeat(511)}abcdefgh` }), file("x")],
    refused(LONG),
  ),
  of("an empty name", [file("")], refused('its root is no directory, but of type "file"')),
  of("a pax path with ..", [pax({ path: `${OUT}/new` }), file("good")], refused(LEAVES)),
  of("a pax path with NUL", [pax({ path: "good\0/../bad" }), file("x")], refused("holds NUL")),
  of(
    "a pax path that is empty, which takes an earlier one back",
    [pax({ path: "" }), file("good")],
    harmless("f 644 0:0 good = content"),
  ),
  of("a long name of GNU with ..", [gnuLong("L", `${OUT}/new`), file("good")], refused(LEAVES)),
  of("a prefix with ..", [file("new", "", { prefix: OUT })], refused(LEAVES)),
  of(
    "a prefix that is none, with the magic of GNU",
    [file("good", "content", { prefix: OUT, magic: "ustar  \0" })],
    harmless("f 644 0:0 good = content"),
  ),
  of(
    "two names, of pax and of GNU",
    [pax({ path: "one" }), gnuLong("L", "two"), file("three")],
    refused('is called "two" and "one"'),
  ),
  of(
    "two links, of pax and of GNU",
    [pax({ linkpath: "one" }), gnuLong("K", "two"), symlink("three", "four")],
    refused('is called "two" and "one"'),
  ),
  of(
    "two sets of records of one entry",
    [pax({ path: "one" }), pax({ mtime: "7" }), file("x")],
    refused("an entry has two sets of pax records"),
  ),
  of("a name of all entries", [pax({ path: "one" }, "g"), file("x")], refused('"path" of all')),
  of("a size of all entries", [pax({ size: "0" }, "g"), file("x")], refused('"size" of all')),
  of(
    "an attribute of all entries",
    [pax({ "SCHILY.xattr.user.x": "y" }, "g"), file("x")],
    refused('"SCHILY.xattr.user.x" of all'),
  ),
  of(
    "an owner of all entries, which is allowed",
    [pax({ uid: "7", comment: "hello" }, "g"), file("x"), pax({ uid: "8" }), file("y")],
    harmless("f 644 7:0 x = content", "f 644 8:0 y = content"),
  ),
];

const LINKS: Case[] = [
  of(
    "a file through a symlink out, which leads to a place in the layer",
    [symlink("l", OUT), file("l/new")],
    harmless("d 755 0:0 canary", "f 644 0:0 canary/new = content", `l 777 0:0 l -> ${OUT}`),
  ),
  of(
    "a file through an absolute symlink",
    ({ canary }) => [pax({ linkpath: canary }), symlink("l", "x"), file("./l//./new")],
    {
      tree: ({ canary }) => [
        "d 755 0:0 .",
        ...[`l 777 0:0 l -> ${canary}`],
        ...directoriesTo(`${canary.slice(1)}/new`),
        `f 644 0:0 ${canary.slice(1)}/new = content`,
      ],
    },
  ),
  of(
    "a directory through a symlink",
    [symlink("l", OUT), directory("l/sub/new")],
    harmless(
      "d 755 0:0 canary",
      "d 755 0:0 canary/sub",
      "d 755 0:0 canary/sub/new",
      `l 777 0:0 l -> ${OUT}`,
    ),
  ),
  of(
    "a chain of symlinks",
    [symlink("c", OUT), symlink("b", "c"), symlink("a", "b"), file("a/file")],
    harmless(
      "l 777 0:0 a -> b",
      "l 777 0:0 b -> c",
      `l 777 0:0 c -> ${OUT}`,
      "d 755 0:0 canary",
      "f 644 0:0 canary/file = content",
    ),
  ),
  of(
    "a circle of symlinks",
    [symlink("a", "b"), symlink("b", "./a/."), file("a/file")],
    refused('"a" leads through symlinks without end'),
  ),
  of(
    "a symlink that becomes longer each time that it is followed",
    [symlink("a", "a/".repeat(2000) + "b"), file("a/file")],
    refused('"a" leads through symlinks without end'),
  ),
  of(
    "symlinks that lead to long paths, again and again",
    [
      pax({ linkpath: "b/../".repeat(800) }),
      symlink("a", "x"),
      ...Array.from({ length: 100 }, (_, at) => file(`a/a/a/a/a/a/a/a/a/a/a/a/${at}`, "")),
    ],
    refused("steps through its directories", "too-large"),
  ),
  of(
    "a symlink through a symlink",
    [symlink("l", OUT), symlink("l/file", "x")],
    harmless("d 755 0:0 canary", "l 777 0:0 canary/file -> x", `l 777 0:0 l -> ${OUT}`),
  ),
  of(
    "a file in a hard link to a symlink",
    [symlink("l", OUT), hardlink("h", "l"), file("h/new")],
    harmless(
      "d 755 0:0 canary",
      "f 644 0:0 canary/new = content",
      `l 777 0:0 h -> ${OUT}`,
      `l 777 0:0 l -> ${OUT}`,
    ),
  ),
  of(
    "a file in a file",
    [file("f"), file("f/new")],
    refused(`"f/new" lies in "f", ${NO_DIRECTORY}`),
  ),
  of(
    "a file in a file, through a symlink",
    [file("f"), symlink("l", "f"), file("l/new")],
    refused(`"f/new" lies in "f", ${NO_DIRECTORY}`),
  ),
  of(
    "a directory in place of a symlink, then a file in it",
    [symlink("l", OUT), directory("l", { mode: 0o711, uid: 5 }), file("l/file", "mine")],
    harmless("d 711 5:0 l", "f 644 0:0 l/file = mine", "@ trusted.overlay.opaque=y"),
  ),
  of(
    "a file in place of a symlink to a file",
    [symlink("l", `${OUT}/file`), file("l", "mine", { mode: 0o777, uid: 5 })],
    harmless("f 777 5:0 l = mine"),
  ),
  of(
    "a file in place of a hard link to a symlink to a file",
    [symlink("l", `${OUT}/file`), hardlink("h", "l"), file("h", "mine")],
    harmless("f 644 0:0 h = mine", `l 777 0:0 l -> ${OUT}/file`),
  ),
  of(
    "a file in place of a hard link, which must not change the other name",
    [file("a", "first"), hardlink("b", "a"), file("b", "second")],
    harmless("f 644 0:0 a = first", "f 644 0:0 b = second"),
  ),
  of(
    "a symlink in place of a file, a fifo in place of the symlink",
    [file("x"), symlink("x", OUT), entry({ name: "x", flag: "6", mode: 0o600 })],
    harmless("p 600 0:0 x"),
  ),
  of(
    "symlinks that lead out, which nobody follows",
    ({ canary }) => [
      ...[pax({ linkpath: canary }), symlink("a", "x")],
      ...[symlink("b", OUT), symlink("c", "c"), symlink("d", "/")],
    ],
    {
      tree: ({ canary }) => [
        "d 755 0:0 .",
        `l 777 0:0 a -> ${canary}`,
        `l 777 0:0 b -> ${OUT}`,
        "l 777 0:0 c -> c",
        "l 777 0:0 d -> /",
      ],
    },
  ),
  of("a hard link out", [hardlink("h", `${OUT}/file`)], refused(LEAVES)),
  of(
    "a hard link to the absolute name of the canary",
    ({ canary }) => [pax({ linkpath: `${canary}/file` }), hardlink("h", "x")],
    refused("which is no file before it"),
  ),
  of(
    "a hard link through a symlink",
    [symlink("l", OUT), hardlink("h", "l/file")],
    refused('"h" is a hard link to "canary/file", which is no file before it'),
  ),
  of(
    "a hard link with a long target out",
    [gnuLong("K", `${OUT}/file`), hardlink("h", "a")],
    refused(LEAVES),
  ),
  of(
    "a hard link to a directory",
    [directory("d"), hardlink("h", "d")],
    refused('"h" is a hard link to "d", which is no file before it'),
  ),
  of("a hard link to itself", [file("a"), hardlink("a", "./a")], refused("no file before it")),
  of("a hard link to the root", [hardlink("h", "/")], refused("no file before it")),
  of("a hard link to a later file", [hardlink("h", "a"), file("a")], refused("no file before it")),
  of(
    "a hard link to a whiteout",
    [file(".wh.a", ""), hardlink("h", "a")],
    refused('"h" is a hard link to "a", which is no file before it'),
  ),
  of(
    "a hard link with content",
    [file("a"), hardlink("h", "a", { content: "content", size: 7 })],
    refused("the checksum of a header is wrong"),
  ),
  of(
    "a hard link with a mode and owner of its own",
    [file("a"), hardlink("h", "a", { mode: 0o6777, uid: 7 })],
    harmless("f 644 0:0 a = content", "f 644 0:0 h = content"),
  ),
  of("a symlink to nothing", [symlink("l", "")], refused('"l" is a symlink to ""')),
  of(
    "a symlink with NUL",
    [pax({ linkpath: "a\0b" }), symlink("l", "x")],
    refused('"l" is a symlink to "a\\u0000b"'),
  ),
  of(
    "a symlink of 4096 bytes",
    [pax({ linkpath: "a/".repeat(2048) }), symlink("l", "x")],
    refused(LONG),
  ),
];

const ROOTS: Case[] = [
  ...["./", ".", "/", ""].map((name) => {
    return of(`a root ${JSON.stringify(name)} that is a symlink`, [symlink(name, OUT)], {
      code: "bad-archive",
      says: 'its root is no directory, but of type "symlink"',
    });
  }),
  of(
    "a root that is a hard link",
    [file("a"), hardlink(".", "a")],
    refused('its root is no directory, but of type "hardlink"'),
  ),
  of(
    "a root that is a device",
    [entry({ name: "./", flag: "3", major: 1, minor: 3 })],
    refused('its root is no directory, but of type "char"'),
  ),
  of(
    "a root with a mode and owner, several times",
    [directory("./", { mode: 0o700 }), file("a"), directory("/", { mode: 0o1777, uid: 3, gid: 4 })],
    { tree: ["d 1777 3:4 .", "f 644 0:0 a = content"] },
  ),
];

const WHITEOUTS: Case[] = [
  of("the whiteout of nothing", [file(".wh.", "")], refused('".wh." is the whiteout of ""')),
  of("the whiteout of .", [file("a/.wh..", "")], refused('"a/.wh.." is the whiteout of "."')),
  of("the whiteout of ..", [file(".wh...", "")], refused('".wh..." is the whiteout of ".."')),
  of(
    "the whiteout of .. by a pax path",
    [pax({ path: "a/.wh..." }), file("x", "")],
    refused('"a/.wh..." is the whiteout of ".."'),
  ),
  of(
    "the whiteout of a name that goes on",
    [file("a/.wh.../b", "")],
    refused('"a/.wh.../b" lies in a whiteout'),
  ),
  of(
    "a whiteout out of the layer",
    [file(`${OUT}/.wh.file`, "")],
    refused(`"${OUT}/.wh.file" ${LEAVES}`),
  ),
  of(
    "a whiteout with content",
    [file(".wh.a", "content")],
    refused('the whiteout ".wh.a" has content'),
  ),
  of(
    "a file in a whiteout",
    [directory(".wh.a"), file(".wh.a/b")],
    refused('".wh.a/b" lies in a whiteout'),
  ),
  of(
    "a whiteout through a symlink",
    [symlink("l", OUT), file("l/.wh.file", ""), file("l/.wh..wh..opq", "")],
    harmless(`l 777 0:0 l -> ${OUT}`),
  ),
  of(
    "whiteouts in what is no directory, where nothing is to be hidden",
    [symlink("l", OUT), file("l/.wh.file", ""), file("l/sub/.wh..wh..opq", "")],
    harmless(`l 777 0:0 l -> ${OUT}`),
  ),
  of(
    "a whiteout that is a symlink, a directory, a device",
    [
      symlink(".wh.a", `${OUT}/file`),
      directory(".wh.b"),
      entry({ name: ".wh.c", flag: "3", major: 1, minor: 3 }),
    ],
    harmless(),
  ),
  of(
    "an opaque mark of a directory that is then a symlink",
    [file("a/.wh..wh..opq", ""), symlink("a", OUT)],
    harmless(`l 777 0:0 a -> ${OUT}`),
  ),
  of(
    "opaque marks of the root, of a directory, of one that is nowhere else",
    [
      file(".wh..wh..opq", ""),
      directory("a", { mode: 0o750 }),
      file("a/.wh..wh..opq", ""),
      file("b/c/.wh..wh..opq", ""),
    ],
    harmless(
      "d 750 0:0 a",
      "@ trusted.overlay.opaque=y",
    ),
  ),
  of(
    "the leavings of an old union file system",
    [directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "content"), file(".wh..wh.aufs", "")],
    harmless(),
  ),
  of(
    "hard links to the leavings of an old union file system",
    [
      directory(".wh..wh.plnk/", { mode: 0o700 }),
      file(".wh..wh.plnk/1.2", "linked", { mode: 0o4755 }),
      file(".wh..wh.plnk/3.4", "other"),
      file(".wh..wh.plnk/d/5.6", "deeper"),
      symlink(".wh..wh.plnk/out", OUT),
      hardlink("a", ".wh..wh.plnk/1.2"),
      hardlink("d/b", "./.wh..wh.plnk/1.2"),
    ],
    harmless("f 4755 0:0 a = linked", "d 755 0:0 d", "f 4755 0:0 d/b = linked"),
  ),
  of(
    "a hard link to a leaving that is not there",
    [file(".wh..wh.plnk/1.2"), hardlink("a", ".wh..wh.plnk/3.4")],
    refused("no file before it"),
  ),
  of(
    "a hard link to a leaving that leads out",
    [symlink(".wh..wh.plnk/1.2", OUT), hardlink("a", ".wh..wh.plnk/1.2")],
    refused("no file before it"),
  ),
  of(
    "whiteouts before and after what is in their place",
    [
      file(".wh.a", ""),
      file("a", "stays"),
      file("b", "stays"),
      file(".wh.b", ""),
      file(".wh.c", ""),
      directory("c"),
      file("d/e", "stays"),
      file(".wh.d", ""),
      file(".wh.f", ""),
      file(".wh.f", ""),
    ],
    harmless(
      "f 644 0:0 a = stays",
      "f 644 0:0 b = stays",
      "d 755 0:0 c",
      "d 755 0:0 d",
      "f 644 0:0 d/e = stays",
      "@ trusted.overlay.opaque=y",
      "@ trusted.overlay.opaque=y",
    ),
  ),
];

const CHAR: RawEntry = { name: "null", flag: "3", mode: 0o666, major: 1, minor: 3 };

/** Of `cap_net_raw+ep`, in the form that names no user; and one byte that is no letter. */
const CAPABILITY = "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const TYPES: Case[] = [
  of(
    "a directory in place of a file",
    [file("x"), directory("x"), file("x/y")],
    harmless("d 755 0:0 x", "f 644 0:0 x/y = content", "@ trusted.overlay.opaque=y"),
  ),
  of(
    "a file in place of a directory",
    [directory("x"), file("x")],
    harmless("f 644 0:0 x = content"),
  ),
  of(
    "a file in place of a directory that is not empty, and a hard link to what was in it",
    [directory("x"), file("x/y"), hardlink("z", "x/y"), file("x", "mine"), hardlink("w", "x/y")],
    refused('"w" is a hard link to "x/y", which is no file before it'),
  ),
  of(
    "a hard link in place of the directory of its target",
    [directory("x"), file("x/y"), hardlink("x", "x/y")],
    refused('"x" is a hard link to "x/y", which is no file before it'),
  ),
  of(
    "a symlink in place of a directory that is not empty, and a file through it",
    ({ canary }) => [
      file("x/y/z"),
      directory("x", { mode: 0o700, uid: 5 }),
      pax({ linkpath: canary }),
      symlink("x", "l"),
      file("x/file"),
    ],
    {
      tree: ({ canary }) => [
        "d 755 0:0 .",
        ...directoriesTo(`${canary.slice(1)}/file`),
        `f 644 0:0 ${canary.slice(1)}/file = content`,
        `l 777 0:0 x -> ${canary}`,
      ],
    },
  ),
  of(
    "directories that are replaced without end",
    Array.from({ length: 1001 }, () => concat(file("d/f", ""), file("d", ""), directory("d"))),
    refused("directories that it replaces by something else", "too-large"),
  ),
  of(
    "sizes of entries without content, which count for nothing",
    [
      file("a", "mine"),
      directory("b", { size: 4096 }),
      hardlink("c", "a", { size: 4 }),
      symlink("d", "x", { size: 1 }),
      entry({ name: "e", flag: "6", size: 512 }),
    ],
    harmless(
      "f 644 0:0 a = mine",
      "d 755 0:0 b",
      "f 644 0:0 c = mine",
      "l 777 0:0 d -> x",
      "p 644 0:0 e",
    ),
  ),
  of(
    "device nodes that are left out, and hard links to them",
    [
      entry(CHAR),
      entry({ ...CHAR, name: "disk", flag: "4", major: 8, minor: 0 }),
      hardlink("too", "null"),
      hardlink("also", "too"),
      file("a"),
    ],
    harmless("f 644 0:0 a = content"),
    "--strip=devices",
  ),
  of(
    "a file in place of a device that was left out",
    [entry(CHAR), file("null", "mine"), hardlink("h", "null")],
    harmless("f 644 0:0 h = mine", "f 644 0:0 null = mine"),
    "--strip=devices",
  ),
  of(
    "device nodes",
    [entry(CHAR), entry({ ...CHAR, name: "disk", flag: "4", major: 4095, minor: 1048575 })],
    harmless("b 666 0:0 disk fff,fffff", "c 666 0:0 null 1,3"),
  ),
  of(
    "a device that overlayfs takes for a whiteout",
    [entry({ ...CHAR, major: 0, minor: 0 }), file("a")],
    harmless("f 644 0:0 a = content"),
  ),
  of(
    "a device whose number runs over into the next fields",
    [entry({ ...CHAR, minor: base256(0o1234567012345670n, 8) })],
    refused("is the device 1,45954944846776, which Linux has not"),
  ),
  of(
    "a device with a number below 0",
    [entry({ ...CHAR, major: base256(-1n, 8) })],
    refused("is the device -1,3"),
  ),
  of(
    "setuid, setgid and sticky files, stripped",
    [
      file("a", "", { mode: 0o4755 }),
      file("b", "", { mode: 0o2755 }),
      file("c", "", { mode: 0o7777 }),
    ],
    harmless("f 755 0:0 a = ", "f 755 0:0 b = ", "f 1777 0:0 c = "),
    "--strip=setuid",
  ),
  of(
    "setuid files and capabilities",
    [
      file("a", "", { mode: 0o6755 }),
      pax({ "SCHILY.xattr.security.capability": CAPABILITY }),
      file("b", ""),
    ],
    harmless("f 6755 0:0 a = ", "f 644 0:0 b = ", `@ security.capability=${CAPABILITY}`),
  ),
  of(
    "a mode with bits that no file has",
    [file("a", "", { mode: 0o170644 }), file("b", "", { mode: base256(-1n, 8) })],
    harmless("f 644 0:0 a = ", "f 7777 0:0 b = "),
  ),
  of("an unknown type", [entry({ name: "x", flag: "Q" })], refused('"x" is of type "Q"')),
  of("a type of no letter", [entry({ flag: "\xff" })], refused('"file" is of type "ÿ"')),
  of(
    "types of old archives",
    [file("a", "b", { flag: "\0" }), file("c", "d", { flag: "7" }), file("e/", "", { flag: "\0" })],
    harmless("f 644 0:0 a = b", "f 644 0:0 c = d", "d 644 0:0 e"),
  ),
  of(
    "a directory with content",
    [file("a/", "content")],
    refused('"a/" has 7 bytes of content, and is of type "directory"'),
  ),
  of("a sparse file of GNU without data", [entry({ name: "x", flag: "S" })], {
    tree: ["d 755 0:0 .", "f 644 0:0 x = "],
  }),
  ...[
    ["without a size", {}, "data"],
    ["that is longer than its file", { "GNU.sparse.realsize": "3" }, "1\n0\n4\n"],
    ["that goes back", { "GNU.sparse.realsize": "30" }, "2\n9\n2\n5\n2\n"],
    ["without an end", { "GNU.sparse.realsize": "30" }, "9\n9\n2\n5\n2\n"],
    ["of no numbers", { "GNU.sparse.realsize": "30" }, "one\n"],
    ["of more bytes than there are", { "GNU.sparse.realsize": "30" }, "1\n0\n9\n"],
    ["of numbers below 0", { "GNU.sparse.realsize": "30" }, "1\n-4\n4\n"],
    ["that is empty", { "GNU.sparse.realsize": "30" }, ""],
    ["with a size below 0", { "GNU.sparse.realsize": "-1" }, "0\n"],
  ].map(([what, size, map]) => {
    const version = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0" };
    const content = map === "" ? "" : concat(`${map}`.padEnd(512, "\0"), "data");
    const parts = [pax({ ...version, ...size as Record<string, string> }), file("x", content)];
    return of(`the map of a sparse file ${what}`, parts, {
      ...{ code: "bad-archive", says: "the map of a sparse file is malformed" },
    });
  }),
  of(
    "a sparse file of an unknown version",
    [pax({ "GNU.sparse.major": "2", "GNU.sparse.realsize": "9" }), file("x")],
    refused("a sparse file has the version 2."),
  ),
  of(
    "a sparse file that is larger than the limit",
    [
      pax({ "GNU.sparse.map": "0,4", "GNU.sparse.size": `${2 ** 40}` }),
      file("x", "data"),
    ],
    refused("it has more than 68719476736 bytes", "too-large"),
  ),
  of(
    "a sparse file called out of the layer",
    [
      pax({ "GNU.sparse.map": "0,4", "GNU.sparse.size": "4", "GNU.sparse.name": `${OUT}/new` }),
      file("x", "data"),
    ],
    refused(LEAVES),
  ),
  of(
    "an archive in several volumes",
    [entry({ name: "x", flag: "M" })],
    refused('"x" is the rest of a file, of an archive in several volumes'),
  ),
  of("the label of a volume", [entry({ name: "x", flag: "V" })], refused("the label of a volume")),
  of("a list of a directory", [entry({ name: "x", flag: "D" })], refused("a list of a directory")),
];

const LABELLED = Object.fromEntries(
  ["security.selinux", "security.ima", "security.evm", "system.nfs4_acl", "user.mine"].map(
    (name) => [`SCHILY.xattr.${name}`, "value"],
  ),
);

const ATTRIBUTES: Case[] = [
  of(
    "attributes that are the machine's and not the image's",
    [pax(LABELLED), file("a", ""), pax(LABELLED), directory("b"), pax(LABELLED), directory("./")],
    harmless("f 644 0:0 a = ", "d 755 0:0 b", ...Array(3).fill("@ user.mine=value")),
  ),
  of(
    "capabilities, stripped",
    [pax({ "SCHILY.xattr.security.capability": CAPABILITY }), file("a", "")],
    harmless("f 644 0:0 a = "),
    "--strip=setuid",
  ),
  of(
    "attributes of overlayfs",
    [
      pax({
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.overlay.opaque": "z",
        "SCHILY.xattr.user.overlay.redirect": `/${OUT}`,
      }),
      directory("a"),
      pax({ "SCHILY.xattr.trusted.overlay.metacopy": "", "SCHILY.xattr.user.mine": "y" }),
      file("b", ""),
    ],
    harmless(
      "d 755 0:0 a",
      "f 644 0:0 b = ",
      "@ trusted.overlay.overlay.metacopy=",
      "@ trusted.overlay.overlay.opaque=y",
      "@ trusted.overlay.overlay.overlay.opaque=z",
      "@ trusted.overlay.overlay.redirect=/etc",
      "@ user.mine=y",
      `@ user.overlay.overlay.redirect=/${OUT}`,
    ),
  ),
  of(
    "attributes of overlayfs for a user namespace",
    [
      pax({
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
      }),
      directory("a"),
      directory("b"),
      file("b/.wh..wh..opq", ""),
    ],
    harmless(
      "d 755 0:0 a",
      "d 755 0:0 b",
      "@ trusted.overlay.overlay.redirect=/etc",
      "@ user.overlay.opaque=y",
      "@ user.overlay.overlay.opaque=y",
    ),
    "--userxattr",
  ),
  of(
    "attributes of the root",
    [pax({ "SCHILY.xattr.trusted.overlay.opaque": "y" }), directory("./")],
    harmless("@ trusted.overlay.overlay.opaque=y"),
  ),
  of(
    "an attribute without a name",
    [pax({ "SCHILY.xattr.": "y" }), file("a")],
    refused('an extended attribute is called ""'),
  ),
  of(
    "an attribute with NUL in its name",
    [pax({ "SCHILY.xattr.user.a\0b": "y" }), file("a")],
    refused('an extended attribute is called "user.a\\u0000b"'),
  ),
  of(
    "an attribute that is too large for the kernel",
    [pax({ "SCHILY.xattr.user.a": "y".repeat(65537) }), file("a")],
    refused('the extended attribute "user.a" has 65537 bytes'),
  ),
];

const NUMBERS: Case[] = [
  of(
    "a size below 0",
    [header({ name: "x", size: base256(-1n, 12) })],
    refused('"x" has a size of -1'),
  ),
  of(
    "a size that no number here holds",
    [header({ name: "x", size: base256(2n ** 80n, 12) })],
    refused("a number in a header is out of range"),
  ),
  of(
    "a size that is larger than the limit",
    [header({ name: "x", size: base256(2n ** 50n, 12) })],
    refused("it has more than 68719476736 bytes", "too-large"),
  ),
  whole(
    "a size that is larger than the content",
    () => concat(header({ name: "x", size: 4096 }), END),
    refused("it ends in the middle of an entry"),
  ),
  of(
    "a size that is smaller than the content",
    [entry({ name: "x", size: 1, content: "7".repeat(1000) })],
    refused("the checksum of a header is wrong"),
  ),
  of(
    "a size of pax that is smaller than that of the header",
    [pax({ size: "0" }), file("x", "a".repeat(600))],
    refused('"x" has a size of 600 in its header and of 0 in its records'),
  ),
  of(
    "a size that is no number",
    [header({ name: "x", size: "12x" })],
    refused('a header has "12x" where a number must be'),
  ),
  of(
    "a size of pax that is no number",
    [pax({ size: "-1" }), file("x")],
    refused('the pax record "size" is "-1", which is no number'),
  ),
  of(
    "an owner below 0",
    [file("x", "", { uid: base256(-2n, 8) })],
    refused('"x" has the owner -2:0'),
  ),
  of(
    "an owner that the kernel takes for none",
    [pax({ uid: "4294967295" }), file("x", "")],
    refused('"x" has the owner 4294967295:0'),
  ),
  of(
    "a large owner",
    [pax({ uid: "4294967294" }), file("x", "", { gid: base256(3_000_000_000n, 8) })],
    harmless("f 644 4294967294:3000000000 x = "),
  ),
  of(
    "a time that is none",
    [pax({ mtime: "yesterday" }), file("x", "")],
    refused('the pax record "mtime" is "yesterday", which is no time'),
  ),
  of(
    "times before 1970 and after 2242",
    [pax({ mtime: "-5.5" }), file("a", ""), file("b", "", { mtime: base256(9_000_000_000n, 12) })],
    harmless("f 644 0:0 a = ", "f 644 0:0 b = "),
  ),
  of(
    "times that no file system has, and times with too many digits",
    [
      pax({ mtime: "9999999999999999" }),
      file("a", ""),
      pax({ mtime: "-62135596800" }),
      file("b", ""),
      pax({ mtime: "-0.12345678949999" }),
      file("c", ""),
      pax({ mtime: "007.1000" }),
      file("d", ""),
    ],
    harmless("f 644 0:0 a = ", "f 644 0:0 b = ", "f 644 0:0 c = ", "f 644 0:0 d = "),
  ),
  of(
    "a wrong checksum",
    [file("x", "", { checksum: 1 })],
    refused("the checksum of a header is wrong"),
  ),
  of(
    "a checksum that is no number",
    [file("x", "", { checksum: "zzz" })],
    refused('a header has "zzz" where a number must be'),
  ),
];

const RECORDS: Case[] = [
  ...[
    "x",
    "12 path",
    "0 a=b\n",
    "6 a=b",
    "6 a=bc",
    "99 a=b\n",
    "5 =b\n",
    "-6 a=b\n",
    "6  a=b\n",
    "6 a=b\nx",
    "9999999999999999999999 a=b\n",
    " a=b\n",
  ].map((records) => {
    const parts = [entry({ flag: "x", content: records }), file("x")];
    return of(
      `the pax records ${JSON.stringify(records)}`,
      parts,
      refused("a pax record is malformed"),
    );
  }),
  of(
    "records of 2 MB",
    [pax({ comment: "a".repeat(2 << 20) }), file("x")],
    refused("the records of an entry have 2097"),
  ),
  of(
    "records with a size below 0",
    [header({ flag: "x", size: base256(-512n, 12) }), file("x")],
    refused("the records of an entry have -512 bytes"),
  ),
  of(
    "a name of GNU of 2 MB",
    [gnuLong("L", "a".repeat(2 << 20)), file("x")],
    refused("the records of an entry have 2097153 bytes"),
  ),
  of(
    "records and nothing that they are of",
    [pax({ path: "a" })],
    refused("it ends in the middle of an entry"),
  ),
  of(
    "records of all entries without end",
    Array.from({ length: 3 }, (_, at) => pax({ [`comment${at}`]: "a".repeat(500_000) }, "g")),
    refused("the records of all entries have"),
  ),
];

const LIMITS: Case[] = [
  of(
    "too many entries",
    [file("a"), file("b"), file("c"), file("d")],
    refused("it has more than 3 entries", "too-large"),
    "--max-entries=3",
  ),
  of(
    "too many entries of one name",
    [file("a"), file("a"), file("a"), file("a")],
    refused("it has more than 3 entries", "too-large"),
    "--max-entries=3",
  ),
  of(
    "too many directories that are not said",
    [pax({ path: "a/".repeat(400) + "b" }), file("x")],
    refused("it has more than 100 entries", "too-large"),
    "--max-entries=100",
  ),
  of(
    "too many bytes",
    [file("a", "a".repeat(600)), file("b", "b".repeat(600))],
    refused("it has more than 1024 bytes", "too-large"),
    "--max-size=1K",
  ),
  whole(
    "a file of zeros that is small as long as it is compressed",
    () => gzip(archive(file("a", new Uint8Array(64 << 20)))),
    refused("it has more than 1048576 bytes", "too-large"),
    "--max-size=1M",
  ),
  whole(
    "zeros after the end that are small as long as they are compressed",
    () => gzip(concat(archive(file("a")), new Uint8Array(64 << 20))),
    refused("bytes beside the contents of its files", "too-large"),
    "--max-entries=100",
  ),
  whole(
    "records that are small as long as they are compressed",
    () =>
      gzip(archive(...Array.from({ length: 60 }, (_, at) => {
        return concat(pax({ comment: "a".repeat(1 << 19) }), file(`${at}`, ""));
      }))),
    refused("bytes beside the contents of its files", "too-large"),
    "--max-entries=100",
  ),
];

const ENDS: Case[] = [
  whole(
    "an entry after the end",
    () => concat(archive(file("a")), file("b"), END),
    refused("something follows its end"),
  ),
  whole(
    "a few bytes after the end",
    () => concat(archive(file("a")), "hello"),
    refused("something follows its end"),
  ),
  whole(
    "zeros after the end, of no whole block",
    () => concat(archive(file("a")), new Uint8Array(10_100)),
    harmless("f 644 0:0 a = content"),
  ),
  whole("nothing", () => new Uint8Array(), refused("it is empty", "bad-image")),
  whole("compressed nothing", () => gzip(new Uint8Array()), refused("its end is missing")),
  whole("no end", () => concat(file("a")), refused("its end is missing")),
  whole("no end, nor what fills the last block", () => {
    return file("a", "a".repeat(700)).subarray(0, 512 + 700);
  }, refused("its end is missing")),
  whole(
    "a cut in a header",
    () => file("a").subarray(0, 300),
    refused("it ends in the middle of an entry"),
  ),
  whole(
    "a cut in a content",
    () => file("a", "a".repeat(5000)).subarray(0, 2000),
    refused("it ends in the middle of an entry"),
  ),
  whole(
    "a cut in the records",
    () => pax({ path: "a".repeat(700) }).subarray(0, 1000),
    refused("it ends in the middle of an entry"),
  ),
  whole("text", () => concat("hello ".repeat(1000)), refused("a header has")),
  whole(
    "a cut in the compression",
    () => gzip(archive(file("a"))).subarray(0, -9),
    refused("its gzip compression is damaged: unexpected end of file"),
  ),
  whole(
    "a wrong sum in the compression",
    () => gzip(archive(file("a"))).map((byte, at, all) => at === all.length - 8 ? byte ^ 1 : byte),
    refused("its gzip compression is damaged"),
  ),
  whole(
    "something after the compression",
    () => concat(gzip(archive(file("a"))), "hello"),
    refused("its gzip compression is damaged"),
  ),
  whole(
    "something after zeros after the compression",
    () => concat(gzip(archive(file("a"))), new Uint8Array(20), "hello"),
    refused("something follows its gzip compression"),
  ),
  whole(
    "zeros after the compression",
    () => concat(gzip(archive(file("a"))), new Uint8Array(512)),
    harmless("f 644 0:0 a = content"),
  ),
  whole(
    "an archive in several members of gzip",
    () => {
      const all = archive(file("a"), file("b", "b".repeat(700)));
      return concat(gzip(all.subarray(0, 700)), gzip(new Uint8Array()), gzip(all.subarray(700)));
    },
    harmless("f 644 0:0 a = content", `f 644 0:0 b = ${"b".repeat(700)}`),
  ),
  whole(
    "a second member of gzip that is an archive of its own",
    () => concat(gzip(archive(file("a"))), gzip(archive(file("b")))),
    refused("something follows its end"),
  ),
  whole(
    "damaged zstd",
    () => concat("\x28\xb5\x2f\xfd", "hello"),
    refused("zstd failed with exit status 1: "),
  ),
  whole(
    "damaged xz",
    () => concat("\xfd7zXZ\0", "hello"),
    refused("xz failed with exit status 1: "),
  ),
];

const ALL = [
  ...NAMES,
  ...LINKS,
  ...ROOTS,
  ...WHITEOUTS,
  ...TYPES,
  ...ATTRIBUTES,
  ...NUMBERS,
  ...RECORDS,
  ...LIMITS,
  ...ENDS,
];

for (const one of ALL) testCase(one);

Deno.test("the canary shows when it is read, written or listed", async () => {
  await using dir = await tempDir();
  const { canary } = await makePlace(dir.join("fs"));
  let before = await watch(canary);
  for (
    const notice of [
      () => Deno.readTextFile(`${canary}/secret`),
      () => Array.fromAsync(Deno.readDir(canary)),
      () => Array.fromAsync(Deno.readDir(`${canary}/sub`)),
      () => Deno.readLink(`${canary}-link`),
      () => Deno.writeTextFile(`${canary}/file`, "not ours"),
      () => Deno.chmod(`${canary}/file`, 0o600),
      () => Deno.link(`${canary}/file`, `${canary}-hard`),
      () => Deno.writeTextFile(`${canary}/new`, ""),
      () => Deno.remove(`${canary}/new`),
    ]
  ) {
    await notice();
    const after = await watch(canary);
    assertNotEquals(after, before);
    before = after;
  }
});
