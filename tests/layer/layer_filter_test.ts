import { assert, assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { OverlayError } from "../../lib/core/errors.ts";
import { LayerFilter } from "../../lib/layer/layer_filter.ts";
import type { LayerPolicy, LayerSummary } from "../../lib/layer/layer_policy.ts";
import type { Step } from "../../lib/layer/step_queue.ts";
import { bytesToText } from "../../lib/tar/tar_entry.ts";
import { TarReader } from "../../lib/tar/tar_reader.ts";
import { archive, directory, entry, file, hardlink, pax, symlink } from "../_archive.ts";
import type { Bytes } from "../_archive.ts";
import { random } from "../_random.ts";
import type { Random } from "../_random.ts";

const POLICY: LayerPolicy = {
  devices: false,
  setuid: false,
  attributes: "trusted",
  whiteouts: true,
  maxBytes: 1e9,
  maxEntries: 1e6,
};

/** What came out of a filter. */
interface Filtered {
  /** What tar gets, a line an entry: type, mode, name, target, content, attributes. */
  readonly entries: readonly string[];
  readonly lines: readonly string[];
  readonly summary: LayerSummary;
  readonly implicit: readonly string[];
  readonly whiteouts: readonly string[];
  readonly emptied: readonly string[];
}

function entriesOf(steps: readonly Step[]): string[] {
  const entries: string[] = [];
  let [line, content] = ["", ""];
  const reader = new TarReader({
    entry: ({ type, mode, name, link, attributes }) => {
      const marks = [...attributes].map(([key, value]) => ` ${key}=${value}`).join("");
      const target = link === "" ? "" : ` -> ${link}`;
      line = `${type} ${mode.toString(8)} ${name}${target}${marks}`;
      content = "";
    },
    data: (bytes) => void (content += bytesToText(bytes)),
    end: () => void entries.push(content === "" ? line : `${line} = ${content}`),
  });
  for (const step of steps) {
    if ("clear" in step) entries.push(`clear ${step.clear}`);
    else step.forEach((piece) => reader.push(piece));
  }
  reader.end();
  return entries;
}

/** Filters an archive of these parts, a piece of so many bytes at a time. */
function filter(
  parts: readonly Bytes[],
  policy: Partial<LayerPolicy> = {},
  size = 1 << 16,
): Filtered {
  const lines: string[] = [];
  const one = new LayerFilter({ ...POLICY, ...policy }, {
    startDigest: () => createHash("sha256"),
    line: (text) => void lines.push(text),
  });
  const bytes = archive(...parts);
  const steps: Step[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    steps.push(...one.push(bytes.subarray(at, at + size)));
  }
  steps.push(...one.end());
  return {
    entries: entriesOf(steps),
    lines,
    summary: one.summary,
    ...one.needs,
  };
}

const ROOT = "directory 755 ./";
const OPAQUE = "trusted.overlay.opaque=y";

Deno.test("LayerFilter says what is gone of the layers below", { permissions: "none" }, () => {
  type Row = readonly [
    parts: readonly Bytes[],
    entries: readonly string[],
    gone: readonly string[],
  ];
  const table: readonly Row[] = [
    [[], [ROOT], []],
    [[file(".wh.a", "")], [ROOT], ["a"]],
    [[directory("d"), file("d/.wh.a", "")], ["directory 755 ./d", ROOT], ["d/a"]],
    [[file("d/.wh.a", "")], [ROOT], ["d/a"]],
    [[file(".wh.a", ""), file(".wh.a", "")], [ROOT], ["a"]],
    // What is in the layer stays, in whatever order the two are.
    [[file("a"), file(".wh.a", "")], ["file 644 ./a = content", ROOT], []],
    [[file(".wh.a", ""), file("a")], ["file 644 ./a = content", ROOT], []],
    // A directory in place of one that is gone hides what was in it.
    [
      [directory("a"), file(".wh.a", "")],
      ["directory 755 ./a", `directory 755 ./a ${OPAQUE}`, ROOT],
      [],
    ],
    [[file(".wh.a", ""), directory("a")], [`directory 755 ./a ${OPAQUE}`, ROOT], []],
    [
      [file(".wh.a", ""), file("a/b")],
      [`directory 755 ./a ${OPAQUE}`, "file 644 ./a/b = content", ROOT],
      [],
    ],
    [
      [file("a/b"), file(".wh.a", "")],
      ["directory 755 ./a", "file 644 ./a/b = content", `directory 755 ./a ${OPAQUE}`, ROOT],
      [],
    ],
    // Below what is gone there is nothing left to hide.
    [[file(".wh.a", ""), file("a/.wh.b", "")], [ROOT], ["a"]],
    [[file("a"), file("a/.wh.b", "")], ["file 644 ./a = content", ROOT], []],
  ];
  for (const [parts, entries, gone] of table) {
    const found = filter(parts);
    assertEquals([found.entries, found.whiteouts], [entries, gone]);
  }
});

Deno.test("LayerFilter marks opaque directories, before or after their entries", {
  permissions: "none",
}, () => {
  const before = filter([file("a/.wh..wh..opq", ""), directory("a", { mode: 0o700 })]);
  assertEquals(before.entries, [`directory 700 ./a ${OPAQUE}`, ROOT]);
  const after = filter([directory("a", { mode: 0o700 }), file("a/.wh..wh..opq", "")]);
  assertEquals(after.entries, ["directory 700 ./a", `directory 700 ./a ${OPAQUE}`, ROOT]);
  assertEquals([before.summary.opaque, after.summary.opaque], [1, 1]);
  const user = filter([directory("a"), file("a/.wh..wh..opq", "")], { attributes: "user" });
  assertEquals(user.entries.slice(1), ["directory 755 ./a user.overlay.opaque=y", ROOT]);
  // One that is in no layer above is known when the layers below are.
  const empty = filter([file("a/.wh..wh..opq", "")]);
  assertEquals([empty.entries, empty.emptied], [[ROOT], ["a"]]);
});

Deno.test("LayerFilter says that the root is opaque, and gives it no mark", {
  permissions: "none",
}, () => {
  const { entries, summary } = filter([file(".wh..wh..opq", ""), directory("./")]);
  assertEquals(entries, [ROOT]);
  assertEquals([summary.opaqueRoot, summary.hasRoot], [true, true]);
  assertEquals([filter([]).summary.opaqueRoot, filter([]).summary.hasRoot], [false, false]);
});

Deno.test("LayerFilter takes whiteouts for names where they are none", {
  permissions: "none",
}, () => {
  const parts = [file(".wh.a"), directory(".wh..wh..opq"), file(".wh..wh..opq/.wh...")];
  assertEquals(filter(parts, { whiteouts: false }).entries, [
    "file 644 ./.wh.a = content",
    "directory 755 ./.wh..wh..opq",
    "file 644 ./.wh..wh..opq/.wh... = content",
    ROOT,
  ]);
});

Deno.test("LayerFilter makes the directories that an archive does not name, and tells which", {
  permissions: "none",
}, () => {
  const parts = [file("a/b/c"), directory("a", { mode: 0o700 }), file("d/e"), symlink("a/l", "x")];
  const { entries, implicit, summary } = filter(parts);
  assertEquals(entries, [
    "directory 755 ./a",
    "directory 755 ./a/b",
    "file 644 ./a/b/c = content",
    "directory 700 ./a",
    "directory 755 ./d",
    "file 644 ./d/e = content",
    "symlink 644 ./a/l -> x",
    ROOT,
  ]);
  assertEquals([...implicit], ["a/b", "d"]);
  assertEquals([summary.entries, summary.implicit, summary.bytes], [4, 2, 14]);
});

Deno.test("LayerFilter tells no directory that takes the place of one that is hidden", {
  permissions: "none",
}, () => {
  const table: readonly [parts: readonly Bytes[], implicit: readonly string[]][] = [
    [[file("a/b/c")], ["a", "a/b"]],
    [[file(".wh.a", ""), file("a/b/c")], []],
    [[file("a/b/c"), file(".wh.a", "")], []],
    [[file("a/.wh.b", ""), file("a/b/c/d")], ["a"]],
    [[file("a/.wh..wh..opq", ""), file("a/b/c")], ["a"]],
    [[file("a/b/c"), file("a/.wh..wh..opq", "")], ["a"]],
    [[file(".wh..wh..opq", ""), file("a/b/c")], []],
    [[file(".wh.a", ""), directory("a"), file("a/b/c")], []],
    [[file(".wh.b", ""), file("a/b/c")], ["a", "a/b"]],
  ];
  for (const [parts, implicit] of table) {
    const found = filter(parts);
    assertEquals(found.implicit, implicit);
    assertEquals(found.summary.implicit, implicit.length);
  }
});

Deno.test("LayerFilter leaves out devices and what links to them", { permissions: "none" }, () => {
  const device = entry({ name: "null", flag: "3", major: 1, minor: 3 });
  const parts = [device, hardlink("a", "null"), hardlink("b", "a"), file("c")];
  const left = filter(parts);
  assertEquals(left.entries, ["file 644 ./c = content", ROOT]);
  assertEquals(left.summary.devices, { kept: 0, left: 3 });
  const kept = filter(parts, { devices: true });
  assertEquals(kept.entries, [
    "char 644 ./null",
    "hardlink 644 ./a -> ./null",
    "hardlink 644 ./b -> ./a",
    "file 644 ./c = content",
    ROOT,
  ]);
  assertEquals(kept.summary.devices, { kept: 1, left: 0 });
});

Deno.test("LayerFilter links to what took the place of a device", { permissions: "none" }, () => {
  const device = entry({ name: "a", flag: "4", major: 1, minor: 3 });
  assertEquals(filter([device, file("a"), hardlink("b", "a")]).entries, [
    "file 644 ./a = content",
    "hardlink 644 ./b -> ./a",
    ROOT,
  ]);
});

Deno.test("LayerFilter takes setuid, setgid and capabilities from files alone", {
  permissions: "none",
}, () => {
  const capability = { "SCHILY.xattr.security.capability": "\x01", "SCHILY.xattr.user.a": "b" };
  const parts = [
    file("a", "", { mode: 0o4711 }),
    pax(capability),
    file("b", "", { mode: 0o1644 }),
    directory("c", { mode: 0o2755 }),
    file("d", "", { mode: 0o1755 }),
  ];
  const left = filter(parts);
  assertEquals(left.entries, [
    "file 711 ./a",
    "file 1644 ./b user.a=b",
    "directory 2755 ./c",
    "file 1755 ./d",
    ROOT,
  ]);
  assertEquals(left.summary.setuid, { kept: 0, left: 2 });
  const kept = filter(parts, { setuid: true });
  assertEquals(kept.entries.slice(0, 2), [
    "file 4711 ./a",
    "file 1644 ./b security.capability=\x01 user.a=b",
  ]);
  assertEquals(kept.summary.setuid, { kept: 2, left: 0 });
});

Deno.test("LayerFilter escapes what overlayfs would read, in either class", {
  permissions: "none",
}, () => {
  const table: readonly [name: string, escaped: string][] = [
    ["trusted.overlay.opaque", "trusted.overlay.overlay.opaque"],
    ["trusted.overlay.overlay.opaque", "trusted.overlay.overlay.overlay.opaque"],
    ["user.overlay.redirect", "user.overlay.overlay.redirect"],
    ["user.overlay", "user.overlay"],
    ["user.overlayer.x", "user.overlayer.x"],
    ["security.overlay.x", "security.overlay.x"],
    ["user.trusted.overlay.x", "user.trusted.overlay.x"],
  ];
  for (const attributes of ["trusted", "user"] as const) {
    for (const [name, escaped] of table) {
      const parts = [pax({ [`SCHILY.xattr.${name}`]: "y" }), file("a", "")];
      assertEquals(filter(parts, { attributes }).entries[0], `file 644 ./a ${escaped}=y`);
    }
  }
});

Deno.test("LayerFilter counts what it is told to, and no more", { permissions: "none" }, () => {
  const parts = [file("a/b", "12345"), file(".wh.c", ""), file("d", "67")];
  filter(parts, { maxEntries: 4, maxBytes: 7 });
  const tooMany = (policy: Partial<LayerPolicy>, says: string) => {
    const error = assertThrows(() => filter(parts, policy), OverlayError, says);
    assertEquals(error.code, "too-large");
  };
  tooMany({ maxEntries: 3 }, "it has more than 3 entries");
  tooMany({ maxBytes: 6 }, "it has more than 6 bytes");
});

Deno.test("LayerFilter gives the same whatever the pieces are", { permissions: "none" }, () => {
  const parts = [
    directory("./", { mode: 0o711 }),
    file("a/b", "c".repeat(1300)),
    pax({ "SCHILY.xattr.user.x": "y".repeat(600), path: `${"long/".repeat(30)}z` }),
    file("x", "d".repeat(512)),
    file("a/.wh..wh..opq", ""),
    hardlink("h", "a/b"),
    symlink("l", "../../.."),
  ];
  const whole = filter(parts);
  const source = random(9);
  for (let run = 0; run < 40; run++) {
    assertEquals(filter(parts, {}, 1 + source.int(source.pick([3, 600, 3000]))), whole);
  }
});

Deno.test("LayerFilter writes a line of each entry, with the digest of its content", {
  permissions: "none",
}, () => {
  const parts = [file("a", "hello"), hardlink("b", "a"), file(".wh.c", ""), symlink("d", "e f")];
  const digest = createHash("sha256").update("hello").digest("hex");
  assertEquals(filter(parts).lines, [
    `./a type=file uid=0 gid=0 mode=0644 time=1.000000000 size=5 sha256digest=${digest}\n`,
    "./b hardlink=./a\n",
    "./d type=link uid=0 gid=0 time=1.000000000 link=e\\040f\n",
    ". type=dir uid=0 gid=0 mode=0755 time=0.000000000\n",
  ]);
});

const SOME_NAMES = ["a", "b", "a/b", "b/a", "a/b/c", "./", "/a/", "../a", "..a"];
const SOME_LINKS = ["a", "b", "/a", "../..", "b/a", "a/b", ".", "/etc/passwd", "..a"];

/** Any entry, of those that are likely to have to do with another one. */
function anyEntry(source: Random): Bytes[] {
  const [directory = "", last = ""] = [source.pick(SOME_NAMES), source.pick(["a", "b", "c"])];
  const whiteout = source.pick(["", "", "", ".wh.", ".wh..wh..", ".wh..wh..opq"]);
  const name = whiteout === "" ? directory : `${directory}/${whiteout}${last}`;
  const fields = {
    name,
    link: source.pick(SOME_LINKS),
    major: source.int(3),
    minor: source.int(3),
  };
  const flag = source.pick([..."0001122234556"]);
  const records = source.int(6) === 0 ? [pax({ path: source.pick(SOME_NAMES) || "x" })] : [];
  return [...records, entry({ ...fields, flag, content: flag === "0" ? "content" : "" })];
}

/** What tar would find at each step must be what the filter thinks is there. */
function assertConfined(entries: readonly string[]): void {
  const types = new Map([["./", "directory"]]);
  for (const line of entries) {
    if (line.startsWith("clear ")) {
      const cleared = `./${line.slice("clear ".length)}`;
      assertEquals(types.get(cleared), "directory", line);
      for (const path of types.keys()) if (path.startsWith(`${cleared}/`)) types.delete(path);
      continue;
    }
    const [, type = "", name = "", link] = /^(\S+) \S+ (\S+)(?: -> (\S*))?/.exec(line) ?? [];
    assert(name.startsWith("./") && !name.split("/").includes(".."), line);
    const parts = name.slice(2).split("/").slice(0, -1);
    parts.forEach((_, at) => {
      assertEquals(types.get(`./${parts.slice(0, at + 1).join("/")}`), "directory", line);
    });
    if (type === "hardlink") {
      const target = types.get(link ?? "");
      assert(target !== undefined && target !== "directory", line);
    }
    // Tar itself takes away a directory that is in the way, as long as it is empty.
    const isReplaced = types.get(name) === "directory" && type !== "directory";
    const within = [...types.keys()].filter((path) => path.startsWith(`${name}/`));
    if (isReplaced) assertEquals(within, [], line);
    types.set(name, type);
  }
}

Deno.test("LayerFilter lets nothing through that tar would follow out, whatever comes", {
  permissions: "none",
}, () => {
  const source = random(12);
  let passed = 0;
  for (let run = 0; run < 4000; run++) {
    const parts = Array.from({ length: 1 + source.int(6) }, () => anyEntry(source)).flat();
    try {
      assertConfined(filter(parts, { devices: source.int(2) === 0 }).entries);
      passed++;
    } catch (error) {
      if (!(error instanceof OverlayError)) throw error;
      assert(["bad-archive", "too-large"].includes(error.code), error.message);
    }
  }
  // Enough of them were no errors.
  assert(passed > 500, String(passed));
});
