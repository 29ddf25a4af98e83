/**
 * Marks of uppers that a kernel of today does not write by itself, or only with other options.
 *
 * @module
 */
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { OverlayError } from "../../mod.ts";
import { UpperFilter } from "../../lib/export/upper_filter.ts";
import type { UpperPolicy } from "../../lib/export/upper_filter.ts";
import { TarReader } from "../../lib/tar/tar_reader.ts";
import type { TarEntry } from "../../lib/tar/tar_entry.ts";
import { directory, entry, tarOf } from "../_tool_images.ts";

const POLICY: UpperPolicy = {
  attributes: "trusted",
  lower: { has: () => true, hasEntries: () => true },
  latest: null,
  skip: false,
  leftOut: () => {},
};

function filter(entries: readonly TarEntry[], policy: Partial<UpperPolicy> = {}): TarEntry[] {
  const found: TarEntry[] = [];
  const reader = new TarReader({
    entry: (one) => void found.push(one),
    data: () => {},
    end: () => {},
  });
  const filter = new UpperFilter({ ...POLICY, ...policy });
  for (const pieces of filter.push(tarOf(entries))) pieces.forEach((piece) => reader.push(piece));
  reader.push(filter.end());
  reader.end();
  return found;
}

function names(entries: readonly TarEntry[]): string[] {
  return entries.map(({ name }) => name);
}

const marked = (name: string, value: string) => ({ attributes: new Map([[name, value]]) });
const whiteout = (name: string) => entry(name, { type: "char" });

Deno.test("fuse-overlayfs marks an opaque directory three times, which is one mark", () => {
  const found = filter([
    directory("./d", marked("user.fuseoverlayfs.opaque", "y")),
    whiteout("./d/.wh..opq"),
    entry("./d/.wh..wh..opq"),
    entry("./d/new"),
  ]);
  assertEquals(names(found), ["d/", "d/.wh..wh..opq", "d/new"]);
  assertEquals(found[0]?.attributes.size, 0);
});

Deno.test("a whiteout may be a file with an attribute, in a directory that is marked with x", () => {
  const found = filter([
    directory("./d", marked("trusted.overlay.opaque", "x")),
    entry("./d/gone", marked("trusted.overlay.whiteout", "")),
  ]);
  assertEquals(names(found), ["d/", "d/.wh.gone"]);
});

Deno.test("a mark of the other class is an attribute of the app", () => {
  const found = filter([directory("./d", marked("user.overlay.opaque", "y"))]);
  assertEquals(names(found), ["d/"]);
  assertEquals([...found[0]?.attributes ?? []], [["user.overlay.opaque", "y"]]);
  const user = filter([directory("./d", marked("user.overlay.opaque", "y"))], {
    attributes: "user",
  });
  assertEquals(names(user), ["d/", "d/.wh..wh..opq"]);
});

Deno.test("one escape is removed in both classes, and what belongs to a machine goes", () => {
  const attributes = new Map([
    ["trusted.overlay.overlay.opaque", "y"],
    ["user.overlay.overlay.overlay.x", "1"],
    ["trusted.overlay.origin", "o"],
    ["trusted.overlay.impure", "y"],
    ["trusted.overlay.uuid", "u"],
    ["security.selinux", "label"],
    ["security.ima", "i"],
    ["system.nfs4_acl", "n"],
    ["user.fuseoverlayfs.origin", "f"],
  ]);
  const [found] = filter([directory("./d", { attributes })]);
  assertEquals([...found?.attributes.keys() ?? []].sort(), [
    "trusted.overlay.opaque",
    "user.overlay.overlay.x",
  ]);
});

for (const mark of ["redirect", "metacopy"]) {
  Deno.test(`a path with the mark ${mark} has its content elsewhere, and is refused`, () => {
    const upper = [entry("./moved", marked(`trusted.overlay.${mark}`, "/from"))];
    const error = assertThrows(() => filter(upper), OverlayError);
    assertEquals(error.code, "upper-redirected");
    assertStringIncludes(error.message, '"/moved"');
  });
}

Deno.test("no whiteout and no mark without something in the lowers", () => {
  const upper = [
    directory("./d", marked("trusted.overlay.opaque", "y")),
    whiteout("./gone"),
  ];
  const lower = { has: () => false, hasEntries: () => false };
  assertEquals(names(filter(upper, { lower })), ["d/"]);
});

Deno.test("in a root without marks, names and devices are what they are", () => {
  const upper = [entry("./.wh.a"), whiteout("./zero"), directory("./d")];
  assertEquals(names(filter(upper, { attributes: null })), [".wh.a", "zero", "d/"]);
});

Deno.test("a hard link to what is left out is refused", () => {
  const upper = [entry("./.wh.a"), entry("./b", { type: "hardlink", link: "./.wh.a" })];
  assertThrows(() => filter(upper, { skip: true }), OverlayError, "which is left out");
});
