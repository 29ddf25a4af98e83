import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InvalidValueError } from "../../lib/core/errors.ts";
import {
  deriveTreeId,
  formatMode,
  parseAppName,
  parseDirMode,
  parseGroup,
  parseLabel,
  parsePath,
  parseProfile,
  parseTreeId,
} from "../../lib/request/names.ts";
import { quote } from "../../lib/core/quote.ts";
import { assertInvalid } from "../_invalid.ts";

const LONGEST = "é".repeat(127) + "a";

const NAMES = [
  "web",
  "..foo",
  "foo..",
  "...",
  ".hidden",
  "a.b",
  "-a",
  "--pod",
  " ",
  " a ",
  "a,ro",
  "a:b",
  "a\\b",
  'a"b',
  "it's",
  "$(id)",
  "#a",
  "a=b",
  "%2e%2e",
  "ä日本\u{1f600}",
  "constructor",
  LONGEST,
];

const HOSTILE_NAMES: readonly [name: string, reason: string][] = [
  [".", "leave its directory"],
  ["..", "leave its directory"],
  ["/", 'must not hold "/"'],
  ["a/b", 'must not hold "/"'],
  ["../a", 'must not hold "/"'],
  ["a/", 'must not hold "/"'],
  ["/etc", 'must not hold "/"'],
  ["\0", "control characters"],
  ["a\0b", "control characters"],
  ["a\nb", "control characters"],
  ["a\n", "control characters"],
  ["\t", "control characters"],
  ["\u001b[31m", "control characters"],
  ["a\u007f", "control characters"],
  ["\ud800", "valid Unicode"],
  ["a\udc00b", "valid Unicode"],
  ["a".repeat(256), "at most 255 bytes and this one has 256"],
  ["é".repeat(128), "at most 255 bytes and this one has 256"],
];

Deno.test("parseAppName() takes any name of a directory, and the empty one", {
  permissions: "none",
}, () => {
  for (const name of [...NAMES, ""]) assertEquals<string>(parseAppName(name), name);
});

Deno.test("parseTreeId() takes any name of a directory", { permissions: "none" }, () => {
  for (const name of NAMES) assertEquals<string>(parseTreeId(name), name);
});

Deno.test("parseAppName() and parseTreeId() refuse what could leave its directory or hide", {
  permissions: "none",
}, () => {
  for (const [name, reason] of HOSTILE_NAMES) {
    assertInvalid(() => parseAppName(name), name, reason);
    assertInvalid(() => parseTreeId(name), name, reason);
  }
});

Deno.test(
  "parseAppName() refuses the control characters above ASCII too",
  { permissions: "none" },
  () => {
    for (const name of ["a\u0080", "\u0085", "\u009b31m", "\u009f"]) {
      assertInvalid(() => parseAppName(name), name, "control characters");
    }
  },
);

Deno.test("parseTreeId() refuses the empty name", { permissions: "none" }, () => {
  assertInvalid(() => parseTreeId(""), "", "must not be empty");
});

Deno.test("deriveTreeId() names a tree after its path", { permissions: "none" }, () => {
  const table: readonly [lower: string, tree: string][] = [
    ["/images/debian", "debian"],
    ["/store/tree/debian/rootfs", "debian"],
    ["/images/rootfs/x", "x"],
    ["/rootfs", "rootfs"],
    ["/", "root"],
    ["/rootfs/rootfs", "rootfs"],
    ["/a/..b", "..b"],
    ["/a/b,ro", "b,ro"],
    ["/a/b\nc\u007f", "b%0Ac%7F"],
    ["/a/b%0A", "b%0A"],
  ];
  for (const [lower, tree] of table) {
    assertEquals<string>(deriveTreeId(parsePath("lower", lower)), tree);
  }
});

Deno.test("deriveTreeId() refuses a name that is no name of a tree, and says what to do", {
  permissions: "none",
}, () => {
  const lower = parsePath("lower", `/a/${"\n".repeat(86)}`);
  const error = assertThrows(() => deriveTreeId(lower), InvalidValueError, "at most 255 bytes");
  assertStringIncludes(error.hint ?? "no hint", "--tree");
});

