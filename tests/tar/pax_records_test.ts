import { assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import {
  parseGlobalRecords,
  parseRecords,
  readAttributes,
  readNumber,
  readTime,
} from "../../lib/tar/pax_records.ts";
import { paxRecord } from "../_archive.ts";
import { random } from "../_random.ts";

Deno.test("parseRecords() reads records of any length and content", {
  permissions: "none",
}, () => {
  const source = random(3);
  for (let length = 0; length < 1100; length += 1 + source.int(9)) {
    const value = Array.from({ length }, () => String.fromCharCode(source.int(256))).join("");
    const text = `${paxRecord("a", value)}${paxRecord("b.c", "=\n7 x=y\n")}${paxRecord("a d", "")}`;
    assertEquals(
      parseRecords(text),
      new Map([["a", value], ["b.c", "=\n7 x=y\n"], ["a d", ""]]),
    );
  }
});

Deno.test("parseRecords() lets a later record replace an earlier one", {
  permissions: "none",
}, () => {
  assertEquals(parseRecords("6 a=1\n6 a=2\n"), new Map([["a", "2"]]));
  assertEquals(parseRecords(""), new Map());
});

Deno.test("parseGlobalRecords() refuses what only one entry can have", {
  permissions: "none",
}, () => {
  for (const key of ["path", "linkpath", "size", "GNU.sparse.name", "SCHILY.xattr.user.a"]) {
    const what = `sets the "${key}" of all entries`;
    assertThrows(() => parseGlobalRecords(paxRecord(key, "7")), OverlayError, what);
  }
  for (const key of ["mtime", "uid", "gid"]) {
    assertEquals(parseGlobalRecords(paxRecord(key, "7")), new Map([[key, "7"]]));
  }
});

Deno.test("readNumber() reads whole numbers only", { permissions: "none" }, () => {
  const of = (text: string) => readNumber(new Map([["size", text]]), "size");
  assertEquals(["0", "07", "9007199254740991", ""].map(of), [0, 7, 9007199254740991, null]);
  assertEquals(readNumber(new Map(), "size"), null);
  for (const text of ["-1", "1.5", "0x1", " 1", "1\n", "9007199254740992", "1e3", "\0"]) {
    assertThrows(() => of(text), OverlayError, 'the pax record "size" is ');
  }
});

Deno.test("readTime() writes one time in one way, and none that file systems do not hold", {
  permissions: "none",
}, () => {
  const table: readonly [text: string, time: string][] = [
    ["7", "7"],
    ["007", "7"],
    ["7.0", "7"],
    ["7.50", "7.5"],
    ["7.123456789123", "7.123456789"],
    ["0.0000000001", "0"],
    ["-0", "0"],
    ["-0.5", "-0.5"],
    ["-7", "-7"],
    ["-2147483648.5", "-2147483648"],
    ["-62135596800", "-2147483648"],
    ["15032385534.5", "15032385534.5"],
    ["15032385535.5", "15032385535"],
    ["9999999999999999", "15032385535"],
    ["", "3"],
  ];
  for (const [text, time] of table) {
    assertEquals([text, readTime(new Map([["mtime", text]]), () => 3)], [text, time]);
  }
  assertEquals(readTime(new Map(), () => -(2 ** 40)), "-2147483648");
  for (const text of ["x", "1.", ".5", "1e3", "+1", " 1", "1\n", "--1", "12345678901234567"]) {
    assertThrows(
      () => readTime(new Map([["mtime", text]]), () => 3),
      OverlayError,
      "which is no time",
    );
  }
});

Deno.test("readAttributes() takes values as bytes, and nothing but attributes", {
  permissions: "none",
}, () => {
  const records = new Map([
    ["path", "x"],
    ["SCHILY.xattr.user.a", "\0\xff\n"],
    ["SCHILY.acl.access", "user::rwx"],
    ["SCHILY.xattr.user.big", "y".repeat(65_536)],
  ]);
  assertEquals(
    readAttributes(records),
    new Map([["user.a", "\0\xff\n"], ["user.big", "y".repeat(65_536)]]),
  );
});
