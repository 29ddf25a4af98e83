import { assert, assertEquals } from "@std/assert";
import {
  escapeField,
  escapeOption,
  needsRealPath,
  splitEscaped,
  unescapeField,
  unescapeOption,
} from "../../lib/overlay/escape.ts";
import { nastyName, nastyPath, random } from "../_random.ts";

/** What util-linux takes out of an option string instead of handing it to the kernel. */
const KNOWN =
  /^(ro|rw|bind|remount|noauto|nosuid|loop|defaults|user|[xX]-.*|context=.*|comment=.*)$/s;

/** An option string after util-linux: split at commas outside quotes, known pieces taken out, rejoined. */
function afterUtilLinux(options: string): string {
  const pieces = [""];
  let quoted = false;
  for (const char of options) {
    if (char === '"') quoted = !quoted;
    if (char === "," && !quoted) pieces.push("");
    else pieces.push(`${pieces.pop()}${char}`);
  }
  assert(!quoted, `an open quote in ${options}`);
  return pieces.filter((piece) => piece !== "" && !KNOWN.test(piece)).join(",");
}

/** A list of values as the kernel reads it: split where no backslash stands, one level of them dropped. */
function kernelSplit(value: string, separator: string): string[] {
  const parts = [""];
  for (const [piece] of value.matchAll(/\\[\s\S]|[\s\S]/gu)) {
    if (piece === separator) parts.push("");
    else parts.push(`${parts.pop()}${piece}`);
  }
  return parts;
}

/** The directory that a path leads to when nothing is a symlink. */
function resolved(path: string): string {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "") names.push(name);
  }
  return `/${names.join("/")}`;
}

function dropBackslashes(value: string): string {
  return value.replace(/\\([\s\S])/gu, "$1");
}

const ESCAPED: readonly [path: string, escaped: string][] = [
  ["/", "/"],
  ["/plain/path-1.2_3", "/plain/path-1.2_3"],
  ["/a b\tc\nd", "/a b\tc\nd"],
  ["/a=b#c'd%e$f", "/a=b#c'd%e$f"],
  ["/-a /ä/\u{1f600}", "/-a /ä/\u{1f600}"],
  ["/a:b", "/a\\:b"],
  ["/a\\b", "/a\\\\b"],
  ["/a\\:b", "/a\\\\\\:b"],
  ["/a,b", "/a\\,\\b"],
  ["/a,ro", "/a\\,\\ro"],
  ["/a,remount", "/a\\,\\remount"],
  ["/x,x-foo", "/x\\,\\x-foo"],
  ["/a,,b", "/a\\,\\,\\b"],
  ["/a,:b", "/a\\,\\:b"],
  ["/a,\\b", "/a\\,\\\\b"],
  ["/a,/b", "/a\\,\\/b"],
  ["/a,\u{1f600}", "/a\\,\\\u{1f600}"],
  ["/ab,", "/ab\\,/"],
  ["/ab,,", "/ab\\,\\,/"],
  ["/ab\\", "/ab\\\\/"],
  ['/a"b', '/a"b/../a"b'],
  ['/a"b"', '/a"b"'],
  ['/a"/b"', '/a"/b"'],
  ['/"/c/a"""/"', '/"/../"/c/a"""/../a"""/"/../"'],
  ['/a",ro', '/a"\\,\\ro/../a"\\,\\ro'],
  ['/a,"b"', '/a\\,"b"'],
];

Deno.test("escapeOption() escapes what mount(8) and the kernel treat specially, and nothing else", {
  permissions: "none",
}, () => {
  for (const [path, escaped] of ESCAPED) assertEquals(escapeOption(path), escaped);
});

Deno.test("unescapeOption() reverses escapeOption()", { permissions: "none" }, () => {
  for (const [path, escaped] of ESCAPED) assertEquals(unescapeOption(escaped), path);
  const source = random(2);
  for (let i = 0; i < 3000; i++) {
    const path = nastyPath(source);
    assertEquals(unescapeOption(escapeOption(path)), path);
    const relative = `${"../".repeat(source.int(3))}${path.slice(1)}`;
    assertEquals(unescapeOption(escapeOption(relative)), relative);
  }
});

