import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { bundle, finish, formatIndex, layOut, rewriteImports } from "../../tools/bundle.ts";
import { filesBelow } from "../../tools/files.ts";
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

Deno.test("rewriteImports() asks for late modules by name, and imports the others at the top", () => {
  const source = [
    "#!/usr/bin/env deno",
    '  const { a, g: h } = await import("./a.ts");',
    'const { a } = await import("./a.ts");',
    "const b = (await import(",
    '  "./b.ts"',
    ")).b;",
    'const { default: c } = await import("./c.json", { with: { type: "json" } });',
    'const d = await import("./d.ts");',
    'const { default: e } = await import("./e.json", {',
    '  with: { type: "json" },',
    "});",
    'const f = await import("node:zlib");',
    "",
  ].join("\n");
  const made = rewriteImports(source, (specifier) => {
    return /[de]/.test(specifier.slice(2, 3)) ? `lib/${specifier.slice(2)}` : null;
  });
  assertEquals(made.source.split("\n"), [
    "#!/usr/bin/env deno",
    "const b = (module2).b;",
    "const { default: c } = module3;",
    'const d = lateModules("lib/d.ts");',
    'const { default: e } = lateModules("lib/e.json");',
    'const f = await import("node:zlib");',
    'import { a } from "./a.ts";',
    'import { g as h } from "./a.ts";',
    'import * as module2 from "./b.ts";',
    'import * as module3 from "./c.json" with { type: "json" };',
    "",
  ]);
  assertEquals([...made.late], ["lib/d.ts", "lib/e.json"]);
});

Deno.test("rewriteImports() refuses an import that would stay", () => {
  for (const source of ["import(path)", 'await import("jsr:@std/tar")', 'import("./a.ts")']) {
    assertThrows(() => rewriteImports(source, () => null), Error, "another form");
  }
});

Deno.test("formatIndex() imports the late modules, and knows them by name", () => {
  assertEquals(formatIndex(new Set(["lib/d.ts", "lib/e.json"])).split("\n"), [
    'import * as module0 from "./lib/d.ts";',
    'import * as module1 from "./lib/e.json" with { type: "json" };',
    'lateModules.all = { "lib/d.ts": module0, "lib/e.json": module1 };',
    "",
  ]);
});

Deno.test("layOut() puts functions of eager modules in parentheses and first, and late modules last", () => {
  const code = [
    "#!/usr/bin/env deno",
    "var helper = 1;",
    "// lib/a.ts",
    "var before = a(1);",
    "function a(x) {",
    "  if (x) {",
    "  }",
    "}",
    "// lib/late.ts",
    "var late = 1;",
    "function fromLate() {",
    "}",
    "// lib/lazy.ts",
    "function fromLazy() {",
    "}",
    "// lib/c.ts",
    "async function c() {",
    "}",
    "export {",
    "  c",
    "};",
  ].join("\n");
  const laidOut = layOut(code, (module) => {
    return module === "lib/late.ts" ? "late" : module === "lib/lazy.ts" ? "lazy" : "eager";
  });
  assertEquals(finish(laidOut).split("\n"), [
    "#!/usr/bin/env deno",
    "var a = (function a(x) {",
    "  if (x) {",
    "  }",
    "});",
    "var c = (async function c() {",
    "});",
    "var helper = 1;",
    "// lib/a.ts",
    "var before = a(1);",
    "// lib/lazy.ts",
    "function fromLazy() {",
    "}",
    "// lib/c.ts",
    "export {",
    "  c",
    "};",
    "function lateModules(path) {",
    "  if (lateModules.all === undefined) loadLateModules();",
    "  return lateModules.all[path];",
    "}",
    "function loadLateModules() {",
    "// lib/late.ts",
    "var late = 1;",
    "function fromLate() {",
    "}",
    "}",
    "",
  ]);
});

Deno.test("bundle() makes one script that loads nothing later, compiled eagerly where a render needs it", async () => {
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
  // Of the some 350 functions of a render, each is in parentheses.
  assert([...code.matchAll(/=\((?:async )?function \w+\(/g)].length > 200);
  assertStringIncludes(code, '"lib/cli/tree_cli.ts":');
  // A name that one part of the script does not see would show when it is needed, and not before.
  const lint = ["lint", "--no-config", "--rules-tags=", "--rules-include=no-undef"];
  await sh(Deno.execPath(), ...lint, dir.join("script.js"));
  for (const left of ["compiledEagerly", "overlay-render-bundle-"]) {
    assert(!code.includes(left), `${left} is left in it`);
  }
});
