import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseFlags } from "../../lib/cli/args.ts";
import type { FlagSpec } from "../../lib/cli/args.ts";
import { InvalidValueError } from "../../lib/core/errors.ts";
import { flag } from "../../lib/request/options.ts";
import { random } from "../_random.ts";
import type { Random } from "../_random.ts";

const SPEC: FlagSpec = {
  command: "make",
  flags: [
    flag("dir", "root DIR", "the root"),
    flag("octal", "mode OCTAL", "the mode"),
    flag("name", "app NAME", "the app", { mayBeEmpty: true }),
    flag("dir", "lower DIR", "a lower", { repeatable: true }),
    flag("name", "option OPT", "an option", { short: "o", repeatable: true }),
    flag("boolean", "json", "JSON"),
    flag("boolean", "color", "colours"),
    flag("boolean", "dry-run", "nothing is done", { short: "n" }),
  ],
};

const NONE = { root: [], mode: [], app: [], lower: [], option: [] };

Deno.test("parseFlags() reads flags of every kind", { permissions: "none" }, () => {
  const table: readonly [args: string[], values: Record<string, string[]>, set: string[]][] = [
    [[], {}, []],
    [["--json"], {}, ["json"]],
    [["-n", "--json"], {}, ["dry-run", "json"]],
    [["--json", "--json"], {}, ["json"]],
    [["--root", "a", "--json"], { root: ["a"] }, ["json"]],
    [["--root=a"], { root: ["a"] }, []],
    [["--root=a=b"], { root: ["a=b"] }, []],
    [["--root", "a=b"], { root: ["a=b"] }, []],
    [["--root==a"], { root: ["=a"] }, []],
    [["--lower", "a", "--lower=b", "--lower", "a"], { lower: ["a", "b", "a"] }, []],
    [["-o", "a", "--option", "b", "-o=c"], { option: ["a", "b", "c"] }, []],
    [["--root=a\nb"], { root: ["a\nb"] }, []],
    [["--root", " "], { root: [" "] }, []],
    [["--root", "false"], { root: ["false"] }, []],
    [["--root=true"], { root: ["true"] }, []],
  ];
  for (const [args, values, set] of table) {
    const flags = parseFlags(args, SPEC);
    assertEquals<unknown>(flags.values, { ...NONE, ...values });
    assertEquals([...flags.set], set);
  }
});

Deno.test("parseFlags() keeps values as text, digits too", { permissions: "none" }, () => {
  for (const value of ["0755", "007", "1e3", "0x10", "true", "9007199254740993"]) {
    assertEquals(parseFlags(["--mode", value], SPEC).values.mode, [value]);
    assertEquals(parseFlags([`--mode=${value}`], SPEC).values.mode, [value]);
  }
});

Deno.test("parseFlags() takes a value that starts with a dash after an equals sign", {
  permissions: "none",
}, () => {
  for (const value of ["-x", "--json", "--", "-"]) {
    assertEquals(parseFlags([`--root=${value}`], SPEC).values.root, [value]);
    assertEquals(parseFlags([`-o=${value}`], SPEC).values.option, [value]);
  }
});

Deno.test("parseFlags() takes a lone dash as a value", { permissions: "none" }, () => {
  assertEquals(parseFlags(["--root", "-"], SPEC).values.root, ["-"]);
  assertEquals(parseFlags(["--app", "-"], SPEC).values.app, ["-"]);
});

Deno.test("parseFlags() takes an empty value where it is allowed, however it is written", {
  permissions: "none",
}, () => {
  assertEquals(parseFlags(["--app", ""], SPEC).values.app, [""]);
  assertEquals(parseFlags(["--app", "", "--json"], SPEC).values.app, [""]);
  assertEquals(parseFlags(["--app="], SPEC).values.app, [""]);
  assertEquals(parseFlags(["--app=", "--json"], SPEC).values.app, [""]);
});

Deno.test(
  "parseFlags() keeps newlines in a value after a short flag",
  { permissions: "none" },
  () => {
    assertEquals(parseFlags(["-o=a\nb"], SPEC).values.option, ["a\nb"]);
    assertEquals(parseFlags(["-o", "a\nb"], SPEC).values.option, ["a\nb"]);
  },
);

