import { assert, assertEquals } from "@std/assert";
import { printable, quote, quoteBytes, shellQuote, showName } from "../../lib/core/quote.ts";
import { nastyPath, random } from "../_random.ts";

/** What a terminal acts on instead of showing it: controls, line separators, marks of direction. */
const ACTED_ON = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

const HOSTILE = [
  "\0",
  "\u0007",
  "\u001b[31m",
  "a\nb",
  "a\r\nb",
  "\t",
  "\u007f",
  "\u0085",
  "\u009b31m",
  "\u200e\u200f",
  "\u2028\u2029",
  "\u202egnp.exe",
  "\u2066\u2069",
];

Deno.test("quote() is JSON that reads back, without anything a terminal acts on", {
  permissions: "none",
}, () => {
  const source = random(1);
  const values = [
    ...HOSTILE,
    "",
    'a"b\\c',
    "ä",
    ...Array.from({ length: 500 }, () => nastyPath(source)),
  ];
  for (const value of values) {
    const quoted = quote(value);
    assertEquals(JSON.parse(quoted), value);
    assert(quoted.startsWith('"') && quoted.endsWith('"'));
    assert(!ACTED_ON.test(quoted), quoted);
  }
});

Deno.test("quote() escapes every mark of direction, the Arabic letter mark too", {
  permissions: "none",
}, () => assertEquals(quote("a\u061cb\u202ec"), '"a\\u061cb\\u202ec"'));

Deno.test("quote() leaves plain and non-ASCII text readable", { permissions: "none" }, () => {
  const table = [["/a b", '"/a b"'], ["/ä/日本", '"/ä/日本"'], ['a"\\', '"a\\"\\\\"']] as const;
  for (const [value, quoted] of table) assertEquals(quote(value), quoted);
});

Deno.test(
  "printable() joins lines and escapes what a terminal acts on",
  { permissions: "none" },
  () => {
    const table: readonly [text: string, shown: string][] = [
      ["plain", "plain"],
      [
        "  mount: /x: busy.\n       dmesg(1) may say more.\n",
        "mount: /x: busy. dmesg(1) may say more.",
      ],
      ["a\r\n\r\n b", "a b"],
      ["\u001b[31mred\u0007", "\\u001b[31mred\\u0007"],
      ["a\tb\u009bc", "a\\u0009b\\u009bc"],
      ["a\u202eb", "a\\u202eb"],
      ["", ""],
    ];
    for (const [text, shown] of table) assertEquals(printable(text), shown);
    for (const text of HOSTILE) assert(!ACTED_ON.test(printable(text)));
  },
);

Deno.test("showName() quotes only what needs it", { permissions: "none" }, () => {
  const table: readonly [name: string, shown: string][] = [
    ["/pods/one", "/pods/one"],
    ["a b", "a b"],
    ["ä", "ä"],
    ["", '""'],
    [" a", '" a"'],
    ["a ", '"a "'],
    ["\u00a0a", '"\u00a0a"'],
    ['a"b', '"a\\"b"'],
    ["a\\b", '"a\\\\b"'],
    ["a\nb", '"a\\nb"'],
    ["\u001b[31m", '"\\u001b[31m"'],
  ];
  for (const [name, shown] of table) assertEquals(showName(name), shown);
});

Deno.test("shellQuote() quotes only what a shell would act on", { permissions: "none" }, () => {
  const table: readonly [argument: string, quoted: string][] = [
    ["--allow-read=/a,/b", "--allow-read=/a,/b"],
    ["/bin/mount", "/bin/mount"],
    ["a@b%c+d:e", "a@b%c+d:e"],
    ["", "''"],
    ["a b", "'a b'"],
    ["it's", "'it'\\''s'"],
    ["$(id)", "'$(id)'"],
    ["~", "'~'"],
    ["a*?[b]", "'a*?[b]'"],
    ['a"\\`', "'a\"\\`'"],
    ["ä", "'ä'"],
  ];
  for (const [argument, quoted] of table) assertEquals(shellQuote(argument), quoted);
});

Deno.test("shellQuote() holds nothing that a terminal acts on", { permissions: "none" }, () => {
  for (const argument of HOSTILE) {
    const quoted = shellQuote(argument);
    assert(!ACTED_ON.test(quoted), quote(quoted));
  }
});

Deno.test("quoteBytes() shows bytes as UTF-8 where they are", { permissions: "none" }, () => {
  const table = [
    ["a b", '"a b"'],
    ["\xc3\xa4\xe2\x82\xac", '"ä€"'],
    ["\xef\xbb\xbfx", '"\ufeffx"'],
    ["\xc3", '"Ã"'],
    ["\xe9/\x9b31m", '"é/\\u009b31m"'],
    ["\xe2\x80\xaegnp.exe", '"\\u202egnp.exe"'],
    ["日本", '"日本"'],
    ["a\0\n", '"a\\u0000\\n"'],
  ] as const;
  for (const [value, quoted] of table) assertEquals(quoteBytes(value), quoted);
});