Deno.test("parsePath() takes every path that the kernel takes, and normalises slashes", {
  permissions: "none",
}, () => {
  const table: readonly [path: string, parsed: string][] = [
    ["/", "/"],
    ["//", "/"],
    ["///", "/"],
    ["/a", "/a"],
    ["/a/", "/a"],
    ["/a//", "/a"],
    ["//a///b", "/a/b"],
    ["/./a/./b/.", "/a/b"],
    ["/..foo/foo../...", "/..foo/foo../..."],
    ["/a \t\n,:\\\"'=#- ", "/a \t\n,:\\\"'=#- "],
    ["/-a", "/-a"],
    ["/ä/\u{1f600}", "/ä/\u{1f600}"],
    [`/${"a".repeat(4094)}`, `/${"a".repeat(4094)}`],
  ];
  for (const [path, parsed] of table) assertEquals<string>(parsePath("pod", path), parsed);
});

Deno.test("parsePath() refuses what has no one meaning, and what the kernel refuses", {
  permissions: "none",
}, () => {
  const table: readonly [path: string, reason: string][] = [
    ["", "must not be empty"],
    ["a", "relative"],
    [".", "relative"],
    ["..", "relative"],
    ["./a", "relative"],
    ["~/a", "relative"],
    [" /a", "relative"],
    ["/..", '".."'],
    ["/a/..", '".."'],
    ["/a/../b", '".."'],
    ["/a/b/../..", '".."'],
    ["/a\0", "NUL"],
    ["\0", "NUL"],
    ["/\ud800", "valid Unicode"],
    [`/${"a".repeat(4095)}`, "at most 4095 bytes and this one has 4096"],
    [`/${"é".repeat(2048)}`, "at most 4095 bytes and this one has 4097"],
  ];
  for (const [path, reason] of table) {
    assertInvalid(() => parsePath("pod", path), path, reason);
    const error = assertThrows(() => parsePath("lower", path), InvalidValueError);
    assert(error.message.startsWith(`Cannot use lower `), error.message);
  }
});

Deno.test("parseDirMode() takes octal digits and numbers", { permissions: "none" }, () => {
  const table: readonly [value: string | number, mode: number][] = [
    ["0750", 0o750],
    ["750", 0o750],
    ["0700", 0o700],
    ["0755", 0o755],
    ["000", 0],
    [0o750, 0o750],
    [0o700, 0o700],
    [0o50, 0o50],
  ];
  for (const [value, mode] of table) assertEquals(parseDirMode(value), mode);
});

Deno.test("parseDirMode() takes the number of every mode that it takes as digits", {
  permissions: "none",
}, () => {
  for (const mode of [0, 0o5, 0o55]) {
    assertEquals(parseDirMode(mode), parseDirMode(formatMode(mode)));
  }
});

Deno.test("parseDirMode() refuses what is not octal or more than permission bits", {
  permissions: "none",
}, () => {
  const octal = "three or four octal digits";
  const table: readonly [value: string | number, quoted: string, reason: string][] = [
    ["", "", octal],
    ["7", "7", octal],
    ["75", "75", octal],
    ["0758", "0758", octal],
    ["0o750", "0o750", octal],
    ["-750", "-750", octal],
    ["+750", "+750", octal],
    [" 750", " 750", octal],
    ["750\n", "750\n", octal],
    ["u=rwx", "u=rwx", octal],
    ["7.5e2", "7.5e2", octal],
    ["000750", "000750", octal],
    ["٧٥٠", "٧٥٠", octal],
    ["1750", "1750", "at most 0777"],
    ["2755", "2755", "at most 0777"],
    ["4755", "4755", "at most 0777"],
    ["7777", "7777", "at most 0777"],
    [0o2755, "2755", "at most 0777"],
    [755, "1363", "at most 0777"],
    [0o17777, "17777", octal],
  ];
  for (const [value, quoted, reason] of table) {
    assertInvalid(() => parseDirMode(value), quoted, reason);
  }
  for (const value of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    assertThrows(() => parseDirMode(value), InvalidValueError, octal);
  }
});