const REFUSED: readonly [args: string[], message: string][] = [
  [["--typo"], 'Cannot use flag "--typo": make has no such flag'],
  [["--typo=1"], 'Cannot use flag "--typo"'],
  [["--roo", "a"], 'Cannot use flag "--roo"'],
  [["-z", "a"], 'Cannot use flag "-z"'],
  [["--n"], 'Cannot use flag "--n"'],
  [["-json"], 'Cannot use flag "-json"'],
  [["-no"], 'Cannot use flag "-no"'],
  [["-oa"], 'Cannot use flag "-oa"'],
  [["---json"], 'Cannot use flag "---json"'],
  [["--=a"], 'Cannot use flag "--"'],
  [["-=a"], 'Cannot use flag "-"'],
  [["--a.b", "1"], 'Cannot use flag "--a.b"'],
  [["--root.x", "1"], 'Cannot use flag "--root.x"'],
  [["--no-color"], 'Cannot use flag "--no-color"'],
  [["--no-json"], 'Cannot use flag "--no-json"'],
  [["--__proto__", "a"], 'Cannot use flag "--__proto__"'],
  [["--constructor"], 'Cannot use flag "--constructor"'],
  [["--JSON"], 'Cannot use flag "--JSON"'],
  [["--json=0"], 'Cannot use "--json=0": --json takes no value'],
  [["--json="], 'Cannot use "--json=": --json takes no value'],
  [["-n=1"], 'Cannot use "-n=1": -n takes no value'],
  [["--json", "false"], 'Cannot use argument "false": make takes flags only'],
  [["a"], 'Cannot use argument "a"'],
  [["--root", "a", "b"], 'Cannot use argument "b"'],
  [["--"], 'Cannot use argument "--"'],
  [["--root", "a", "--", "b"], 'Cannot use argument "--"'],
  [["-"], 'Cannot use argument "-"'],
  [[""], 'Cannot use argument ""'],
  [["--root"], "Cannot use --root without a value: nothing follows"],
  [["-o"], "Cannot use -o without a value: nothing follows"],
  [["--root", "-x"], 'Cannot use --root without a value: "-x" is a flag'],
  [["--root", "--json"], 'Cannot use --root without a value: "--json" is a flag'],
  [["--root", "--"], 'Cannot use --root without a value: "--" is a flag'],
  [["--root="], "Cannot use --root with an empty value"],
  [["--root", ""], "Cannot use --root with an empty value"],
  [["-o="], "Cannot use -o with an empty value"],
  [["--lower", "a", "--lower="], "Cannot use --lower with an empty value"],
  [["--root", "a", "--root", "b"], 'Cannot use --root "b": it was given before'],
  [["--root=a", "--root=a"], 'Cannot use --root "a": it was given before'],
  [["--app", "", "--app", "a"], 'Cannot use --app "a": it was given before'],
];

Deno.test("parseFlags() refuses everything else as a usage error that says what was given", {
  permissions: "none",
}, () => {
  for (const [args, message] of REFUSED) {
    const error = assertThrows(() => parseFlags(args, SPEC), InvalidValueError);
    assert(error.message.startsWith(message), `${JSON.stringify(args)}: ${error.message}`);
    assertEquals([error.code, error.exitStatus], ["usage", 2]);
    assert(error.hint !== null);
  }
});

Deno.test("parseFlags() says what is allowed", { permissions: "none" }, () => {
  const hint = (args: string[]): string => {
    return assertThrows(() => parseFlags(args, SPEC), InvalidValueError).hint ?? "";
  };
  assertEquals(
    hint(["--typo"]),
    "it has --app, --color, --dry-run, --json, --lower, --mode, --option, --root",
  );
  assertEquals(hint(["--root", "-x"]), "write --root=VALUE");
  assertStringIncludes(hint(["a"]), "overlay-render make --help");
});

Deno.test("parseFlags() leaves its arguments as they are", { permissions: "none" }, () => {
  const args = Object.freeze(["--root", "a", "-n"]);
  parseFlags(args, SPEC);
  assertEquals([...args], ["--root", "a", "-n"]);
});

/** One flag written in one of its ways, and what it means. */
function anyFlag(source: Random): { args: string[]; name: string; value: string | null } {
  if (source.int(4) === 0) {
    const [arg, name] = source.pick([["-n", "dry-run"], ["--json", "json"], ["--color", "color"]]);
    return { args: [arg ?? ""], name: name ?? "", value: null };
  }
  const [given, name] = source.pick([["-o", "option"], ["--option", "option"], [
    "--lower",
    "lower",
  ]]);
  const value = source.pick([
    "a",
    "0755",
    "a=b",
    "=",
    "a b",
    "ä",
    "-x",
    "--json",
    "true",
    "a.b",
    "no-x",
  ]);
  const inline = value.startsWith("-") || source.int(2) === 0;
  return {
    args: inline ? [`${given}=${value}`] : [given ?? "", value],
    name: name ?? "",
    value,
  };
}

Deno.test("parseFlags() reads any mixture of flags in order", { permissions: "none" }, () => {
  const source = random(8);
  for (let i = 0; i < 1000; i++) {
    const given = Array.from({ length: source.int(6) }, () => anyFlag(source));
    const flags = parseFlags(given.flatMap(({ args }) => args), SPEC);
    for (const name of ["option", "lower"]) {
      const values = given.filter((flag) => flag.name === name).map(({ value }) => value);
      assertEquals<unknown>(flags.values[name], values);
    }
    for (const name of ["json", "color", "dry-run"]) {
      assertEquals(flags.set.has(name), given.some((flag) => flag.name === name));
    }
  }
});