Deno.test("escapeOption() names the same directory after util-linux and the kernel have read it", {
  permissions: "none",
}, () => {
  const source = random(3);
  for (let i = 0; i < 3000; i++) {
    const [a, b, upper] = [nastyPath(source), nastyPath(source), nastyPath(source)];
    const lowerdir = `lowerdir=${escapeOption(a)}:${escapeOption(b)}`;
    const options = `${lowerdir},upperdir=${escapeOption(upper)},workdir=/w`;
    const escaped = /(\\[\s\S]|[^,\\])+/gu;
    const [lowers = "", upperdir = "", ...rest] = afterUtilLinux(options).match(escaped) ?? [];
    assertEquals(rest, ["workdir=/w"], options);
    const read = kernelSplit(lowers.slice("lowerdir=".length), ":").map(dropBackslashes);
    assertEquals(read.map(resolved), [a, b], options);
    assertEquals(resolved(dropBackslashes(upperdir.slice("upperdir=".length))), upper, options);
  }
});

Deno.test("needsRealPath() is true of paths that are written with a directory named twice", {
  permissions: "none",
}, () => {
  const table = [["/a", false], ['/a"', true], ['/a"b"', false], ['/a"/b"', false], [
    '/"""',
    true,
  ]] as const;
  for (const [path, needed] of table) {
    assertEquals(needsRealPath(path), needed);
    assertEquals(escapeOption(path).includes("/../"), needed);
  }
});

Deno.test("splitEscaped() splits where no backslash stands, and keeps the backslashes", {
  permissions: "none",
}, () => {
  const table: readonly [value: string, separator: "," | ":", parts: string[]][] = [
    ["", ",", [""]],
    ["a", ":", ["a"]],
    ["a:b", ":", ["a", "b"]],
    ["a\\:b:c", ":", ["a\\:b", "c"]],
    ["a\\\\:b", ":", ["a\\\\", "b"]],
    ["a,b:c", ":", ["a,b", "c"]],
    ["a::b:", ":", ["a", "", "b", ""]],
    ["a\\", ",", ["a\\"]],
    ["a\\,\\b,c", ",", ["a\\,\\b", "c"]],
    ["\\\u{1f600},b", ",", ["\\\u{1f600}", "b"]],
  ];
  for (const [value, separator, parts] of table) {
    assertEquals(splitEscaped(value, separator), parts);
  }
});

const FIELDS: readonly [field: string, escaped: string][] = [
  ["overlay", "overlay"],
  ["/a b", "/a\\040b"],
  ["a\tb", "a\\011b"],
  ["a\nb", "a\\012b"],
  ["a\rb", "a\\015b"],
  ["a\\b", "a\\134b"],
  ["#a", "\\043a"],
  ["/a\\040b", "/a\\134040b"],
  ["/ä\"'=,:", "/ä\"'=,:"],
];

Deno.test("escapeField() gives one field of an fstab(5) line, and unescapeField() reverses it", {
  permissions: "none",
}, () => {
  for (const [field, escaped] of FIELDS) {
    assertEquals(escapeField(field), escaped);
    assertEquals(unescapeField(escaped), field);
  }
  const source = random(4);
  for (let i = 0; i < 3000; i++) {
    const field = nastyName(source) + escapeOption(nastyPath(source));
    const escaped = escapeField(field);
    assert(!/[ \t\r\n#]/.test(escaped), escaped);
    assertEquals(unescapeField(escaped), field);
  }
});

Deno.test("unescapeField() reads octal escapes that others write, and leaves what is none", {
  permissions: "none",
}, () => {
  const table = [["\\054\\072", ",:"], ["\\04", "\\04"], ["\\089", "\\089"], [
    "\\x",
    "\\x",
  ]] as const;
  for (const [field, text] of table) assertEquals(unescapeField(field), text);
});

Deno.test("unescapeField() reads octal escapes as bytes of UTF-8", { permissions: "none" }, () => {
  assertEquals(unescapeField("/\\303\\244\\040\\360\\237\\230\\200"), "/ä \u{1f600}");
});
