import { assert, assertEquals, assertThrows } from "@std/assert";
import { OverlayError } from "../../lib/core/errors.ts";
import { bytesToText, formatEntry, padding, TYPE_FLAGS } from "../../lib/tar/tar_entry.ts";
import type { EntryType, TarEntry } from "../../lib/tar/tar_entry.ts";
import { TarReader } from "../../lib/tar/tar_reader.ts";
import { archive, base256, concat, END, entry, file, gnuLong, header, pax } from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { random } from "../_random.ts";
import type { Random } from "../_random.ts";

/** An entry with its content. */
type Read = readonly [entry: TarEntry, content: string];

/** Reads an archive in pieces of these sizes, again and again. */
function read(bytes: Uint8Array, size: () => number): Read[] {
  const found: Read[] = [];
  let open: { readonly entry: TarEntry; content: string } | null = null;
  const reader = new TarReader({
    entry: (one) => {
      assertEquals(open, null);
      open = { entry: one, content: "" };
    },
    data: (piece) => {
      assert(open !== null && piece.length > 0);
      open.content += bytesToText(piece);
    },
    end: () => {
      assert(open !== null);
      found.push([open.entry, open.content]);
      open = null;
    },
  });
  for (let at = 0; at < bytes.length;) {
    const end = at + size();
    // What comes next may overwrite a piece.
    const piece = bytes.slice(at, end);
    reader.push(piece);
    piece.fill(0xaa);
    at = end;
  }
  reader.end();
  return found;
}

function bytesOf(source: Random, length: number, except: RegExp): string {
  const text = Array.from({ length }, () => String.fromCharCode(source.int(256))).join("");
  return text.replace(except, "x");
}

const TIMES = ["0", "1", "1700000000", "1700000000.5", "-7", "-0.000000001", "15032385535"];

function randomEntry(source: Random): TarEntry {
  const type = source.pick(Object.keys(TYPE_FLAGS)) as EntryType;
  const isLink = type === "symlink" || type === "hardlink";
  const isDevice = type === "char" || type === "block";
  const name = bytesOf(source, 1 + source.int(source.pick([5, 101, 300])), /[\0/]/g);
  const attributes = Array.from({ length: source.pick([0, 0, 1, 3]) }, () => {
    const key = bytesOf(source, 1 + source.int(20), /[\0=]/g);
    return [key, bytesOf(source, source.int(200), /(?!)/)] as const;
  });
  return {
    name: type === "directory" && source.int(2) === 0 ? `${name}/` : name,
    type,
    mode: source.int(0o10000),
    uid: source.pick([0, 1000, 0o7777777, 0o10000000, 0xfffffffe]),
    gid: source.pick([0, 1000, 0o7777777, 0o10000000, 0xfffffffe]),
    size: type === "file" ? source.pick([0, 1, 511, 512, 513, 3000]) : 0,
    mtime: source.pick(TIMES),
    link: isLink ? bytesOf(source, 1 + source.int(source.pick([5, 101, 300])), /\0/g) : "",
    device: isDevice ? [source.int(4096), source.int(1 << 20)] : [0, 0],
    attributes: new Map(attributes),
  };
}

Deno.test("TarReader reads what formatEntry() writes, in pieces of any size", {
  permissions: "none",
}, () => {
  const source = random(7);
  for (let run = 0; run < 60; run++) {
    const entries = Array.from({ length: 1 + source.int(8) }, (): Read => {
      const one = randomEntry(source);
      return [one, bytesOf(source, one.size, /(?!)/)];
    });
    const bytes = concat(
      ...entries.flatMap(([one, content]): Bytes[] => {
        const header = formatEntry(one).map((block) => new Uint8Array(block));
        return [...header, content, new Uint8Array(padding(one.size))];
      }),
      END,
    );
    const most = source.pick([1, 7, 511, 512, 513, 5000, 1 << 20]);
    assertEquals(read(bytes, () => 1 + source.int(most)), entries);
  }
});

Deno.test("formatEntry() writes sizes that no header holds, and TarReader passes over them", {
  permissions: "none",
}, () => {
  const sizes: number[] = [];
  const ends: number[] = [];
  const reader = new TarReader({
    entry: ({ size }) => void sizes.push(size),
    data: () => {},
    end: () => void ends.push(sizes.length),
  });
  const base = randomEntry(random(1));
  for (const size of [2 ** 33 - 1, 2 ** 33, 2 ** 52 + 1]) {
    const one: TarEntry = { ...base, name: "f", type: "file", link: "", device: [0, 0], size };
    for (const block of formatEntry(one)) reader.push(block);
    assertEquals(reader.remaining, size + padding(size));
    reader.skip(reader.remaining);
  }
  reader.push(END);
  reader.end();
  assertEquals([sizes, ends], [[2 ** 33 - 1, 2 ** 33, 2 ** 52 + 1], [1, 2, 3]]);
  assert(reader.ended);
});

