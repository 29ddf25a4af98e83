import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  checkTarget,
  directoryAbove,
  parseMeaning,
  pathInLayer,
} from "../../lib/tar/entry_name.ts";
import { OverlayError } from "../../lib/core/errors.ts";
import { random } from "../_random.ts";

Deno.test("pathInLayer() is a path without anything that stands for nothing", {
  permissions: "none",
}, () => {
  const table: readonly [name: string, path: string][] = [
    ["", ""],
    ["/", ""],
    [".", ""],
    ["././/.", ""],
    ["a", "a"],
    ["/a/", "a"],
    ["./a//b/./c/", "a/b/c"],
    ["...", "..."],
    ["..a/b..", "..a/b.."],
    [". /a", ". /a"],
    ["a\nb\\", "a\nb\\"],
    ["a".repeat(255), "a".repeat(255)],
    [`${"a/".repeat(511)}b`, `${"a/".repeat(511)}b`],
    [`${"abcdefg/".repeat(511)}abcdefg`, `${"abcdefg/".repeat(511)}abcdefg`],
  ];
  for (const [name, path] of table) assertEquals(pathInLayer(name), path);
});

Deno.test("pathInLayer() refuses what leads out, or is no path", { permissions: "none" }, () => {
  for (const name of ["..", "../a", "a/..", "a/../b", "/..", "./../", "a/b/../../../c"]) {
    assertThrows(() => pathInLayer(name), OverlayError, `${JSON.stringify(name)} holds ".."`);
  }
  assertThrows(() => pathInLayer("a\0b"), OverlayError, 'the name "a\\u0000b" holds NUL');
  for (const name of ["a".repeat(256), `x/${"ä".repeat(256)}/y`, `${"a/".repeat(2047)}bc`]) {
    const says = `a name of ${name.length} bytes that begins with "`;
    const { message } = assertThrows(() => pathInLayer(name), OverlayError, says);
    assert(message.length < 200);
  }
  for (const parts of [513, 2000]) {
    const deep = () => pathInLayer("a/".repeat(parts));
    assertThrows(deep, OverlayError, `a name of ${parts} parts that begins with "a/a/`);
  }
});

Deno.test("pathInLayer() never leads out, whatever the name", { permissions: "none" }, () => {
  const source = random(5);
  const pieces = ["..", ".", "/", "//", "a", "\0", "...", " ", "\\", "b"];
  for (let i = 0; i < 3000; i++) {
    const name = Array.from({ length: source.int(8) }, () => source.pick(pieces)).join("");
    let path: string;
    try {
      path = pathInLayer(name);
    } catch (error) {
      assert(error instanceof OverlayError);
      assert(name.split("/").includes("..") || name.includes("\0"), name);
      continue;
    }
    assert(path === "" || path.split("/").every((part) => !["", ".", ".."].includes(part)), path);
    assertEquals(pathInLayer(path), path);
  }
});

Deno.test("directoryAbove() is the directory that a path lies in", { permissions: "none" }, () => {
  assertEquals(["", "a", "a/b", "a/b/c"].map(directoryAbove), ["", "", "a", "a/b"]);
});

Deno.test("parseMeaning() tells whiteouts from entries", { permissions: "none" }, () => {
  const table: readonly [name: string, meaning: ReturnType<typeof parseMeaning>][] = [
    ["a/b", { kind: "entry", path: "a/b" }],
    ["./", { kind: "entry", path: "" }],
    [".wha", { kind: "entry", path: ".wha" }],
    ["a.wh.b", { kind: "entry", path: "a.wh.b" }],
    [".wh.a", { kind: "whiteout", path: "a" }],
    ["./d/e/.wh.a/", { kind: "whiteout", path: "d/e/a" }],
    [".wh.a.", { kind: "whiteout", path: "a." }],
    [".wh....", { kind: "whiteout", path: "..." }],
    [".wh. ", { kind: "whiteout", path: " " }],
    [".wh.wh.", { kind: "whiteout", path: "wh." }],
    [".wh..wh.", { kind: "ignored" }],
    [".wh..wh.aufs", { kind: "ignored" }],
    [".wh..wh.plnk/1.2", { kind: "pseudo-link", path: ".wh..wh.plnk/1.2" }],
    [".wh..wh.plnk/d/1.2", { kind: "ignored" }],
    [".wh..wh.orph/1.2", { kind: "ignored" }],
    ["d/.wh..wh.plnk/1.2", { kind: "ignored" }],
    [".wh..wh..opq", { kind: "opaque", path: "" }],
    ["d/.wh..wh..opq", { kind: "opaque", path: "d" }],
    ["d/.wh..wh..opqx", { kind: "ignored" }],
  ];
  for (const [name, meaning] of table) assertEquals([name, parseMeaning(name)], [name, meaning]);
});

Deno.test("parseMeaning() refuses whiteouts of what is no name", { permissions: "none" }, () => {
  for (const gone of ["", ".", ".."]) {
    const says = `"d/.wh.${gone}" is the whiteout of "${gone}", which is no name`;
    assertThrows(() => parseMeaning(`d/.wh.${gone}`), OverlayError, says);
  }
  for (const name of [".wh.a/b", "d/.wh.a/b/c", ".wh./a", ".wh.../a", ".wh.a/.wh..wh..opq"]) {
    assertThrows(() => parseMeaning(name), OverlayError, `"${name}" lies in a whiteout`);
  }
});

Deno.test("checkTarget() takes every target that the kernel takes", { permissions: "none" }, () => {
  for (const target of ["a", "../..", "/", "\n", "\xff", "a".repeat(4095)]) {
    checkTarget("l", target);
  }
  assertThrows(() => checkTarget("l", ""), OverlayError, '"l" is a symlink to ""');
  assertThrows(() => checkTarget("l", "a\0"), OverlayError, '"l" is a symlink to "a\\u0000"');
  assertThrows(() => checkTarget("l", "a".repeat(4096)), OverlayError, "to 4096 bytes");
});
