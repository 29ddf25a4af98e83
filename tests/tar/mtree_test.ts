import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import {
  formatEntryLine,
  formatHardlinkLine,
  formatRemovedLine,
  parseDirectory,
  parseLines,
  parseSomeLines,
  showPath,
} from "../../lib/tar/mtree.ts";
import type { TarEntry } from "../../lib/tar/tar_entry.ts";
import { random } from "../_random.ts";
import type { Random } from "../_random.ts";

const FILE: Omit<TarEntry, "name"> = {
  type: "file",
  mode: 0o4755,
  uid: 1000,
  gid: 0,
  size: 7,
  mtime: "1700000000.25",
  link: "",
  device: [0, 0],
  attributes: new Map(),
};

Deno.test("formatEntryLine() writes what mtree(5) has a word for", { permissions: "none" }, () => {
  const common = "uid=1000 gid=0";
  const time = "time=1700000000.250000000";
  const table: readonly [line: string, must: string][] = [
    [
      formatEntryLine("a/b c", FILE, "00ff"),
      `./a/b\\040c type=file ${common} mode=4755 ${time} size=7 sha256digest=00ff\n`,
    ],
    [
      formatEntryLine("", { ...FILE, type: "directory", mode: 0o1777 }),
      `. type=dir ${common} mode=1777 ${time}\n`,
    ],
    [
      formatEntryLine("l", { ...FILE, type: "symlink", link: "#=\\\xff" }),
      `./l type=link ${common} ${time} link=\\043\\075\\134\\377\n`,
    ],
    [
      formatEntryLine("c", { ...FILE, type: "char", mode: 0, mtime: "-5.5", device: [5, 255] }),
      `./c type=char ${common} mode=0000 time=-5.500000000 device=5,255\n`,
    ],
    [
      formatEntryLine("x", {
        ...FILE,
        type: "fifo",
        attributes: new Map([["user.z", "\0\xff"], ["user.a b", ""]]),
      }),
      `./x type=fifo ${common} mode=4755 ${time} xattr.user.a\\040b= xattr.user.z=AP8=\n`,
    ],
    [formatHardlinkLine("a\n", "b"), "./a\\012 hardlink=./b\n"],
  ];
  for (const [line, must] of table) assertEquals(line, must);
});

function bytes(source: Random, most: number, except: RegExp): string {
  const length = 1 + source.int(most);
  const text = Array.from({ length }, () => String.fromCharCode(source.int(256))).join("");
  return text.replace(except, "x");
}

Deno.test("parseLines() reads what was written, whatever the names are", {
  permissions: "none",
}, () => {
  const source = random(4);
  const must = new Map<string, Record<string, string>>();
  let text = "# a comment\n\n";
  for (let i = 0; i < 500; i++) {
    const path = bytes(source, 30, /[\0/]/g);
    const [key, value] = [bytes(source, 20, /\0/g), bytes(source, 50, /(?!)/)];
    text += formatEntryLine(path, { ...FILE, size: i, attributes: new Map([[key, value]]) });
    must.set(path, { size: String(i), [key]: value });
  }
  const found = parseLines(text);
  assertEquals([...found.keys()].sort(), [...must.keys()].sort());
  for (const [path, { size, ...attribute }] of must) {
    const keywords = new Map(found.get(path));
    assertEquals(keywords.get("size"), size);
    const asDirectory = parseDirectory(keywords.set("type", "dir"));
    assertEquals(Object.fromEntries(asDirectory?.attributes ?? []), attribute);
  }
});

Deno.test("parseLines() keeps the last line of a path", { permissions: "none" }, () => {
  const other = formatEntryLine("a", { ...FILE, type: "directory" });
  assertEquals(parseLines(formatEntryLine("a", FILE) + other), parseLines(other));
});

Deno.test("parseLines() gives a hard link what its path had then", { permissions: "none" }, () => {
  const found = parseLines([
    formatEntryLine("a b", FILE, "01"),
    formatHardlinkLine("h", "a b"),
    formatEntryLine("a b", { ...FILE, size: 9 }, "02"),
    formatHardlinkLine("i", "h"),
  ].join(""));
  assertEquals(["a b", "h", "i"].map((path) => found.get(path)?.get("sha256digest")), [
    "02",
    "01",
    "01",
  ]);
});

Deno.test("parseLines() refuses what is not as it was written", { permissions: "none" }, () => {
  for (const line of ["a type=file", "/a type=file", "./a type", "./a =file", "./a hardlink=./b"]) {
    const error = assertThrows(() => parseLines(`${line}\n`), OverlayError, JSON.stringify(line));
    assertEquals(error.code, "bad-store");
  }
});

Deno.test("parseDirectory() is the directory of a line, and null of any other", {
  permissions: "none",
}, () => {
  for (const mtime of ["0", "7", "10", "1700000000.25", "-5.5", "100.000000001"]) {
    const attributes = new Map([["user.a=b", "\xff"]]);
    const line = formatEntryLine("d", { ...FILE, type: "directory", mtime, attributes });
    const found = parseDirectory(parseLines(line).get("d") ?? new Map());
    assertEquals(found, { mode: 0o4755, uid: 1000, gid: 0, mtime, attributes });
  }
  assertEquals(parseDirectory(parseLines(formatEntryLine("f", FILE)).get("f") ?? new Map()), null);
});

Deno.test("showPath() shows a path on a terminal, whatever it is", { permissions: "none" }, () => {
  assertEquals(showPath("a\x1b[2J\nb"), "/a\\033[2J\\012b");
});

Deno.test("parseSomeLines() finds what parseLines() finds of the paths that are asked for", {
  permissions: "none",
}, () => {
  const lines = [
    formatEntryLine("", { ...FILE, type: "directory" }),
    formatEntryLine("a", { ...FILE, type: "directory" }),
    formatEntryLine("a/b", FILE, "11"),
    formatEntryLine("a/b c\xff", FILE, "22"),
    formatEntryLine("a/b/c", FILE, "33"),
    formatHardlinkLine("link", "a/b"),
    formatHardlinkLine("chain", "link"),
    formatEntryLine("ab", FILE, "44"),
    formatEntryLine("a/b", FILE, "55"),
    formatEntryLine("gone", FILE, "66"),
    formatRemovedLine("gone"),
  ];
  const text = lines.join("");
  const all = parseLines(text);
  const table: readonly [paths: string[], parents: string[], must: string[]][] = [
    [[], [], []],
    [["a/b"], [], ["a/b"]],
    [["a/b c\xff", "none", "gone"], [], ["a/b c\xff"]],
    [["chain"], [], ["chain"]],
    [["", "link"], [], ["", "link"]],
    [[], ["a"], ["a/b", "a/b c\xff"]],
    [[], [""], ["a", "ab", "chain", "link"]],
    [["a"], ["a/b"], ["a", "a/b/c"]],
  ];
  for (const [paths, parents, must] of table) {
    const found = parseSomeLines(text, { paths: new Set(paths), parents: new Set(parents) });
    assertEquals([...found.keys()].sort(), must);
    for (const [path, record] of found) assertEquals(record, all.get(path), path);
  }
  // A file without a line end, and a line that is no record.
  assertEquals(parseSomeLines("./a type=file", { paths: new Set(["a"]) }).size, 1);
  assertEquals(parseSomeLines("#mtree\n\n", { paths: new Set(["a"]) }).size, 0);
});