function only(bytes: Uint8Array): TarEntry {
  const [[one]] = read(bytes, () => 512) as [Read];
  return one;
}

Deno.test("TarReader takes a number in octal with blanks, and in GNU's way", {
  permissions: "none",
}, () => {
  const table: readonly [written: string, uid: number][] = [
    ["0000007", 7],
    ["     17 ", 0o17],
    ["17\0xxxx", 0o17],
    ["", 0],
    ["77777777", 0o77777777],
    [base256(0n, 8), 0],
    [base256(5_000_000n, 8), 5_000_000],
    [base256(0xfffffffen, 8), 0xfffffffe],
  ];
  for (const [uid, must] of table) {
    assertEquals([uid, only(archive(file("x", "", { uid }))).uid], [uid, must]);
  }
});

Deno.test("TarReader takes checksums that were made of signed bytes", {
  permissions: "none",
}, () => {
  const block = header({ name: "\xff\xfe", checksum: 0 });
  block.fill(0x20, 148, 156);
  const signed = block.reduce((sum, byte) => sum + (byte > 127 ? byte - 256 : byte), 0);
  assertEquals(only(archive(header({ name: "\xff\xfe", checksum: signed }))).name, "\xff\xfe");
});

Deno.test("TarReader takes a name from the records, else from GNU's entry, else from the header", {
  permissions: "none",
}, () => {
  const [long, same] = [`${"d/".repeat(70)}x`, "same"];
  const table: readonly [parts: Bytes[], name: string][] = [
    [[file("x")], "x"],
    [[file("x", "", { prefix: "some/where" })], "some/where/x"],
    [[file("x".repeat(100))], "x".repeat(100)],
    [[pax({ path: long }), file("x")], long],
    [[gnuLong("L", long), file("x")], long],
    [[pax({ path: same }), gnuLong("L", same), file("x")], same],
    [[gnuLong("L", same), pax({ path: same }), file("x")], same],
    [[gnuLong("L", same), pax({ mtime: "7" }), file("x")], same],
    [[pax({ path: "" }), gnuLong("L", same), file("x")], same],
    [[pax({ path: "a=b\nc" }), file("x")], "a=b\nc"],
    [[entry({ name: "pax", flag: "X", content: "13 path=here\n" }), file("x")], "here"],
  ];
  for (const [parts, name] of table) assertEquals(only(archive(...parts)).name, name);
});

Deno.test("TarReader gives no entry the records of another one", { permissions: "none" }, () => {
  const all = read(
    archive(
      pax({ uid: "5", comment: "all" }, "g"),
      pax({ path: "one", "SCHILY.xattr.user.a": "b", uid: "6" }),
      file("x"),
      file("two"),
      pax({ uid: "7" }, "g"),
      file("three"),
    ),
    () => 100,
  );
  assertEquals(all.map(([{ name, uid, attributes }]) => [name, uid, attributes.size]), [
    ["one", 6, 1],
    ["two", 5, 0],
    ["three", 7, 0],
  ]);
});

Deno.test("TarReader refuses each cut of an archive that is not between entries", {
  permissions: "none",
}, () => {
  const parts = [pax({ path: "a" }), file("x", "c".repeat(700)), file("y", "")];
  const whole = concat(...parts, END);
  const between = [0, parts[0], parts[1], parts[2]].map((_, at) => concat(...parts.slice(0, at)));
  const fine = new Set(between.map(({ length }) => length));
  // Records are of what follows them.
  fine.delete(parts[0]?.length ?? 0);
  // The content of x ends in the middle of a block; what fills it may be missing.
  const [from = 0, to = 0] = [between[1], between[2]].map((part) => part?.length);
  const filled = (length: number) => length >= from + 512 + 700 && length <= to;
  const ended = concat(...parts).length + 512;
  for (let length = 0; length < whole.length; length += 4) {
    const cut = () => read(whole.subarray(0, length), () => 300);
    if (fine.has(length) || filled(length) || length >= ended) cut();
    else assertThrows(cut, OverlayError, "it ends in the middle of an entry", String(length));
  }
});

Deno.test("TarReader does not end with damage in any byte of a header, but says so", {
  permissions: "none",
}, () => {
  const whole = archive(file("some/name", "content", { uid: 7, link: "" }));
  const [[must]] = read(whole, () => 512) as [Read];
  for (let at = 0; at < 512; at++) {
    const damaged = whole.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x55;
    try {
      // The sum may be written in more ways than one; then nothing else may have changed.
      assertEquals(only(damaged), must);
    } catch (error) {
      assert(error instanceof OverlayError, `byte ${at}: ${error}`);
      assertEquals(error.code, "bad-archive");
    }
  }
});