Deno.test(
  "parseDirMode() refuses a mode that lets others write: the next render would refuse the pod",
  {
    permissions: "none",
  },
  () => {
    for (const value of ["0770", "0775", "0757", "0777", "0702"]) {
      assertThrows(() => parseDirMode(value), InvalidValueError, quote(value));
    }
  },
);

Deno.test("formatMode() writes four octal digits", { permissions: "none" }, () => {
  const table = [[0, "0000"], [0o7, "0007"], [0o750, "0750"], [0o1777, "1777"], [
    0o7777,
    "7777",
  ]] as const;
  for (const [mode, text] of table) assertEquals(formatMode(mode), text);
});

Deno.test("parseGroup() takes ids that chown(2) takes, and names", { permissions: "none" }, () => {
  const table: readonly [value: string | number, group: number | string][] = [
    [0, 0],
    ["0", 0],
    ["0042", 42],
    [1000, 1000],
    ["4294967294", 4294967294],
    [4294967294, 4294967294],
    ["rkt", "rkt"],
    ["systemd-journal", "systemd-journal"],
    ["_apt", "_apt"],
    ["a.b", "a.b"],
    ["machine$", "machine$"],
  ];
  for (const [value, group] of table) assertEquals(parseGroup(value), group);
});

Deno.test("parseGroup() refuses ids that mean another group to chown(2), and what is no name", {
  permissions: "none",
}, () => {
  const [large, neither] = ["at most 4294967294", "a group id or a group's name"];
  const table: readonly [value: string | number, reason: string][] = [
    ["4294967295", large],
    [4294967295, large],
    [2 ** 32, large],
    ["4294967296", large],
    ["99999999999999999999", large],
    ["-1", neither],
    [-1, neither],
    ["1.5", neither],
    ["1e3", neither],
    ["0x10", neither],
    ["", neither],
    [" ", neither],
    ["a b", neither],
    ["a:b", neither],
    ["a\nb", neither],
    ["-a", neither],
    ["$", neither],
    ["../etc", neither],
  ];
  for (const [value, reason] of table) {
    assertInvalid(() => parseGroup(value), String(value), reason);
  }
});

Deno.test("parseGroup() refuses a number that is no id", { permissions: "none" }, () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1.5, 0.1]) {
    assertThrows(() => parseGroup(value), InvalidValueError, "Cannot use group");
  }
});

Deno.test("parseLabel() takes SELinux contexts", { permissions: "none" }, () => {
  const labels = [
    "u:r:t",
    "u:r:t:s0",
    "system_u:object_r:container_file_t:s0:c1,c2",
    "system_u:object_r:svirt_sandbox_file_t:s0:c123,c456",
    "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
  ];
  for (const label of labels) assertEquals(parseLabel(label), label);
});

Deno.test("parseLabel() refuses what is none, and what could leave the quotes", {
  permissions: "none",
}, () => {
  const labels = [
    "",
    "t",
    "u:r",
    "u:r:",
    "u::t",
    ":r:t",
    "u:r:t:",
    "u:r:t:s0 ",
    " u:r:t",
    "u:r:t\n",
    'u:r:t"',
    'u:r:t:s0",upperdir="/etc',
    "u:r:t,ro",
    "u:r:t:s0\\",
    "u:r:t:s0/x",
    "u:r:tä",
    "-R\0",
  ];
  for (const label of labels) {
    assertInvalid(() => parseLabel(label), label, "an SELinux context");
    const error = assertThrows(() => parseLabel(label), InvalidValueError);
    assertStringIncludes(error.hint ?? "", "user:role:type");
  }
});

Deno.test("parseProfile() finds the three, and refuses others by naming them", {
  permissions: "none",
}, () => {
  for (const name of ["rootfs-mode", "fixed-mode", "manifest"]) {
    assertEquals<string>(parseProfile(name).name, name);
  }
  for (const name of ["", "Manifest", "rootfs_mode", "constructor", "__proto__", "toString"]) {
    assertInvalid(() => parseProfile(name), name, "rootfs-mode, fixed-mode or manifest");
  }
});
