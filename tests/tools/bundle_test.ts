import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { bundle } from "../../tools/bundle.ts";
import { filesBelow } from "../../tools/files.ts";
import { finish, importAhead, lateIndex, layOut } from "../../tools/script.ts";
import { sh, tempDir } from "../_temp.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** How often the modules of the command declare what is disposed of. */
async function usingsOfSources(): Promise<number> {
  let count = 0;
  for (const path of await filesBelow(ROOT.replace(/\/$/, ""), "lib", ".ts")) {
    const source = await Deno.readTextFile(`${ROOT}${path}`);
    count += [...source.matchAll(/^\s*(?:await )?using \w+ =/gm)].length;
  }
  return count;
}

Deno.test("importAhead() turns imports that are made later into imports at the top", () => {
  const source = [
    "#!/usr/bin/env deno",
    'const { a } = await import("./a.ts");',
    "const b = (await import(",
    '  "./b.ts"',
    ")).b;",
    "const {",
    "  g,",
    "  h: i,",
    '} = await import("./g.ts");',
    'const { default: c } = await import("./c.json", { with: { type: "json" } });',
    'const d = await import("./d.ts");',
    'const e = await import("./e.json", { with: { type: "json" } });',
    'const f = await import("node:zlib");',
    "",
  ].join("\n");
  const made = importAhead(source, (specifier) => {
    return /[de]/.test(specifier.slice(2, 3)) ? { late: `lib/${specifier.slice(2)}` } : "ahead";
  });
  assertEquals(made.source.split("\n"), [
    "#!/usr/bin/env deno",
    "const { a } = { a: ahead0_a };",
    "const b = (ahead1).b;",
    "const {",
    "  g,",
    "  h: i,",
    "} = { g: ahead2_g, h: ahead2_h };",
    "const { default: c } = { default: ahead3 };",
    'const d = lateModules("lib/d.ts");',
    'const e = lateModules("lib/e.json");',
    'const f = await import("node:zlib");',
    "",
    'import { a as ahead0_a } from "./a.ts";',
    'import * as ahead1 from "./b.ts";',
    'import { g as ahead2_g, h as ahead2_h } from "./g.ts";',
    'import ahead3 from "./c.json" with { type: "json" };',
    "",
  ]);
  assertEquals([...made.late], [["lib/d.ts", undefined], ["lib/e.json", '{ type: "json" }']]);
});

Deno.test("lateIndex() imports the late modules, and knows them by name", () => {
  const late = new Map([["lib/d.ts", undefined], ["lib/e.json", '{ type: "json" }']]);
  assertEquals(lateIndex(late).split("\n"), [
    'import * as late0 from "./lib/d.ts";',
    'import late1 from "./lib/e.json" with { type: "json" };',
    'lateModules.all = { "lib/d.ts": late0, "lib/e.json": { default: late1 } };',
    "",
  ]);
});

Deno.test("layOut() puts functions that are wanted ahead in parentheses, and late modules last", () => {
  const code = [
    "// lib/a.ts",
    "function a(x) {",
    "  if (x) {",
    "  }",
    "}",
    "// lib/late.ts",
    "var late = 1;",
    "function fromLate() {",
    "}",
    "// lib/b.ts",
    "async function b() {",
    "}",
    "// lib/c.ts",
    "async function c() {",
    "}",
  ].join("\n");
  const laidOut = layOut(code, {
    isAhead: (module) => !["lib/b.ts", "lib/late.ts"].includes(module),
    isLate: (module) => module === "lib/late.ts",
  });
  assertEquals(finish(laidOut).split("\n"), [
    "// lib/a.ts",
    "var a = (function a(x) {",
    "  if (x) {",
    "  }",
    "});",
    "// lib/b.ts",
    "async function b() {",
    "}",
    "// lib/c.ts",
    "var c = (async function c() {",
    "});",
    "function lateModules(path) {",
    "  if (lateModules.all === undefined) makeLateModules();",
    "  return lateModules.all[path];",
    "}",
    "function makeLateModules() {",
    "// lib/late.ts",
    "var late = 1;",
    "function fromLate() {",
    "}",
    "}",
    "",
  ]);
});

Deno.test("layOut() leaves a bundle without late modules alone", () => {
  const code = "// lib/a.ts\nvar a = 1;\n";
  assertEquals(layOut(code, { isAhead: () => true, isLate: () => false }), code);
});

Deno.test("bundle() makes one script that loads nothing later, compiled ahead where a render needs it", async () => {
  await using dir = await tempDir();
  await bundle(dir.join("script.js"));
  const code = await Deno.readTextFile(dir.join("script.js"));
  assert(code.startsWith("#!/usr/bin/env -S deno run --no-prompt "));
  // What Deno has built in is loaded by what needs it.
  const imports = [...code.matchAll(/(?<!")\bimport\b\s*([({*]|"[^"\n]+";).{0,20}/g)];
  assert(imports.length > 0);
  for (const [text] of imports) assert(/^import\("node:\w+"\)/.test(text), text);
  // A minifier that loses one would leave locks held, and files open.
  assertEquals([...code.matchAll(/\busing [\w$]+ ?=/g)].length, await usingsOfSources());
  // Of the some 250 functions of a render, each is in parentheses.
  assert([...code.matchAll(/=\((?:async )?function \w+\(/g)].length > 200);
  assertStringIncludes(code, '"lib/cli/tree_cli.ts":');
  // A name that one part of the script does not see would show when it is needed, and not before.
  const lint = ["lint", "--no-config", "--rules-tags=", "--rules-include=no-undef"];
  await sh(Deno.execPath(), ...lint, dir.join("script.js"));
  for (const left of ["compiledAhead", "overlay-render-bundle-"]) {
    assert(!code.includes(left), `${left} is left in it`);
  }
});
